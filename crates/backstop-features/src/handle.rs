//! The operators' handle.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use backstop_core::{ConfigError, EventLog, Inspect, Name};
use backstop_kit::{bounded, check_operator};

use crate::{
    Cause, FeatureGate, FeatureState, FeaturesConfig, Flag, FlagChange, Reach, StoreError, Tier, decision::Flags,
    features::unknown, registry::Registry, slot::Slot, telemetry,
};

/// How long the mark of a removed flag stays in the store. An instance that can't reach the store for longer holds the flag.
const REMOVED_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Shows features, and sets and removes operators' flags: see [`Features::handle`](crate::Features::handle).
///
/// Each change is logged with what, who, why and until when.
///
/// ```
/// use std::time::Duration;
/// use backstop_features::{Feature, FeatureState, Features, FlagChange, Reach, feature};
///
/// static REVIEWS: Feature = feature!("reviews");
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let features = Features::builder().declare(REVIEWS.standard()).build()?;
/// let operators = features.handle();
///
/// let off = FlagChange::disable("ada", "the reviews API is down").until(Duration::from_secs(3_600));
/// assert_eq!(operators.set(&REVIEWS, off).await?, Reach::Instance);
/// assert_eq!(features.state(&REVIEWS), FeatureState::Disabled);
///
/// operators.remove(&REVIEWS, "ada", "it is up again").await?;
/// assert!(features.is_enabled(&REVIEWS));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FeaturesHandle {
    registry: Arc<Registry>,
}

/// Why a flag wasn't set or removed.
#[derive(Debug)]
#[non_exhaustive]
pub enum SetError {
    /// The feature isn't declared, or the change isn't allowed. Nothing has changed.
    Invalid(ConfigError),
    /// The store didn't confirm it. Nothing has changed on this instance; if the store has it all the same, this instance will
    /// follow like all others.
    Store(StoreError),
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => error.fmt(f),
            Self::Store(error) => write!(f, "the store did not confirm the change: {error}"),
        }
    }
}

impl Error for SetError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Invalid(error) => Some(error),
            Self::Store(error) => Some(&**error),
        }
    }
}

impl From<ConfigError> for SetError {
    fn from(error: ConfigError) -> Self {
        Self::Invalid(error)
    }
}

/// A feature as an operator sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FeatureStatus {
    /// The feature.
    pub name: Name,
    /// Its tier.
    pub tier: Tier,
    /// Its state.
    pub state: FeatureState,
    /// Why it is in that state.
    pub cause: Cause,
    /// For how long.
    pub since: Duration,
    /// The operator's flag that decides, if there is one.
    pub flag: Option<Flag>,
    /// The store's flag, while one that was set on this instance decides.
    pub overridden_flag: Option<Flag>,
    /// While it returns after errors: the share of the calls that is let through.
    pub share: Option<f64>,
    /// While it is degraded by errors: how long it stays so.
    pub remaining: Option<Duration>,
}

impl FeaturesHandle {
    pub(crate) const fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    /// All features, in the order of their declaration.
    #[must_use]
    pub fn list(&self) -> Vec<FeatureStatus> {
        self.registry.declared().iter().map(|slot| status(slot)).collect()
    }

    /// One feature. `None` if it isn't declared.
    #[must_use]
    pub fn get(&self, feature: impl AsRef<str>) -> Option<FeatureStatus> {
        self.registry.find(feature.as_ref()).map(|slot| status(slot))
    }

    /// Sets a flag, in the store if there is one. It replaces one that was [set here](Self::set_here).
    ///
    /// # Errors
    /// [`SetError`] if the feature isn't declared, the change isn't allowed, or the store didn't confirm it within
    /// [`store_timeout`](crate::FeaturesBuilder::store_timeout).
    ///
    /// # Cancellation
    /// If it is dropped, the flag may be set or not.
    pub async fn set(&self, feature: impl AsRef<str> + Send, change: FlagChange) -> Result<Reach, SetError> {
        let slot = self.find(feature.as_ref())?;
        let ttl = change.ttl();
        let flag = change.check(self.reach())?;
        self.write(slot, flag.to_bytes(), ttl, Some(flag.clone())).await?;
        telemetry::flag_set(slot, &flag);
        Ok(flag.reach())
    }

    /// Removes a flag, in the store if there is one, and one that was [set here](Self::set_here). Then the level, components and
    /// errors decide again.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Cancellation
    /// If it is dropped, the flag may be removed or not.
    pub async fn remove(
        &self,
        feature: impl AsRef<str> + Send,
        who: impl AsRef<str> + Send,
        reason: impl AsRef<str> + Send,
    ) -> Result<Reach, SetError> {
        let slot = self.find(feature.as_ref())?;
        let (who, reason) = (who.as_ref(), reason.as_ref());
        check_operator(who, reason)?;
        self.write(slot, Flag::removed(), Some(REMOVED_TTL), None).await?;
        telemetry::flag_removed(slot, who, reason, self.reach());
        Ok(self.reach())
    }

