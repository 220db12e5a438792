//! The upstreams' data: a small shop, and fixed preferences for each user.

use std::fmt;

use serde_json::{Value, json};

/// An upstream that the app calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Upstream {
    /// `GET /v1/recommendations/{user}`: items for this user.
    Ml,
    /// `GET /v1/popular`: popular items. `GET /v1/count`: how many products there are.
    Catalog,
}

impl Upstream {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ml, Self::Catalog];

    /// Its name in paths and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ml => "ml",
            Self::Catalog => "catalog",
        }
    }

    /// The upstream of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|upstream| upstream.name() == name)
    }

    /// The answer at `path`; `None` if the path doesn't exist.
    pub(crate) fn answer(self, path: &str) -> Option<Value> {
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
