//! The handle.

use std::{fmt, sync::Arc, time::Duration};

use backstop_core::{ConfigError, Name};

use crate::{DeferredConfig, counted::Halt, queue::Queue};

/// Shows a queue, and reloads its settings: see [`Deferred::handle`](crate::Deferred::handle).
///
/// Its numbers are those that a worker of this process has counted last, which it does each second. They are 0 if none has run, and
/// don't change any more when the last one has ended: [`halted`](Self::halted) then says so.
///
/// # Health
///
/// A component of `backstop-health` follows how full the queue is, and whether its workers take jobs:
///
/// ```
/// use backstop_health::{Component, Health};
/// # use backstop_deferred::{Deferred, JobKind, MemoryJobStore};
/// # #[derive(serde::Deserialize, serde::Serialize)]
/// # struct Email;
/// # impl JobKind for Email {
/// #     const KIND: &str = "email";
/// # }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), backstop_deferred::ConfigError> {
/// let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).max_pending(10_000).build()?;
/// let (pending, halted) = (emails.handle(), emails.handle());
/// let health = Health::builder()
///     .component(
///         Component::optional("emails")
///             .backlog(10_000, move || pending.queued() + pending.running())
///             .backlog(1, move || u64::from(halted.halted().is_some())),
///     )
///     .build()?;
/// # let _ = health;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DeferredHandle {
    queue: Arc<Queue>,
}

impl DeferredHandle {
    pub(crate) const fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The queue's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.queue.name
    }

    /// How many jobs wait for a worker, or for their next attempt.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.queue.counted().queued.records
    }

    /// How many jobs are claimed by workers.
    #[must_use]
    pub fn running(&self) -> u64 {
        self.queue.counted().running.records
    }

    /// How many dead letters there are.
    #[must_use]
    pub fn dead(&self) -> u64 {
        self.queue.counted().dead.records
    }

    /// For how long the job has been due that waits longest. `None` if none is due.
    #[must_use]
    pub fn oldest(&self) -> Option<Duration> {
        self.queue.counted().oldest
    }

    /// Why the workers of this process take no jobs: `dead-letters-full`, `store-failed`, or `no-worker` if none has shown a sign of
    /// life for 5 s. `None` if they take jobs, or if none has run here.
    #[must_use]
    pub fn halted(&self) -> Option<&'static str> {
        self.queue.halt().filter(|halt| *halt != Halt::NotCounted).map(Halt::as_str)
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> DeferredConfig {
        self.queue.config().clone()
    }

    /// Changes the settings while jobs are accepted and run.
    ///
    /// | setting | takes effect |
    /// |---|---|
    /// | `name` | can't change |
    /// | `max_pending`, `max_payload`, `expires_after` | for jobs that are accepted afterwards |
    /// | `store_timeout` | for calls of the store that begin afterwards |
    /// | `max_attempts`, `first_wait`, `max_wait` | for attempts that end afterwards |
    /// | `max_concurrent` | at once. Running jobs go on; a worker grows to a higher limit by one in 10 s |
    /// | `keep_done`, `keep_dead` | for jobs that end afterwards |
    /// | `max_dead`, `max_dead_bytes` | at once |
    /// | `grace` | for workers that are stopped afterwards |
    ///
    /// ```
    /// use backstop_deferred::{Deferred, DeferredConfig, MemoryJobStore};
    /// # use backstop_deferred::JobKind;
    /// # #[derive(serde::Deserialize, serde::Serialize)]
    /// # struct Email;
    /// # impl JobKind for Email {
    /// #     const KIND: &str = "email";
    /// # }
    ///
    /// let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).build()?.handle();
    /// let mut config = DeferredConfig::new("emails");
    /// config.max_concurrent = 20;
    /// emails.reload(config)?;
    /// assert_eq!(emails.config().max_concurrent, 20);
    /// # Ok::<(), backstop_deferred::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`DeferredBuilder::build`](crate::DeferredBuilder::build), and if the name isn't the queue's. Nothing changes then.
    pub fn reload(&self, config: DeferredConfig) -> Result<(), ConfigError> {
        self.check(&config)?;
        self.queue.settings.replace(config);
        Ok(())
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &DeferredConfig) -> Result<(), ConfigError> {
        let name = config.check()?;
        if name == *self.name() {
            return Ok(());
        }
        Err(ConfigError::new("name", name.to_string(), format!("the queue's own, {}", self.name())))
    }
}

impl fmt::Debug for DeferredHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferredHandle").field("name", self.name()).finish_non_exhaustive()
    }
}
