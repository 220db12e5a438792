//! Reports about components.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use backstop_core::{ConfigError, Level, Name, name};
use backstop_kit::log_text;

use crate::{
    ComponentState, Health,
    engine::{Slot, Source},
    operator::Operator,
    shared::Shared,
    telemetry,
};

/// How long a report holds unless it says otherwise.
const DEFAULT_TTL: Duration = Duration::from_secs(300);
const TTL: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 60 * 60);
const TTL_ALLOWED: &str = "100 ms to 24 h";
/// So that reporters with made-up names don't use up the memory.
const MOST_REPORTERS: usize = 32;
/// The slot of reports without a reporter, and that of operators.
const UNNAMED: Name = name!("report");
const OPERATOR: Name = name!("operator");

/// Reports what it knows of a component: see [`Health::reporter`].
#[derive(Clone)]
pub struct Reporter {
    pub(crate) shared: Arc<Shared>,
    pub(crate) component: usize,
    pub(crate) name: Name,
}

impl Health {
    /// Reports on a component under a name of one's own.
    ///
    /// Each reporter has one slot: a new report replaces the one before, and a good report clears nobody else's. A component's
    /// state is its worst slot. Each report has a lifetime. When a bad one has expired, the component is unknown for 5 s, and
    /// then as if there had been no report. A good one is forgotten at once.
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop_health::{Component, ComponentState, Health, Level};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), backstop_health::ConfigError> {
    /// let health = Health::builder().component(Component::essential("database")).build()?;
    /// let lag = health.reporter("database", "lag_watch")?;
    /// lag.report(Level::Degraded, "the replica is 40 s behind")?;
    /// health.report("database", Level::Healthy, "", Duration::from_secs(60))?;
    ///
    /// let database = health.component("database").unwrap();
    /// assert_eq!(database.state(), ComponentState::Degraded);
    /// lag.clear();
    /// assert_eq!(database.state(), ComponentState::Healthy);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] if there is no such component, or if `reporter` isn't a [name](crate::Name), or is `operator`.
    pub fn reporter(&self, component: &str, reporter: impl Into<Cow<'static, str>>) -> Result<Reporter, ConfigError> {
        let component = self.shared.find(component)?;
        let name = Name::new(reporter).map_err(|error| ConfigError::new("reporter", error.value, error.allowed))?;
        if name == OPERATOR {
            return Err(ConfigError::new("reporter", name, "any name but the operator's"));
        }
        Ok(Reporter { shared: Arc::clone(&self.shared), component, name })
    }

    /// Reports on a component, in the slot `report`, for `ttl`: 100 ms to 24 h, 300 s if it is `None`.
    ///
    /// `message` says why; it is cut to 256 bytes. Let it contain no secrets and nothing of a request.
    ///
    /// # Errors
    /// [`ConfigError`] if there is no such component, if `ttl` isn't allowed, or if it has 32 bad reports by others.
    pub fn report(
        &self,
        component: &str,
        level: Level,
        message: &str,
        ttl: impl Into<Option<Duration>>,
    ) -> Result<(), ConfigError> {
        let component = self.shared.find(component)?;
        let reporter = Reporter { shared: Arc::clone(&self.shared), component, name: UNNAMED };
        reporter.report_for(level, message, ttl.into().unwrap_or(DEFAULT_TTL))
    }

    /// Reports on a component by hand, in the slot `operator`, which is always free. It is logged, and the reason is its message.
    ///
    /// # Errors
    /// [`ConfigError`] if there is no such component, if `ttl` isn't allowed, or if `who` or `reason` isn't allowed: see [`pin`](Self::pin).
    pub fn report_by_hand(
        &self,
        component: &str,
        level: Level,
        ttl: impl Into<Option<Duration>>,
        who: &str,
        reason: &str,
    ) -> Result<(), ConfigError> {
        let operator = Operator::new(who, reason)?;
        let component = self.shared.find(component)?;
        let ttl = ttl.into().unwrap_or(DEFAULT_TTL);
        let reporter = Reporter { shared: Arc::clone(&self.shared), component, name: OPERATOR };
        reporter.put(level, Some(Arc::clone(&operator.reason)), ttl)?;
        telemetry::operator_reported(&self.shared, &operator, component, level, ttl);
        Ok(())
    }
}

impl Reporter {
    /// Reports for 300 s.
    ///
    /// `message` says why; it is cut to 256 bytes. Let it contain no secrets and nothing of a request.
    ///
    /// # Errors
    /// [`ConfigError`] if the component has 32 bad reports by others that haven't expired.
    pub fn report(&self, level: Level, message: &str) -> Result<(), ConfigError> {
        self.report_for(level, message, DEFAULT_TTL)
    }

    /// Reports for `ttl`: 100 ms to 24 h.
    ///
    /// # Errors
    /// As [`report`](Self::report), and if `ttl` isn't allowed.
    pub fn report_for(&self, level: Level, message: &str, ttl: Duration) -> Result<(), ConfigError> {
        let message = Some(message.trim()).filter(|message| !message.is_empty());
        self.put(level, message.map(|message| log_text(message).into()), ttl)
    }

    /// Forgets this reporter's report at once.
    pub fn clear(&self) {
        self.shared.update(|engine| {
            engine.touch(self.component).slots.retain(|slot| !slot.is_of_reporter(&self.name));
        });
    }

    pub(crate) fn put(&self, level: Level, message: Option<Arc<str>>, ttl: Duration) -> Result<(), ConfigError> {
        ConfigError::check_range("ttl", ttl, TTL, TTL_ALLOWED)?;
        self.shared.update(|engine| {
            let until = Some(engine.now() + ttl);
            let slots = &mut engine.touch(self.component).slots;
            if let Some(slot) = slots.iter_mut().find(|slot| slot.is_of_reporter(&self.name)) {
                slot.set(level.into(), message, until);
                return Ok(());
            }
            let reporters = slots.iter().filter(|slot| matches!(slot.source, Source::Reporter(_))).count();
            if reporters >= MOST_REPORTERS && self.name != OPERATOR {
                // No report means the same as a good one.
                let good =
                    |slot: &Slot| matches!(slot.source, Source::Reporter(_)) && slot.state == ComponentState::Healthy;
                let Some(good) = slots.iter().position(good) else {
                    let allowed = "a component with less than 32 bad reports";
                    return Err(ConfigError::new("reporters", reporters.to_string(), allowed));
                };
                slots.remove(good);
            }
            let mut slot = Slot::new(Source::Reporter(self.name.clone()));
            slot.set(level.into(), message, until);
            slots.push(slot);
            Ok(())
        })
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").field("name", &self.name).finish_non_exhaustive()
    }
}
