//! The chain of sources: the best first, and one that can't fail last.

use std::future::ready;
use std::time::Duration;

use backstop::circuit_breaker::Recovery;
use backstop::{
    AllProvidersFailed, ConfigError, FallbackChain, FallbackResult, Inventory, Prober, Provider, UnprovenProviders,
    name,
};

use tower::BoxError;

use crate::circuits::Circuits;
use crate::config::BaseUrl;
use crate::dependency::ClassifyCall;
use crate::sources::{Catalog, Item, Sources, bestsellers};
use crate::user_id::UserId;

/// The time limit for all sources together. A page waits for this answer.
pub(crate) const TOTAL: Duration = Duration::from_millis(800);

/// Recommends items from the best source that answers.
#[derive(Debug, Clone)]
pub struct Recommender {
    chain: FallbackChain<UserId, Vec<Item>>,
    catalog: Catalog,
    circuits: Circuits,
}

impl Recommender {
    /// Creates a recommender that calls these services, and has no features that can go off.
    ///
    /// # Errors
    /// [`ConfigError`] if `circuit_wait` is out of a circuit breaker's range.
    pub fn new(ml_url: &BaseUrl, catalog_url: &BaseUrl, circuit_wait: Duration) -> Result<Self, ConfigError> {
        Self::from_sources(Sources::new(ml_url, catalog_url, circuit_wait, Recovery::at_once())?)
    }

    /// Creates a recommender that asks these sources.
    pub(crate) fn from_sources(sources: Sources) -> Result<Self, ConfigError> {
        let Sources { ml, remembered, store, catalog, circuits } = sources;
        let popular = catalog.clone();
        let remembered = remembered.provider();

        // The time is shared: the first of four sources has 200 of the 800 ms, and the others get what it doesn't use. So the
        // last source answers in time even if the first three hang.
        let chain = FallbackChain::builder("recommendations")
            .total(TOTAL)
            .classify(ClassifyCall::default())
            // What this user likes. Good answers are remembered for the next source. It refuses while `ml_recommendations` is
            // off, as it does while its circuit is open: then the next source answers, with its label.
            .provider(Provider::from_fn(name!("ml_service"), move |user| ml.clone().recommend(user)))
            // This user's last good answer. It has an age, so it is `stale`.
            .provider(Provider::from_fn(name!("cached"), move |user| {
                let (is_up, answer) = (store.check(), remembered(user));
                async move {
                    is_up.map_err(BoxError::from)?;
                    answer.await.map_err(BoxError::from)
                }
            }))
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

    /// The catalog, for pages that show more than recommendations.
    pub(crate) const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Lists the chain.
    pub(crate) fn register(&self, inventory: Inventory) -> Inventory {
        inventory.register(self.chain.handle())
    }

    /// The circuits of the services.
    #[must_use]
    pub const fn circuits(&self) -> &Circuits {
        &self.circuits
    }
}
