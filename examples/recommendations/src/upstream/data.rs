//! The upstreams' data: a small shop, and fixed preferences for each user.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use serde_json::{Value, json};

/// An upstream that the app calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Upstream {
    /// `GET /v1/recommendations/{user}`: items for this user.
    Ml,
    /// `GET /v1/popular`: popular items. `GET /v1/count`: how many products there are.
    Catalog,
    /// `POST /v1/charges`: charges once for an `Idempotency-Key`, 410 if it is void. `DELETE /v1/charges/{key}`: makes the key void,
    /// 409 if it was charged. `GET /v1/charges`: how many were charged.
    Payment,
    /// `POST /v1/emails`: sends once for an `Idempotency-Key`.
    Mail,
    /// `GET /v1/rates/{currency}`: how much of it one euro is.
    Rates,
    /// The same, of another company.
    MoreRates,
}

/// The keys for which an upstream has done something, or never will.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<BTreeMap<String, Entry>>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Done,
    Void,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters this, unless something else is there. What was there before.
    fn enter(&self, key: &str, entry: Entry) -> Option<Entry> {
        let mut entries = self.entries();
        let before = entries.get(key).copied();
        entries.entry(key.to_owned()).or_insert(entry);
        before
    }

    fn done(&self) -> usize {
        self.entries().values().filter(|entry| **entry == Entry::Done).count()
    }
}

impl Upstream {
    /// All.
    pub const ALL: [Self; 6] = [Self::Ml, Self::Catalog, Self::Payment, Self::Mail, Self::Rates, Self::MoreRates];

    /// Its name in paths and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ml => "ml",
            Self::Catalog => "catalog",
            Self::Payment => "payment",
            Self::Mail => "mail",
            Self::Rates => "rates",
            Self::MoreRates => "more_rates",
        }
    }

    /// The upstream of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|upstream| upstream.name() == name)
    }

    /// The answer to a `POST` with this key; `None` if the path doesn't exist.
    pub(super) fn post(self, path: &str, key: &str, done: &Ledger) -> Option<(StatusCode, Value)> {
        let is_known = matches!((self, path), (Self::Payment, "/v1/charges") | (Self::Mail, "/v1/emails"));
        is_known.then(|| match done.enter(key, Entry::Done) {
            Some(Entry::Void) => (StatusCode::GONE, json!({ "error": "void" })),
            before => (StatusCode::OK, json!({ "is_new": before.is_none() })),
        })
    }

    /// The answer to a `DELETE`; `None` if the path doesn't exist.
    pub(super) fn delete(self, path: &str, done: &Ledger) -> Option<(StatusCode, Value)> {
        let key = path.strip_prefix("/v1/charges/").filter(|_| self == Self::Payment)?;
        Some(match done.enter(key, Entry::Void) {
            Some(Entry::Done) => (StatusCode::CONFLICT, json!({ "error": "charged" })),
            _ => (StatusCode::OK, json!({ "void": true })),
        })
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
            Self::Payment => (path == "/v1/charges").then(|| json!({ "charges": done.done() })),
            Self::Mail => (path == "/v1/emails").then(|| json!({ "emails": done.done() })),
            Self::Rates | Self::MoreRates => rate(path.strip_prefix("/v1/rates/")?),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

const RATES: [(&str, f64); 8] = [
    ("AUD", 1.7712),
    ("CAD", 1.6087),
    ("CHF", 0.9341),
    ("GBP", 0.8719),
    ("JPY", 183.92),
    ("PLN", 4.2318),
    ("SEK", 10.7925),
    ("USD", 1.1744),
];

fn rate(currency: &str) -> Option<Value> {
    RATES.iter().find_map(|(known, rate)| (*known == currency).then(|| json!({ "rate": rate })))
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
