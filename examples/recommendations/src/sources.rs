//! The sources of recommendations.

use std::time::Duration;

use backstop::circuit_breaker::Recovery;
use backstop::{ConfigError, Features, Inventory, LastKnownValues, Prober, name};
use http::Uri;
use serde::{Deserialize, Serialize};
use tower::BoxError;

use crate::chaos::StoreSwitch;
use crate::circuits::Circuits;
use crate::config::BaseUrl;
use crate::dependency::{Dependency, http_client};
use crate::features::ML_RECOMMENDATIONS;
use crate::user_id::UserId;

/// The largest number of items in an answer.
const ITEMS: usize = 10;

/// Something to recommend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The id in the catalog.
    pub id: String,
    /// The name.
    pub name: String,
    /// How strongly it is recommended, from 0 to 1.
    pub score: f64,
}

/// The greatest age of a remembered answer. Tastes change slowly.
const OLDEST: Duration = Duration::from_secs(60 * 60);

/// How many users' answers are remembered.
const REMEMBERED_USERS: u64 = 10_000;

/// The sources that can fail. Health comes from their circuits, and features from health: so they are made first, and
/// [`for_features`](Self::for_features) connects them last.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) ml: Ml,
    pub(crate) remembered: Remembered,
    /// Breaks `remembered`, for a drill.
    pub(crate) store: StoreSwitch,
    pub(crate) catalog: Catalog,
    pub(crate) circuits: Circuits,
}

impl Sources {
    pub(crate) fn new(
        ml_url: &BaseUrl,
        catalog_url: &BaseUrl,
        circuit_wait: Duration,
        ml_recovery: Recovery,
    ) -> Result<Self, ConfigError> {
        let client = http_client();
        // Each dependency has its own circuit: one may be down while the other works.
        let ml = Dependency::new(name!("ml_service"), client.clone(), circuit_wait, ml_recovery)?;
        let catalog = Dependency::new(name!("popular_items"), client, circuit_wait, Recovery::at_once())?;
        let circuits = Circuits::new([ml.circuit(), catalog.circuit()]);
        let remembered: Remembered =
            LastKnownValues::builder("cached").max_stale(OLDEST).max_entries(REMEMBERED_USERS).build()?;
        let ml = Ml::new(ml, ml_url, remembered.clone());
        let store = StoreSwitch::default();
        Ok(Self { ml, remembered, store, catalog: Catalog::new(catalog, catalog_url), circuits })
    }

    /// Lists the layers around the services, and what is remembered of one of them.
    pub(crate) fn register(&self, inventory: Inventory) -> Inventory {
        let inventory = self.catalog.service.register(self.ml.service.register(inventory));
        inventory.register_for([name!("ml_service")], self.remembered.clone())
    }

    /// The same, each called only while its feature is on. The catalog has none: it is what answers when others are off.
    pub(crate) fn for_features(mut self, features: &Features) -> Result<Self, ConfigError> {
        self.ml.service = self.ml.service.for_feature(features.gate(&ML_RECOMMENDATIONS)?);
        Ok(self)
    }
}

/// Each user's last good answer. The user is the key, so that nobody gets another user's answer.
pub(crate) type Remembered = LastKnownValues<UserId, Vec<Item>>;

/// The service that knows what a user likes.
#[derive(Debug, Clone)]
pub(crate) struct Ml {
    service: Dependency,
    url: BaseUrl,
    remembered: Remembered,
}

impl Ml {
    pub(crate) fn new(service: Dependency, url: &BaseUrl, remembered: Remembered) -> Self {
        Self { service, url: url.clone(), remembered }
    }

    pub(crate) async fn recommend(self, user: UserId) -> Result<Vec<Item>, BoxError> {
        let uri = self.url.at(&["v1", "recommendations", user.as_str()]);
        self.remembered.remember_result(user, fetch(&self.service, uri)).await
    }
}

/// The service that knows what everybody likes.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    service: Dependency,
    popular: Uri,
    count: Uri,
}

impl Catalog {
    pub(crate) fn new(service: Dependency, url: &BaseUrl) -> Self {
        Self { service, popular: url.at(&["v1", "popular"]), count: url.at(&["v1", "count"]) }
    }

    pub(crate) async fn recommend(self) -> Result<Vec<Item>, BoxError> {
        fetch(&self.service, self.popular).await
    }

    /// How many products there are.
    pub(crate) async fn count(self) -> Result<u64, BoxError> {
        let Count { products } = self.service.get(self.count).await?;
        Ok(products)
    }

    /// Probes the catalog while its circuit is open: see [`Recommender::prober`](crate::Recommender::prober).
    pub(crate) fn prober(&self) -> Prober<impl Future<Output = ()> + use<>> {
        let catalog = self.clone();
        self.service.circuit().prober(move || {
            let Self { service, popular, .. } = catalog.clone();
            async move { service.probe::<Items>(popular).await.map(drop) }
        })
    }
}

#[derive(Deserialize)]
struct Items {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Count {
    products: u64,
}

pub(crate) async fn fetch(service: &Dependency, uri: Uri) -> Result<Vec<Item>, BoxError> {
    let Items { mut items } = service.get(uri).await?;
    items.truncate(ITEMS);
    // Without items, the next source is better.
    if items.is_empty() { Err("no items".into()) } else { Ok(items) }
}

/// Bestsellers, without I/O.
pub(crate) fn bestsellers() -> Vec<Item> {
    let item = |(id, name, score): (&str, &str, f64)| Item { id: id.to_owned(), name: name.to_owned(), score };
    [("p001", "Espresso machine", 0.5), ("p007", "Mechanical keyboard", 0.5), ("p020", "E-book reader", 0.5)]
        .map(item)
        .into()
}
