//! The upstreams' data: a small shop, and fixed preferences for each user.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

/// An upstream that the app calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Upstream {
    /// `GET /v1/recommendations/{user}`: items for this user.
    Ml,
    /// `GET /v1/popular`: popular items. `GET /v1/count`: how many products there are.
    Catalog,
    /// `POST /v1/charges`: charges once for an `Idempotency-Key`. `GET /v1/charges/{key}`: whether that was charged.
    Payment,
    /// `POST /v1/emails`: sends once for an `Idempotency-Key`.
    Mail,
}

/// The keys for which an upstream has done something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<BTreeSet<String>>>);

impl Ledger {
    fn keys(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upstream {
    /// All.
    pub const ALL: [Self; 4] = [Self::Ml, Self::Catalog, Self::Payment, Self::Mail];

    /// Its name in paths and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ml => "ml",
            Self::Catalog => "catalog",
            Self::Payment => "payment",
            Self::Mail => "mail",
        }
    }

    /// The upstream of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|upstream| upstream.name() == name)
    }

    /// The answer to a `POST` with this key; `None` if the path doesn't exist.
    pub(super) fn post(self, path: &str, key: &str, done: &Ledger) -> Option<Value> {
        let is_known = matches!((self, path), (Self::Payment, "/v1/charges") | (Self::Mail, "/v1/emails"));
        is_known.then(|| json!({ "is_new": done.keys().insert(key.to_owned()) }))
    }

    /// The answer to a `GET`; `None` if the path doesn't exist.
    pub(crate) fn get(self, path: &str, done: &Ledger) -> Option<Value> {
        match self {
            Self::Ml => {
                let user = path.strip_prefix("/v1/recommendations/")?;
                (!user.is_empty() && !user.contains('/')).then(|| json!({ "items": personalised(user) }))
            }
            Self::Catalog => match path {
                "/v1/popular" => Some(json!({ "items": popular() })),
                "/v1/count" => Some(json!({ "products": PRODUCTS.len() })),
                _ => None,
            },
            Self::Payment => match path.strip_prefix("/v1/charges")? {
                "" => Some(json!({ "charges": done.keys().len() })),
                key => done.keys().contains(key.strip_prefix('/')?).then(|| json!({ "charged": true })),
            },
            Self::Mail => (path == "/v1/emails").then(|| json!({ "emails": done.keys().len() })),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

const ANSWERED: usize = 10;

const PRODUCTS: [&str; 24] = [
    "Espresso machine",
    "Trail shoes",
    "Noise-cancelling headphones",
    "Cast-iron pan",
    "Desk lamp",
    "Rain jacket",
    "Mechanical keyboard",
    "Field notebook",
    "Bicycle light",
    "Chef's knife",
    "Climbing rope",
    "Wool blanket",
    "Travel adapter",
    "Watercolour set",
    "Running watch",
    "Tea kettle",
    "Camping stove",
    "Desk plant",
    "Board game",
    "E-book reader",
    "Yoga mat",
    "Bluetooth speaker",
    "Sourdough starter",
    "Star chart",
];

fn popular() -> Vec<Value> {
    (0..ANSWERED).map(|rank| item(rank, rank)).collect()
}

fn personalised(user: &str) -> Vec<Value> {
    // FNV-1a gives a user the same seed in every run.
    let seed = user
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut products: Vec<usize> = (0..PRODUCTS.len()).collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut products);
    products.into_iter().take(ANSWERED).enumerate().map(|(rank, product)| item(rank, product)).collect()
}

fn item(rank: usize, product: usize) -> Value {
    // From 0.99 down, in hundredths.
    let score = (99 - 4 * rank) as f64 / 100.0;
    json!({ "id": format!("p{:03}", product + 1), "name": PRODUCTS[product], "score": score })
}
