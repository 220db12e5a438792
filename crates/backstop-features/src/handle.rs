//! The operators' handle.

use std::{
    error::Error,
    fmt,
    sync::{Arc, atomic::Ordering::Release},
    time::Duration,
};

use backstop_core::{ConfigError, EventLog, Name};

use crate::{
    Cause, FeatureState, Flag, FlagChange, StoreError, Tier,
    erased_store::bounded,
    features::unknown,
    flag::{check_reason, check_who},
    registry::Registry,
    slot::Slot,
    telemetry,
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
/// assert_eq!(features.look(&REVIEWS), FeatureState::Disabled);
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

/// Which instances a change has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reach {
    /// This one: there is no store.
    Instance,
    /// All: it is in the store. This instance follows it at once, others within about 2 s of reaching the store.
    Fleet,
}

impl Reach {
    /// As it is shown to operators: `instance`, `fleet`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Fleet => "fleet",
        }
    }
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
    /// The operator's flag, if there is one.
    pub flag: Option<Flag>,
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

    /// Sets a flag, in the store if there is one.
    ///
    /// # Errors
    /// [`SetError`] if the feature isn't declared, the change isn't allowed, or the store didn't confirm it within
    /// [`store_timeout`](crate::FeaturesBuilder::store_timeout).
    ///
    /// # Cancellation
    /// If it is dropped, the flag may be set or not.
    pub async fn set(&self, feature: impl AsRef<str> + Send, change: FlagChange) -> Result<Reach, SetError> {
        let slot = self.find(feature.as_ref())?;
        let flag = change.check()?;
        let reach = self.write(slot, flag.to_bytes(), change.ttl(), Some(flag.clone())).await?;
        telemetry::flag_set(slot.name(), &flag, change.ttl(), reach == Reach::Fleet);
        Ok(reach)
    }

    /// Removes a flag, in the store if there is one. Then the level, components and errors decide again.
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
        check_who(who)?;
        check_reason(reason)?;
        let reach = self.write(slot, Flag::removed(), Some(REMOVED_TTL), None).await?;
        telemetry::flag_removed(slot.name(), who, reason, reach == Reach::Fleet);
        Ok(reach)
    }

    /// What is wrong with the store, if anything is: shown as a degraded component, which moves no level.
    #[must_use]
    pub fn store_error(&self) -> Option<String> {
        self.registry.store_error()
    }

    /// Records changes of state in `log` from now on. Only the first log is used.
    pub fn report_to(&self, log: &EventLog) {
        self.registry.report_to(log);
    }

    fn find(&self, feature: &str) -> Result<&Slot, ConfigError> {
        self.registry.find(feature).map(|slot| &**slot).ok_or_else(|| unknown(feature))
    }

    /// Writes a flag to the store, if there is one, and then follows it here.
    async fn write(
        &self,
        slot: &Slot,
        value: bytes::Bytes,
        ttl: Option<Duration>,
        flag: Option<Flag>,
    ) -> Result<Reach, SetError> {
        let Some(store) = &self.registry.setup.flags else {
            slot.set_flag(flag);
            return Ok(Reach::Instance);
        };
        let written = bounded(self.registry.setup.store_timeout, store.write(slot.name(), value, ttl)).await;
        if written.is_ok() {
            slot.set_flag(flag);
        }
        // After the flag, so that a read that begins later isn't overwritten by it. Also if it failed: it may have been written.
        self.registry.writes.fetch_add(1, Release);
        written.map_err(SetError::Store)?;
        Ok(Reach::Fleet)
    }
}

fn status(slot: &Slot) -> FeatureStatus {
    let reading = slot.read();
    FeatureStatus {
        name: slot.name().clone(),
        tier: slot.declaration().tier,
        state: reading.state,
        cause: reading.cause,
        since: reading.since.elapsed(),
        flag: reading.flag,
        share: reading.share.map(|share| f64::from(share) / 1e6),
        remaining: reading.until,
    }
}

impl fmt::Debug for FeaturesHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeaturesHandle").field("registry", &self.registry).finish()
    }
}
