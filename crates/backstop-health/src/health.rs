//! The handle.

use std::{fmt, sync::Arc, time::Duration};

use backstop_core::{ConfigError, Level, Name};
use tokio::time::timeout_at;

use crate::{
    ComponentState, HealthBuilder, HealthConfig, HealthView, LevelSubscription, Readiness,
    config::ComponentSettings,
    engine::Pin,
    operator::Operator,
    shared::{NewComponent, Shared},
    telemetry,
};

const LONGEST_PIN: Duration = Duration::from_secs(24 * 60 * 60);

/// The health of this instance of a service: see the [crate's documentation](crate).
///
/// Clones share everything. A clone costs one reference count.
#[derive(Clone)]
pub struct Health {
    pub(crate) shared: Arc<Shared>,
}

impl Health {
    /// Begins to declare components.
    pub fn builder() -> HealthBuilder {
        HealthBuilder::new()
    }

    pub(crate) fn new(config: HealthConfig, parts: impl Iterator<Item = NewComponent>) -> Self {
        Self { shared: Arc::new(Shared::new(config, parts)) }
    }

    /// The service's level: what features go by. It counts essential components only, and is damped.
    ///
    /// One atomic load.
    #[inline]
    #[must_use]
    pub fn level(&self) -> Level {
        self.shared.level()
    }

    /// The worst of all components, optional ones too, without damping. It is shown, and moves nothing.
    #[must_use]
    pub fn status(&self) -> Level {
        self.view().status()
    }

