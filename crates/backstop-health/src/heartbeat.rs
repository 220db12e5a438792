//! Signs of life.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Release},
    },
};

use backstop_core::ConfigError;
use tokio::time::Instant;

use crate::Health;

/// Gives signs of life for a component: see [`Health::heartbeat`].
#[derive(Clone)]
pub struct Heartbeat {
    began: Instant,
    last: Arc<AtomicU64>,
}

impl Health {
    /// The heartbeat of a component that was declared with [`Component::heartbeat`](crate::Component::heartbeat).
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop_health::{Component, Health};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), backstop_health::ConfigError> {
    /// let health = Health::builder()
    ///     .component(Component::optional("importer").heartbeat(Duration::from_secs(60)))
    ///     .build()?;
    /// let importer = health.heartbeat("importer")?;
    /// tokio::spawn(async move {
    ///     loop {
    ///         // … import …
    ///         importer.beat();
    /// #       tokio::time::sleep(Duration::from_secs(10)).await;
    ///     }
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] if there is no such component, or if it has no heartbeat.
    pub fn heartbeat(&self, component: &str) -> Result<Heartbeat, ConfigError> {
        let known = &self.shared.components[self.shared.find(component)?];
        let last = known.heartbeat.clone();
        let last = last.ok_or_else(|| {
            ConfigError::new("component", component.to_owned(), "a component that was declared with a heartbeat")
        })?;
        Ok(Heartbeat { began: self.shared.began, last })
    }
}

impl Heartbeat {
    /// It lives. Reads the clock and stores a number; never waits.
    pub fn beat(&self) {
        let nanos = Instant::now().duration_since(self.began).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX - 1);
        // Two threads may beat at once.
        self.last.fetch_max(nanos + 1, Release);
    }
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat").finish_non_exhaustive()
    }
}