    /// Sets a flag on this instance alone, at once and without the store: for when the store is down, or for one sick instance.
    /// The change needs an [`until`](FlagChange::until) of at most 24 h.
    ///
    /// | then | the feature on this instance |
    /// |---|---|
    /// | the store is back, or has another flag, set before or afterwards through another instance | stays as set here. The log says once that the store's flag has no effect |
    /// | a flag is [set](Self::set) or [removed](Self::remove) through this instance, and the store confirms it | follows that. The flag set here is gone |
    /// | the store doesn't confirm it | stays as set here |
    /// | it is [removed here](Self::remove_here), or ends | follows the store's flag; without one, the level, components and errors |
    /// | the process ends | the same |
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use backstop_features::{Feature, FeatureState, Features, FlagChange, feature};
    /// # static REVIEWS: Feature = feature!("reviews");
    /// let features = Features::builder().declare(REVIEWS.standard()).build()?;
    /// let off = FlagChange::disable("ada", "Redis is down, and so is the reviews API").until(Duration::from_secs(3_600));
    /// features.handle().set_here(&REVIEWS, off)?;
    /// assert_eq!(features.state(&REVIEWS), FeatureState::Disabled);
    /// # Ok::<(), backstop_features::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] if the feature isn't declared, or the change isn't allowed.
    pub fn set_here(&self, feature: impl AsRef<str>, change: FlagChange) -> Result<(), ConfigError> {
        let slot = self.find(feature.as_ref())?;
        let flag = change.check_here()?;
        telemetry::changed(slot.change_flags(|flags| flags.here = Some(flag.clone())));
        telemetry::flag_set(slot, &flag);
        Ok(())
    }

    /// Removes a flag that was [set here](Self::set_here). Returns whether there was one.
    ///
    /// # Errors
    /// [`ConfigError`] if the feature isn't declared, or `who` or `reason` is empty.
    pub fn remove_here(
        &self,
        feature: impl AsRef<str>,
        who: impl AsRef<str>,
        reason: impl AsRef<str>,
    ) -> Result<bool, ConfigError> {
        let slot = self.find(feature.as_ref())?;
        let (who, reason) = (who.as_ref(), reason.as_ref());
        check_operator(who, reason)?;
        let mut removed = None;
        telemetry::changed(slot.change_flags(|flags| removed = flags.here.take()));
        if removed.is_some() {
            telemetry::flag_removed(slot, who, reason, Reach::Instance);
        }
        Ok(removed.is_some())
    }

    /// Changes the settings while calls run. No call waits for it.
    ///
    /// | setting | takes effect |
    /// |---|---|
    /// | `tier`, `needs`, `off_unless_known` | at once |
    /// | `errors` | for errors from now on. Counted calls and errors are kept. A degradation that runs keeps its end, unless errors are ignored now |
    /// | `store_timeout`, `poll_interval` | from the next call of the store on |
    /// | `instance`, `store_component`, and the names of `features` | can't change |
    ///
    /// Flags stay. A setting that `config` leaves out gets its default. Health and the stores aren't part of a
    /// [`FeaturesConfig`], and stay.
    ///
    /// ```
    /// # use backstop_features::{DegradeOnErrors, Feature, Features, FeaturesConfig, feature};
    /// # static REVIEWS: Feature = feature!("reviews");
    /// let features = Features::builder().declare(REVIEWS.standard()).build()?;
    /// let mut config = FeaturesConfig::default();
    /// config.features.push(REVIEWS.nice_to_have().degrade_on_errors(DegradeOnErrors::new().min_errors(50)));
    /// features.handle().reload(config)?;
    /// # Ok::<(), backstop_features::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`FeaturesBuilder::build`](crate::FeaturesBuilder::build), and if something changes that can't. Nothing changes then.
    pub fn reload(&self, config: FeaturesConfig) -> Result<(), ConfigError> {
        self.registry.reload(self.registry.check(config)?);
        Ok(())
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &FeaturesConfig) -> Result<(), ConfigError> {
        self.registry.check(config.clone()).map(drop)
    }

    /// All features for an inventory, in the order of their declaration: `inventory.register_all(features.handle().components())`.
    #[must_use]
    pub fn components(&self) -> Vec<Arc<dyn Inspect>> {
        let gate = |slot: &Arc<Slot>| Arc::new(FeatureGate::new(Arc::clone(&self.registry), Arc::clone(slot))) as _;
        self.registry.declared().iter().map(gate).collect()
    }

    /// What is wrong with the store, if anything is: shown as a degraded component, which moves no level.
    #[must_use]
    pub fn store_error(&self) -> Option<String> {
        self.registry.store_errors.text()
    }

    /// Records changes of state, and operators' acts with who, why and until when, in `log` from now on. Only the first log is used.
    pub fn report_to(&self, log: &EventLog) {
        self.registry.report_to(log);
    }

    fn find(&self, feature: &str) -> Result<&Slot, ConfigError> {
        self.registry.find(feature).map(|slot| &**slot).ok_or_else(|| unknown(feature))
    }

    /// Which instances a flag reaches that is set here.
    fn reach(&self) -> Reach {
        if self.registry.setup.flags.is_some() { Reach::Fleet } else { Reach::Instance }
    }

    /// Writes a flag to the store, if there is one, and then follows it here.
    async fn write(
        &self,
        slot: &Slot,
        value: bytes::Bytes,
        ttl: Option<Duration>,
        flag: Option<Flag>,
    ) -> Result<(), SetError> {
        let written = match &self.registry.setup.flags {
            Some(store) => bounded(self.registry.store_times().timeout, store.write(slot.name(), value, ttl)).await,
            None => Ok(()),
        };
        // Also if it failed: it may have been written.
        let changed = self.registry.written(|| match written {
            Ok(()) => slot.change_flags(|flags| *flags = Flags { here: None, stored: flag }),
            Err(_) => None,
        });
        telemetry::changed(changed);
        written.map_err(SetError::Store)
    }
}

fn status(slot: &Slot) -> FeatureStatus {
    let reading = slot.read();
    FeatureStatus {
        name: slot.name().clone(),
        tier: reading.rules.tier,
        state: reading.state,
        cause: reading.cause,
        since: reading.since.elapsed(),
        flag: reading.flags.deciding().cloned(),
        overridden_flag: reading.flags.overridden().cloned(),
        share: reading.share.map(|share| f64::from(share) / 1e6),
        remaining: reading.until,
    }
}

impl fmt::Debug for FeaturesHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeaturesHandle").field("registry", &self.registry).finish()
    }
}