    /// Whether this instance should get requests. It never follows a dependency: see the [crate's documentation](crate#readiness).
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.view().readiness()
    }

    /// Everything that is known, as of now. Takes no lock that a request can hold.
    #[must_use]
    pub fn view(&self) -> Arc<HealthView> {
        self.shared.view()
    }

    /// Watches the level. Fires without traffic while [`run`](Self::run) is polled.
    #[must_use]
    pub fn subscribe(&self) -> LevelSubscription {
        LevelSubscription::new(self.shared.levels.subscribe())
    }

    /// One component, for callers that ask often. `None` if there is none of this name.
    #[must_use]
    pub fn component(&self, name: &str) -> Option<ComponentHandle> {
        let index = self.shared.component_index(name)?;
        Some(ComponentHandle { shared: Arc::clone(&self.shared), index })
    }

    /// The names of the components, in the order of their declaration.
    #[must_use]
    pub fn component_names(&self) -> impl ExactSizeIterator<Item = &Name> {
        self.shared.components.iter().map(|known| &known.name)
    }

    /// Keeps health up to date: spawn it.
    ///
    /// It reads circuits and backlogs every 500 ms, lets reports and silent heartbeats expire on time, and moves the level
    /// when its time has come. Without it, [`level`](Self::level) changes only when something is reported, or when the
    /// [view](Self::view) is read, as `/health` does.
    ///
    /// It ends when all handles are dropped, and keeps none of them alive.
    ///
    /// # Cancellation
    /// Dropping it stops it. It can be started again.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), backstop_health::ConfigError> {
    /// use backstop_health::{Component, Health};
    ///
    /// let health = Health::builder().component(Component::essential("database")).build()?;
    /// tokio::spawn(health.run());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "futures do nothing unless polled"]
    pub fn run(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let (shared, wake) = (Arc::downgrade(&self.shared), Arc::clone(&self.shared.wake));
        async move {
            loop {
                let Some(next) = shared.upgrade().map(|shared| shared.drive()) else {
                    return;
                };
                _ = timeout_at(next, wake.notified()).await;
            }
        }
    }

    /// Sets the level by hand for `time`: 1 s to 24 h. It shows in `/health`, and is logged.
    ///
    /// What would be the level is worked out all the same, and holds at once when the time has passed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop_health::{Health, Level};
    ///
    /// let health = Health::builder().build()?;
    /// health.pin(Level::Degraded, Duration::from_secs(3_600), "ada", "load test until noon")?;
    /// assert_eq!(health.level(), Level::Degraded);
    /// health.unpin("ada", "the load test is over")?;
    /// assert_eq!(health.level(), Level::Healthy);
    /// # Ok::<(), backstop_health::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] if `time` isn't allowed, if `who` isn't 1 to 128 bytes or `reason` 1 to 512 bytes of printable text, or
    /// while the service drains, when the level doesn't change any more.
    pub fn pin(&self, level: Level, time: Duration, who: &str, reason: &str) -> Result<(), ConfigError> {
        let operator = Operator::new(who, reason)?;
        ConfigError::check_range("until", time, Duration::from_secs(1)..=LONGEST_PIN, "1 s to 24 h")?;
        self.shared.update(|engine| {
            if engine.drain_since.is_some() {
                return Err(ConfigError::new("level", level.as_str(), "nothing else while the service drains"));
            }
            let until = engine.now() + time;
            engine.set_pin(Some(Pin { level, until, operator: operator.clone() }));
            Ok(())
        })?;
        telemetry::pinned(&self.shared, &operator, level, time);
        Ok(())
    }

    /// Removes what [`pin`](Self::pin) has set, before its time has passed. Without effect while the service drains.
    ///
    /// Returns whether there was something to remove.
    ///
    /// # Errors
    /// [`ConfigError`] if `who` or `reason` isn't allowed: see `pin`.
    pub fn unpin(&self, who: &str, reason: &str) -> Result<bool, ConfigError> {
        let operator = Operator::new(who, reason)?;
        let removed =
            self.shared.update(|engine| if engine.drain_since.is_some() { None } else { engine.set_pin(None) });
        if let Some(pin) = &removed {
            telemetry::unpinned(&self.shared, &operator, pin.level);
        }
        Ok(removed.is_some())
    }

    /// Keeps the service [starting](Readiness::Starting) until the guard is dropped: for what must be loaded before the first
    /// request, such as the first view of feature flags.
    ///
    /// Starting ends [`start_within`](HealthBuilder::start_within) after the `Health` was built in any case. Later holds have no
    /// effect.
    #[must_use = "dropping it ends the wait"]
    pub fn hold_start(&self) -> StartHold {
        self.shared.update(|engine| engine.start_holds += 1);
        StartHold { shared: Arc::clone(&self.shared) }
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> HealthConfig {
        self.shared.read_engine(|engine| engine.config.clone())
    }

    /// Replaces the settings. What is known of the components stays, and times that have begun go on. A probe goes by its new
    /// settings from its next call on.
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop_health::{Component, Health, HealthConfig, ProbeConfig};
    ///
    /// let health = Health::builder().component(Component::essential("database")).build()?;
    /// let mut probe = ProbeConfig::default();
    /// probe.every = Duration::from_secs(10);
    /// let mut config = HealthConfig::default();
    /// config.components.entry("database".to_owned()).or_default().probe = Some(probe);
    /// health.reload(config)?;
    /// # Ok::<(), backstop_health::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`HealthBuilder::build`]. Nothing changes then.
    pub fn reload(&self, config: HealthConfig) -> Result<(), ConfigError> {
        let settings = self.checked(&config)?;
        self.shared.update(|engine| engine.reload(config, settings));
        Ok(())
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &HealthConfig) -> Result<(), ConfigError> {
        self.checked(config).map(drop)
    }

    fn checked(&self, config: &HealthConfig) -> Result<Vec<ComponentSettings>, ConfigError> {
        config.check(self.shared.components.iter().map(|known| (&known.name, &known.declared)))
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("level", &self.level()).finish_non_exhaustive()
    }
}

/// One component: see [`Health::component`].
#[derive(Clone)]
pub struct ComponentHandle {
    shared: Arc<Shared>,
    index: usize,
}

impl ComponentHandle {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.shared.components[self.index].name
    }

    /// Whether it is essential.
    #[must_use]
    pub fn is_essential(&self) -> bool {
        self.shared.components[self.index].is_essential
    }

    /// The worst of its sources, without damping. One atomic load.
    #[inline]
    #[must_use]
    pub fn state(&self) -> ComponentState {
        self.shared.components[self.index].state()
    }

    /// The level that it counts as, damped as the service's level is. One atomic load.
    ///
    /// For a feature that needs this component: it doesn't flap.
    #[inline]
    #[must_use]
    pub fn level(&self) -> Level {
        self.shared.components[self.index].level()
    }
}

impl fmt::Debug for ComponentHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComponentHandle").field("name", self.name()).field("state", &self.state()).finish()
    }
}

/// Keeps the service starting: see [`Health::hold_start`].
pub struct StartHold {
    shared: Arc<Shared>,
}

impl Drop for StartHold {
    fn drop(&mut self) {
        self.shared.update(|engine| engine.start_holds -= 1);
    }
}

impl fmt::Debug for StartHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartHold").finish_non_exhaustive()
    }
}
