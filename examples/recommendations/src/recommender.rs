//! The chain of sources: the best first, and one that can't fail last.

use std::future::ready;
use std::time::Duration;

use backstop::{
    AllProvidersFailed, ConfigError, FallbackChain, FallbackResult, LastKnownValues, Prober, Provider,
    UnprovenProviders, name,
};

use crate::circuits::Circuits;
use crate::config::BaseUrl;
use crate::dependency::{ClassifyCall, Dependency, http_client};
use crate::sources::{Catalog, Item, Ml, Remembered, bestsellers};
use crate::user_id::UserId;

/// The time limit for all sources together. A page waits for this answer.
const TOTAL: Duration = Duration::from_millis(800);

/// The greatest age of a remembered answer. Tastes change slowly.
const OLDEST: Duration = Duration::from_secs(60 * 60);

/// How many users' answers are remembered.
const REMEMBERED_USERS: u64 = 10_000;

/// Recommends items from the best source that answers.
#[derive(Debug, Clone)]
pub struct Recommender {
    chain: FallbackChain<UserId, Vec<Item>>,
    catalog: Catalog,
    circuits: Circuits,
}

impl Recommender {
    /// Creates a recommender that calls these services.
    ///
    /// # Errors
    /// [`ConfigError`] if `circuit_wait` is out of a circuit breaker's range.
    pub fn new(ml_url: &BaseUrl, catalog_url: &BaseUrl, circuit_wait: Duration) -> Result<Self, ConfigError> {
        let client = http_client();
        // Each dependency has its own circuit: one may be down while the other works.
        let ml = Dependency::new(name!("ml_service"), client.clone(), circuit_wait)?;
        let catalog = Dependency::new(name!("popular_items"), client, circuit_wait)?;
        let circuits = Circuits::new([ml.circuit(), catalog.circuit()]);

        let remembered: Remembered =
            LastKnownValues::builder("cached").max_stale(OLDEST).max_entries(REMEMBERED_USERS).build()?;
        let ml = Ml::new(ml, ml_url, remembered.clone());
        let catalog = Catalog::new(catalog, catalog_url);
        let popular = catalog.clone();

        // The time is shared: the first of four sources has 200 of the 800 ms, and the others get what it doesn't use. So the
        // last source answers in time even if the first three hang.
        let chain = FallbackChain::builder("recommendations")
            .total(TOTAL)
            .classify(ClassifyCall::default())
            // What this user likes. Good answers are remembered for the next source.
            .provider(Provider::from_fn(name!("ml_service"), move |user| ml.clone().recommend(user)))
            // This user's last good answer. It has an age, so it is `stale`.
            .provider(Provider::from_fn(name!("cached"), remembered.provider()))
            // Popular items aren't personal, so this and the next source are `degraded`.
            .provider(Provider::value(name!("popular_items"), move || popular.clone().recommend()))
            // Always answers, without I/O. Every chain should end with such a source.
            .provider(Provider::value(name!("static_bestsellers"), || ready(bestsellers())))
            .build()?;

        Ok(Self { chain, catalog, circuits })
    }

    /// Returns recommendations and their source.
    ///
    /// # Errors
    /// [`AllProvidersFailed`], which can't happen since the last source never fails.
    pub async fn recommend(&self, user: UserId) -> Result<FallbackResult<Vec<Item>>, AllProvidersFailed> {
        self.chain.execute(user).await
    }

    /// Asks each source once, for a test: a source that nobody needs may have been broken for months.
    ///
    /// # Errors
    /// [`UnprovenProviders`] names the sources that don't answer.
    pub async fn prove_each_source(&self, user: UserId) -> Result<(), UnprovenProviders> {
        self.chain.prove_each_provider(user).await
    }

    /// Returns a future that probes the catalog while its circuit is open. Spawn it.
    ///
    /// Only calls close a circuit, and the catalog gets none while the ML service works. Its circuit would stay open, and the
    /// health report degraded, until the catalog is needed again. The ML service needs no prober, since each request calls it
    /// first.
    pub fn prober(&self) -> Prober<impl Future<Output = ()> + use<>> {
        self.catalog.prober()
    }

    /// The circuits of the services.
    #[must_use]
    pub const fn circuits(&self) -> &Circuits {
        &self.circuits
    }
}
