//! What a component is, as its user declares it.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use backstop_core::{ConfigError, Inspect, Level, Name};

use crate::{BacklogConfig, ProbeConfig, config::ComponentSettings, engine::CircuitReading, sample::read_circuit};

/// A component whose health is tracked: a dependency, a queue, a disk.
///
/// You must say whether it is essential. There is no default, because that choice decides what an outage of it does:
///
/// | | [essential](Self::essential) | [optional](Self::optional) |
/// |---|---|---|
/// | is shown | yes | yes |
/// | moves the service's [level](crate::Health::level) | yes | never |
/// | while its state is unknown | counts as degraded, once the service has started | counts as healthy |
/// | the service waits for its first result at start | up to 10 s | no |
///
/// A store of your own, such as a cache or the store of feature flags, is optional: the service works without it.
///
/// A component has any number of sources: circuits, heartbeats and backlogs, which are declared here, and
/// [probes](crate::Health::probe) and [reports](crate::Health::reporter), which come later. Its state is the worst of them.
///
/// ```
/// use std::time::Duration;
/// use backstop_circuit_breaker::{CircuitBreakerLayer, name};
/// use backstop_health::{Component, Health};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), backstop_health::ConfigError> {
/// let ml = CircuitBreakerLayer::new(name!("ml"));
/// let health = Health::builder()
///     .component(Component::essential("database").without_fallback())
///     .component(Component::optional("ml").circuit(ml.handle()))
///     .component(Component::optional("importer").heartbeat(Duration::from_secs(60)))
///     .build()?;
/// # let _ = health;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Component {
    pub(crate) name: Cow<'static, str>,
    pub(crate) is_essential: bool,
    pub(crate) is_local: bool,
    pub(crate) has_fallback: bool,
    pub(crate) circuits: Vec<Arc<dyn Inspect>>,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) probe: ProbeConfig,
    pub(crate) backlog: BacklogConfig,
    pub(crate) backlogs: Vec<Backlog>,
}

/// A queue with a capacity.
#[derive(Clone)]
pub(crate) struct Backlog {
    pub(crate) capacity: u64,
    pub(crate) len: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Component {
    /// The service can't do its job without it, or only with a fallback. It moves the service's level.
    pub fn essential(name: impl Into<Cow<'static, str>>) -> Self {
        Self::new(name.into(), true)
    }

    /// The service works without it. It is shown, and never moves the level.
    pub fn optional(name: impl Into<Cow<'static, str>>) -> Self {
        Self::new(name.into(), false)
    }

    fn new(name: Cow<'static, str>, is_essential: bool) -> Self {
        Self {
            name,
            is_essential,
            is_local: false,
            has_fallback: true,
            circuits: Vec::new(),
            heartbeat: None,
            probe: ProbeConfig::default(),
            backlog: BacklogConfig::default(),
            backlogs: Vec::new(),
        }
    }

    /// It belongs to this instance alone: its own disk, its own listener. While its level is critical, the instance isn't
    /// [ready](crate::Health::readiness), because another instance can serve instead.
    ///
    /// A failing probe or an open circuit makes it critical only [without fallback](Self::without_fallback). A report may say
    /// so, too. Whether it is essential makes no difference to readiness: an optional one takes the instance away, and never
    /// moves the service's level.
    ///
    /// Never declare a shared dependency local: its outage would take away every instance, and with them every fallback.
    pub const fn local(mut self) -> Self {
        self.is_local = true;
        self
    }

    /// Nothing replaces it: an open circuit or a failing probe makes it critical instead of degraded.
    ///
    /// Only for a component that is essential or [local](Self::local): nothing else follows it that far.
    pub const fn without_fallback(mut self) -> Self {
        self.has_fallback = false;
        self
    }

    /// Follows a circuit: pass the handle of a `CircuitBreakerLayer`.
    ///
    /// | the circuit is | the component is |
    /// |---|---|
    /// | closed | healthy |
    /// | open, half-open, isolated, recovering | degraded; critical if it is [without fallback](Self::without_fallback) |
    /// | open, its wait has passed, and no call came for 60 s | unknown |
    /// | recovering, the step of its ramp has ended, and no call came for 60 s | unknown |
    /// | only observing, whatever it would do | healthy |
    ///
    /// The state is read every 500 ms through [`Inspect`], so that any circuit breaker will do whose `state` has the token
    /// of the circuit's state in the field `state`. [`build`](crate::HealthBuilder::build) refuses anything else, such as the
    /// handle of a keyed circuit breaker.
    pub fn circuit(mut self, circuit: impl Inspect + 'static) -> Self {
        self.circuits.push(Arc::new(circuit));
        self
    }

    /// Expects a sign of life at least once in `timeout`: 100 ms to 24 h. See [`Health::heartbeat`](crate::Health::heartbeat).
    ///
    /// A silent heartbeat makes the component degraded, never critical. At start the time counts from when the
    /// [`Health`](crate::Health) was built.
    pub const fn heartbeat(mut self, timeout: Duration) -> Self {
        self.heartbeat = Some(timeout);
        self
    }

    /// How its [probe](crate::Health::probe) goes: every 5 s ± 20 %, for at most 2 s, bad after 3 failures and good again after
    /// 2 successes, unless set.
    pub const fn probe_config(mut self, config: ProbeConfig) -> Self {
        self.probe = config;
        self
    }

    /// Watches a queue that holds at most `capacity`: degraded when it is 80 % full, healthy again at 50 %, unless
    /// [set](Self::backlog_config).
    ///
    /// `len` is called every 500 ms. It must return at once, and must not block its thread: while it hangs, no circuit and no
    /// backlog is read.
    pub fn backlog(mut self, capacity: u64, len: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.backlogs.push(Backlog { capacity, len: Arc::new(len) });
        self
    }

    /// How full its [backlogs](Self::backlog) may be.
    pub const fn backlog_config(mut self, config: BacklogConfig) -> Self {
        self.backlog = config;
        self
    }

    pub(crate) fn check(&self) -> Result<Name, ConfigError> {
        let name =
            Name::new(self.name.clone()).map_err(|error| ConfigError::new("component", error.value, error.allowed))?;
        if name == crate::SERVICE {
            return Err(ConfigError::new("component", self.name.clone(), "any name but that of the whole service"));
        }
        if !self.has_fallback && !self.is_essential && !self.is_local {
            return Err(ConfigError::new(
                "without_fallback",
                self.name.clone(),
                "only an essential or a local component",
            ));
        }
        if let Some(circuit) =
            self.circuits.iter().find(|circuit| read_circuit(&***circuit) == CircuitReading::Unreadable)
        {
            let allowed = "the handle of a circuit breaker, which shows the state of one circuit";
            return Err(ConfigError::new("circuit", circuit.name().clone(), allowed));
        }
        for backlog in &self.backlogs {
            ConfigError::check_range("backlog", backlog.capacity, 1.., "a capacity of at least 1")?;
        }
        ComponentSettings::declared(self).check()?;
        Ok(name)
    }

    /// What an open circuit or a failing probe makes of it.
    pub(crate) const fn failed_level(&self) -> Level {
        if self.has_fallback { Level::Degraded } else { Level::Critical }
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("name", &self.name)
            .field("is_essential", &self.is_essential)
            .field("is_local", &self.is_local)
            .field("has_fallback", &self.has_fallback)
            .field("circuits", &self.circuits.iter().map(|circuit| circuit.name()).collect::<Vec<_>>())
            .field("heartbeat", &self.heartbeat)
            .field("backlogs", &self.backlogs.len())
            .finish()
    }
}
