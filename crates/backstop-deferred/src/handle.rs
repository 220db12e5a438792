//! The handle.

use std::{fmt, sync::Arc, time::Duration};

use backstop_core::{ConfigError, Name};

use crate::{DeadLetter, DeferredConfig, JobId, StoreError, counted::Halt, dead_letters::Action, queue::Queue};

/// Shows a queue and its dead letters, and reloads its settings: see [`Deferred::handle`](crate::Deferred::handle).
///
/// Its numbers are those that a worker of this process has counted last, which it does each second. They are 0 if none has run, and
/// don't change any more when the last one has ended: [`halted`](Self::halted) then says so.
///
/// # Operations
///
/// [`Inspect`](backstop_core::Inspect) offers these. Who asks for one and why is in the log and in the event log, and all processes that
/// share the store see what it did.
///
/// | operation | arguments | does |
/// |---|---|---|
/// | `replay`, `discard` | `id` | [`replay`](Self::replay), [`discard`](Self::discard) |
/// | `replay-many`, `discard-many` | `limit`, and if only some are meant: `kind`, `failure` | [`replay_many`](Self::replay_many), [`discard_many`](Self::discard_many) |
///
/// Its state has the first 20 dead letters, without payloads, in processes with a worker. They are read again after 30 s if there are
/// more or less by then.
///
/// # Health
///
/// A component of `backstop-health` follows how full the queue is, and whether its workers take jobs:
///
/// ```
/// use backstop_health::{Component, Health};
/// # use backstop_deferred::{Deferred, JobKind, MemoryJobStore, Name, name};
/// # #[derive(serde::Deserialize, serde::Serialize)]
/// # struct Email;
/// # impl JobKind for Email {
/// #     const KIND: Name = name!("email");
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

    /// How many jobs are done and still kept.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.queue.counted().done.records
    }

    /// A page of dead letters: those that are removed first, at most `limit`. `after` is the last one of the page before.
    ///
    /// ```
    /// # use backstop_deferred::{DeferredHandle, StoreError};
    /// async fn print(emails: &DeferredHandle) -> Result<(), StoreError> {
    ///     let mut last = None;
    ///     loop {
    ///         let page = emails.dead_letters(last.as_ref(), 100).await?;
    ///         for letter in &page {
    ///             println!("{}: {}", letter.id, letter.failure.as_str());
    ///         }
    ///         last = page.into_iter().next_back();
    ///         if last.is_none() {
    ///             return Ok(());
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// [`StoreError`] if the store can't tell.
    pub async fn dead_letters(&self, after: Option<&DeadLetter>, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.queue.dead_letters(after, limit).await
    }

    /// Queues a dead letter again, as if it were new: it keeps its id and key. Whether it was a dead letter.
    ///
    /// # Errors
    /// [`StoreError`] if that may have happened or not.
    pub async fn replay(&self, id: JobId) -> Result<bool, StoreError> {
        self.queue.act_on(id, Action::Replay).await
    }

    /// [Replays](Self::replay) the dead letters that `which` chooses, at most `limit`. How many.
    ///
    /// ```
    /// # use backstop_deferred::{DeferredHandle, Failure, StoreError};
    /// # async fn replay(emails: DeferredHandle) -> Result<(), StoreError> {
    /// // The mail service was down for a day.
    /// emails.replay_many(1_000, |letter| letter.failure == Failure::Attempts).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`StoreError`] if the store fails. Some may be replayed then.
    ///
    /// # Cancellation
    /// If it is dropped, some may be replayed.
    pub async fn replay_many(&self, limit: usize, which: impl Fn(&DeadLetter) -> bool) -> Result<usize, StoreError> {
        self.queue.act_on_many(Action::Replay, limit, which).await
    }

    /// Removes a dead letter, and its key. Whether it was one.
    ///
    /// # Errors
    /// [`StoreError`] if that may have happened or not.
    pub async fn discard(&self, id: JobId) -> Result<bool, StoreError> {
        self.queue.act_on(id, Action::Discard).await
    }

    /// [Discards](Self::discard) the dead letters that `which` chooses, at most `limit`. How many.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails. Some may be discarded then.
    ///
    /// # Cancellation
    /// If it is dropped, some may be discarded.
    pub async fn discard_many(&self, limit: usize, which: impl Fn(&DeadLetter) -> bool) -> Result<usize, StoreError> {
        self.queue.act_on_many(Action::Discard, limit, which).await
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
    /// | `keep_done`, `keep_dead_letters` | for jobs that end afterwards |
    /// | `max_done` | for jobs that are accepted afterwards |
    /// | `max_dead_letters`, `max_dead_letter_bytes` | at once |
    /// | `grace` | for workers that are stopped afterwards |
    ///
    /// ```
    /// use backstop_deferred::{Deferred, DeferredConfig, MemoryJobStore};
    /// # use backstop_deferred::{JobKind, Name, name};
    /// # #[derive(serde::Deserialize, serde::Serialize)]
    /// # struct Email;
    /// # impl JobKind for Email {
    /// #     const KIND: Name = name!("email");
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
