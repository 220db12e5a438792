//! The chain of sources: the best first, and one at the end that can't fail.

use std::future::ready;
use std::time::Duration;

use backstop::{
    AllProvidersFailed, ConfigError, FallbackChain, FallbackResult, LastKnownValues, Prober, Provider, name,
};

use crate::circuits::Circuits;
use crate::config::BaseUrl;
use crate::dependency::{ClassifyCall, Dependency, http_client};
use crate::sources::{Catalog, Item, Ml, Remembered, bestsellers};
use crate::user_id::UserId;

/// The time that all sources have together. A page waits for this answer.
const TOTAL: Duration = Duration::from_millis(800);

/// How old a remembered answer may be. Tastes change slowly.
const OLDEST: Duration = Duration::from_secs(60 * 60);

/// How many users' answers are remembered.
const REMEMBERED_USERS: u64 = 10_000;

/// Recommends, from the best source that has an answer.
#[derive(Debug, Clone)]
pub struct Recommender {
    chain: FallbackChain<UserId, Vec<Item>>,
    catalog: Catalog,
    circuits: Circuits,
}

impl Recommender {
    /// A recommender that asks these services.
    ///
    /// # Errors
    /// [`ConfigError`] where `circuit_wait` is none that a circuit breaker takes.
    pub fn new(ml_url: &BaseUrl, catalog_url: &BaseUrl, circuit_wait: Duration) -> Result<Self, ConfigError> {
        let client = http_client();
        // Each dependency has a circuit of its own: that one is down says nothing of the other.
        let ml = Dependency::new(name!("ml_service"), client.clone(), circuit_wait)?;
        let catalog = Dependency::new(name!("popular_items"), client, circuit_wait)?;
        let circuits = Circuits::new([ml.circuit(), catalog.circuit()]);

        let remembered: Remembered =
            LastKnownValues::builder("cached").max_stale(OLDEST).max_entries(REMEMBERED_USERS).build()?;
        let ml = Ml::new(ml, ml_url, remembered.clone());
        let catalog = Catalog::new(catalog, catalog_url);
        let popular = catalog.clone();

        // The time is shared: of 800 ms the first of four sources has 200, and what it doesn't use the others have. So
        // even where the first three hang, the last one answers in time.
        let chain = FallbackChain::builder("recommendations")
            .total(TOTAL)
            .classify(ClassifyCall::default())
            // What this user likes. A good answer is remembered for when there is none.
            .provider(Provider::from_fn(name!("ml_service"), move |user| ml.clone().recommend(user)))
            // What this user was recommended last: theirs, though old. It tells its age, so it counts as `stale`.
            .provider(Provider::from_fn(name!("cached"), remembered.provider()))
            // What everybody likes: less than was asked for, so it counts as `degraded`, as do all from here on.
            .provider(Provider::value(name!("popular_items"), move || popular.clone().recommend()))
            // No I/O, so it always answers. Every chain wants such an end.
            .provider(Provider::value(name!("static_bestsellers"), || ready(bestsellers())))
            .build()?;

        Ok(Self { chain, catalog, circuits })
    }

    /// What to recommend, and where that is from.
    ///
    /// # Errors
    /// [`AllProvidersFailed`], which the last source keeps from happening.
    pub async fn recommend(&self, user: UserId) -> Result<FallbackResult<Vec<Item>>, AllProvidersFailed> {
        self.chain.execute(user).await
    }

    /// Asks the catalog now and then while its circuit is open, so that it closes though nobody needs it: spawn it.
    ///
    /// Only calls close a circuit, and a fallback has none while what stands before it is well. So it would stay open,
    /// and the health report degraded, until the fallback is needed: the worst moment to find out. The ML service needs no
    /// prober: each request that comes asks it first, and whoever asks is answered meanwhile.
    pub fn prober(&self) -> Prober<impl Future<Output = ()> + use<>> {
        self.catalog.prober()
    }

    /// The circuits around the services that it asks.
    #[must_use]
    pub const fn circuits(&self) -> &Circuits {
        &self.circuits
    }
}
