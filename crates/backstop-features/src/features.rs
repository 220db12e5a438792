//! The features of a service.

use std::{fmt, sync::Arc};

use backstop_core::{ConfigError, Outcome, Reason, Verdict, scope};

use crate::{
    Feature, FeatureState, FeaturesBuilder, FeaturesConfig, FeaturesHandle, driver, probes::Place, registry::Registry,
    request_states, slot::Slot, telemetry,
};

/// The features of a service. Clones share everything: keep one in your app's state.
///
/// ```
/// use backstop_features::{Feature, FeatureState, Features, feature};
///
/// static CHECKOUT: Feature = feature!("checkout");
/// static REVIEWS: Feature = feature!("reviews");
///
/// let features = Features::builder().declare(CHECKOUT.core()).declare(REVIEWS.nice_to_have()).build()?;
/// assert!(features.is_enabled(&REVIEWS));
/// assert_eq!(features.state(&CHECKOUT), FeatureState::Enabled);
/// # Ok::<(), backstop_features::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Features {
    registry: Arc<Registry>,
}

impl Features {
    /// Declares features.
    pub fn builder() -> FeaturesBuilder {
        FeaturesBuilder::default()
    }

    /// The features of `config`, without health and stores: for those, see [`FeaturesBuilder::with_config`].
    ///
    /// # Errors
    /// As [`FeaturesBuilder::build`].
    pub fn from_config(config: FeaturesConfig) -> Result<Self, ConfigError> {
        Self::builder().with_config(config).build()
    }

    pub(crate) fn new(registry: Registry) -> Self {
        Self { registry: Arc::new(registry) }
    }

    /// Whether the feature may be used now.
    ///
    /// The same throughout a request, if a [`FeatureScopeLayer`](crate::FeatureScopeLayer) is around it. A feature that isn't
    /// declared is off, and logged once as an error.
    ///
    /// While the level, a component or errors keep the feature off, it is enabled for one call in about 10 s: a probe, which shows
    /// when it works again.
    #[inline]
    #[must_use]
    pub fn is_enabled(&self, feature: &Feature) -> bool {
        self.state(feature) == FeatureState::Enabled
    }

    /// The state of the feature for this request: see [`is_enabled`](Self::is_enabled).
    #[inline]
    #[must_use]
    pub fn state(&self, feature: &Feature) -> FeatureState {
        match self.registry.slot(feature.id()) {
            Some(slot) => request_states::state(slot, Place::Handler),
            None => not_declared(feature),
        }
    }

    /// Counts a call that a handler made for the feature: a failure may degrade it. A neutral outcome counts as nothing, and a
    /// failed probe while the level or a component keeps the feature off neither. Nor does a failure in a scope that an
    /// [injected fault](backstop_core::scope#injected-faults) has hit.
    ///
    /// [`FeatureLayer`](crate::FeatureLayer) does this for a service.
    pub fn record(&self, feature: &Feature, outcome: &Outcome) {
        if let Some(slot) = self.registry.slot(feature.id()) {
            record(&self.registry, slot, outcome);
        }
    }

    /// One feature, for a layer, or for a condition elsewhere.
    ///
    /// # Errors
    /// [`ConfigError`] if it isn't declared.
    pub fn gate(&self, feature: &Feature) -> Result<FeatureGate, ConfigError> {
        let slot = self.registry.slot(feature.id()).ok_or_else(|| unknown(feature.as_ref()))?;
        Ok(FeatureGate { registry: Arc::clone(&self.registry), slot: Arc::clone(slot) })
    }

    /// For operators: shows and sets flags.
    #[must_use]
    pub fn handle(&self) -> FeaturesHandle {
        FeaturesHandle::new(Arc::clone(&self.registry))
    }

    /// Follows the level, components and stores. **Spawn it, once.** It ends when nothing uses these features any more. A second one
    /// waits until the first has ended.
    ///
    /// Without it, features still degrade by this instance's own errors, and return. Nothing else changes by itself. If it ends
    /// early, because a closure or a store has panicked, that is logged as an error.
    ///
    /// ```
    /// # use backstop_features::{Feature, Features, MemoryStore, feature};
    /// # static REVIEWS: Feature = feature!("reviews");
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), backstop_features::ConfigError> {
    /// let features = Features::builder().declare(REVIEWS.standard()).flags(MemoryStore::new()).build()?;
    /// tokio::spawn(features.run());
    /// features.loaded().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancellation
    /// Dropping it stops it at any point. What is in force then stays in force.
    pub fn run(&self) -> impl Future<Output = ()> + Send + use<> {
        driver::run(Arc::downgrade(&self.registry), Arc::clone(&self.registry.driving))
    }

    /// Waits until the flags have been read once. At once if there is no store. For readiness, with a time limit.
    pub async fn loaded(&self) {
        // Fails only if the sender is gone, which `self` holds.
        _ = self.registry.loaded().wait_for(|loaded| *loaded).await;
    }

    /// Sets the gauges of all states, for a recorder that was installed later. [`run`](Self::run) does so by itself.
    pub fn show_states(&self) {
        self.registry.declared().iter().for_each(|slot| slot.show_state());
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Features").field("registry", &self.registry).finish()
    }
}

/// One declared feature: see [`Features::gate`].
#[derive(Clone)]
pub struct FeatureGate {
    registry: Arc<Registry>,
    slot: Arc<Slot>,
}

impl FeatureGate {
    /// The feature's name.
    #[must_use]
    pub fn name(&self) -> &backstop_core::Name {
        self.slot.name()
    }

    /// The state of the feature for this request: see [`Features::state`].
    #[inline]
    #[must_use]
    pub fn state(&self) -> FeatureState {
        request_states::state(&self.slot, Place::Handler)
    }

    /// The state of the feature for a call that is about to be made.
    #[inline]
    pub(crate) fn state_in_layer(&self) -> FeatureState {
        request_states::state(&self.slot, Place::Layer)
    }

    /// Whether the feature may be used now: see [`Features::is_enabled`].
    ///
    /// # Errors
    /// [`FEATURE_DEGRADED`](crate::FEATURE_DEGRADED) or [`FEATURE_DISABLED`](crate::FEATURE_DISABLED) if it may not.
    pub fn check(&self) -> Result<(), Reason> {
        request_states::state(&self.slot, Place::Condition).refusal().map_or(Ok(()), Err)
    }

    /// [`check`](Self::check) as a closure, for a provider of a fallback chain:
    ///
    /// ```
    /// use backstop_fallback::{FallbackChain, Provider, name};
    /// use backstop_features::{Feature, Features, feature};
    ///
    /// static RECOMMENDATIONS: Feature = feature!("ml_recommendations");
    /// # async fn ask_ml(_: u32) -> Result<&'static str, std::io::Error> { Ok("for you") }
    ///
    /// let features = Features::builder().declare(RECOMMENDATIONS.nice_to_have()).build()?;
    /// let chain: FallbackChain<u32, &str> = FallbackChain::builder("recommendations")
    ///     .provider(Provider::from_fn(name!("ml"), ask_ml).only_if(features.gate(&RECOMMENDATIONS)?.condition()))
    ///     .provider(Provider::value(name!("popular"), || async { "popular" }))
    ///     .build()?;
    /// # Ok::<(), backstop_features::ConfigError>(())
    /// ```
    pub fn condition(&self) -> impl Fn() -> Result<(), Reason> + Clone + Send + Sync + use<> {
        let gate = self.clone();
        move || gate.check()
    }

    /// Counts a call of the feature: see [`Features::record`].
    #[inline]
    pub fn record(&self, outcome: &Outcome) {
        record(&self.registry, &self.slot, outcome);
    }

    pub(crate) const fn new(registry: Arc<Registry>, slot: Arc<Slot>) -> Self {
        Self { registry, slot }
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    pub(crate) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }
}

impl fmt::Debug for FeatureGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FeatureGate").field(self.name()).finish()
    }
}

#[inline]
fn record(registry: &Registry, slot: &Slot, outcome: &Outcome) {
    match outcome.verdict {
        _ if scope::is_shadow() => {}
        Verdict::Success => slot.count_success(),
        // A failure that was injected on this instance says nothing about the feature, here or elsewhere.
        Verdict::Failure if scope::has_injected_fault() => {}
        Verdict::Failure => {
            registry.warn_if_not_driven();
            slot.count_error();
        }
        _ => {}
    }
}

pub(crate) fn unknown(feature: &str) -> ConfigError {
    ConfigError::new("feature", feature.to_owned(), "a declared feature")
}

#[cold]
fn not_declared(feature: &Feature) -> FeatureState {
    if feature.is_first_report() {
        telemetry::not_declared(feature.name());
    }
    FeatureState::Disabled
}
