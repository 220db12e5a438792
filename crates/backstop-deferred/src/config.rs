//! The configuration and the builder.

use std::{borrow::Cow, error::Error, fmt, marker::PhantomData, sync::Arc, time::Duration};

use backstop_core::{ConfigError, Name};
use backstop_kit::Reloadable;

use crate::{Deferred, JobKind, erased_store::Bounded, queue::Queue, sealing::Sealing, store::JobStore};

const MIB: u64 = 1024 * 1024;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The settings of a queue as plain data, for [`Deferred::from_config`].
///
/// With the feature `serde` it can be read from a file. A field that is left out has its default, a time is a text such as
/// `"250ms"`, and an unknown field is an error:
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use backstop_deferred::DeferredConfig;
///
/// let config: DeferredConfig = toml::from_str(r#"
///     name = "emails"
///     ## max_pending = 10000       # 1 to 100,000,000 jobs
///     ## max_payload = 262144      # 1 byte to 1 MiB
///     ## store_timeout = "2s"      # 10 ms to 60 s
///     ## expires_after = "1day"    # 1 min to 365 days
///     ## keep_done = "1day"        # 1 min to 365 days
///     ## max_done = 1000000        # 1 to 1,000,000,000 jobs
///     ## max_attempts = 16         # 1 to 1,000
///     ## first_wait = "5s"         # 10 ms to 24 h
///     ## max_wait = "15m"          # first_wait to 24 h
///     ## max_concurrent = 8        # 1 to 1,000 jobs
///     ## grace = "15s"             # 0 to 1 h
///     ## max_dead_letters = 10000          # 1 to 1,000,000 jobs
///     ## max_dead_letter_bytes = 268435456 # 1 MiB to 1 TiB
///     ## keep_dead_letters = "14days"      # 1 min to 365 days
/// "#)?;
/// assert_eq!(config, DeferredConfig::new("emails"));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default = "DeferredConfig::unnamed", deny_unknown_fields))]
#[non_exhaustive]
pub struct DeferredConfig {
    /// The queue's [name](Name), which is part of the scope of keys.
    pub name: Cow<'static, str>,
    /// See [`DeferredBuilder::max_pending`].
    pub max_pending: u64,
    /// See [`DeferredBuilder::max_payload`].
    pub max_payload: usize,
    /// See [`DeferredBuilder::store_timeout`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub store_timeout: Duration,
    /// See [`DeferredBuilder::expires_after`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub expires_after: Duration,
    /// See [`DeferredBuilder::keep_done`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub keep_done: Duration,
    /// See [`DeferredBuilder::max_done`].
    pub max_done: u64,
    /// See [`DeferredBuilder::max_attempts`].
    pub max_attempts: u32,
    /// See [`DeferredBuilder::first_wait`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub first_wait: Duration,
    /// See [`DeferredBuilder::max_wait`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_wait: Duration,
    /// See [`DeferredBuilder::max_concurrent`].
    pub max_concurrent: usize,
    /// See [`DeferredBuilder::grace`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub grace: Duration,
    /// See [`DeferredBuilder::max_dead_letters`].
    pub max_dead_letters: u64,
    /// See [`DeferredBuilder::max_dead_letter_bytes`].
    pub max_dead_letter_bytes: u64,
    /// See [`DeferredBuilder::keep_dead_letters`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub keep_dead_letters: Duration,
}

impl DeferredConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            max_pending: 10_000,
            max_payload: 256 * 1024,
            store_timeout: Duration::from_secs(2),
            expires_after: DAY,
            keep_done: DAY,
            max_done: 1_000_000,
            max_attempts: 16,
            first_wait: Duration::from_secs(5),
            max_wait: 15 * MINUTE,
            max_concurrent: 8,
            grace: Duration::from_secs(15),
            max_dead_letters: 10_000,
            max_dead_letter_bytes: 256 * MIB,
            keep_dead_letters: 14 * DAY,
        }
    }

    /// The defaults of a file, which must set the name.
    #[cfg(feature = "serde")]
    fn unnamed() -> Self {
        Self::new("")
    }

    /// The queue's name, if all values are allowed.
    pub(crate) fn check(&self) -> Result<Name, ConfigError> {
        let name = Name::new(self.name.clone())?;
        ConfigError::check_range("max_pending", self.max_pending, 1..=100_000_000, "1 to 100000000")?;
        ConfigError::check_range("max_payload", self.max_payload, 1..=1024 * 1024, "1 byte to 1 MiB")?;
        let in_range = |field, time, shortest, longest, allowed| {
            ConfigError::check_range(field, time, shortest..=longest, allowed).map(drop)
        };
        let ten_millis = Duration::from_millis(10);
        in_range("store_timeout", self.store_timeout, ten_millis, MINUTE, "10 ms to 60 s")?;
        in_range("expires_after", self.expires_after, MINUTE, YEAR, "1 min to 365 days")?;
        in_range("keep_done", self.keep_done, MINUTE, YEAR, "1 min to 365 days")?;
        ConfigError::check_range("max_done", self.max_done, 1..=1_000_000_000, "1 to 1000000000")?;
        ConfigError::check_range("max_attempts", self.max_attempts, 1..=1_000, "1 to 1000")?;
        in_range("first_wait", self.first_wait, ten_millis, DAY, "10 ms to 24 h")?;
        in_range("max_wait", self.max_wait, self.first_wait, DAY, "first_wait to 24 h")?;
        ConfigError::check_range("max_concurrent", self.max_concurrent, 1..=1_000, "1 to 1000")?;
        in_range("grace", self.grace, Duration::ZERO, 60 * MINUTE, "0 to 1 h")?;
        ConfigError::check_range("max_dead_letters", self.max_dead_letters, 1..=1_000_000, "1 to 1000000")?;
        ConfigError::check_range(
            "max_dead_letter_bytes",
            self.max_dead_letter_bytes,
            MIB..=MIB * MIB,
            "1 MiB to 1 TiB",
        )?;
        in_range("keep_dead_letters", self.keep_dead_letters, MINUTE, YEAR, "1 min to 365 days")?;
        Ok(name)
    }
}

/// Builds a [`Deferred`]: see [`Deferred::builder`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct DeferredBuilder<T, S> {
    store: S,
    config: DeferredConfig,
    sealing: Sealing,
    kind: PhantomData<fn() -> T>,
}

impl<T: JobKind> Deferred<T> {
    /// Builds a queue of this name, whose jobs are in this store. Queues that share a store see each other's jobs, so give each a
    /// store of its own.
    pub fn builder<S: JobStore>(name: impl Into<Cow<'static, str>>, store: S) -> DeferredBuilder<T, S> {
        Self::builder_from(DeferredConfig::new(name), store)
    }

    /// Builds a queue with these settings, and those that a file can't have.
    pub fn builder_from<S: JobStore>(config: DeferredConfig, store: S) -> DeferredBuilder<T, S> {
        DeferredBuilder { store, config, sealing: Sealing::default(), kind: PhantomData }
    }

    /// A queue with these settings.
    ///
    /// # Errors
    /// [`ConfigError`] if a value isn't allowed.
    pub fn from_config<S: JobStore>(config: DeferredConfig, store: S) -> Result<Self, ConfigError> {
        Self::builder_from(config, store).build()
    }
}

impl<T: JobKind, S: JobStore> DeferredBuilder<T, S> {
    /// The most jobs that are queued or running: 1 to 100,000,000, 10,000 unless set. Beyond, none is accepted.
    pub const fn max_pending(mut self, jobs: u64) -> Self {
        self.config.max_pending = jobs;
        self
    }

    /// The longest payload: 1 byte to 1 MiB, 256 KiB unless set. A longer one isn't [accepted](crate::NotAccepted::TooLong). Sealing
    /// may add up to 4 KiB.
    pub const fn max_payload(mut self, bytes: usize) -> Self {
        self.config.max_payload = bytes;
        self
    }

    /// How long a call of the store may take: 10 ms to 60 s, 2 s unless set.
    pub const fn store_timeout(mut self, timeout: Duration) -> Self {
        self.config.store_timeout = timeout;
        self
    }

    /// How old a job may get before it goes to the dead letters: 1 min to 365 days, 24 h unless set.
    pub const fn expires_after(mut self, time: Duration) -> Self {
        self.config.expires_after = time;
        self
    }

    /// How long a job is known after it is done, and with it its key: 1 min to 365 days, 24 h unless set.
    pub const fn keep_done(mut self, time: Duration) -> Self {
        self.config.keep_done = time;
        self
    }

    /// The most jobs that are done and still kept: 1 to 1,000,000,000, 1,000,000 unless set. While there are as many, no new job is
    /// [accepted](crate::NotAccepted::Full): to remove one earlier would make its key another job's.
    ///
    /// They are counted each second or two, so there can be as many more as end in that time, or are pending then. One takes about 300
    /// bytes. A million within the 24 h of [`keep_done`](Self::keep_done) are 11 a second, all day long: a queue with more needs more, or
    /// less time.
    pub const fn max_done(mut self, jobs: u64) -> Self {
        self.config.max_done = jobs;
        self
    }

    /// How often a job is tried: 1 to 1,000 times, 16 unless set. Then it goes to the dead letters.
    pub const fn max_attempts(mut self, attempts: u32) -> Self {
        self.config.max_attempts = attempts;
        self
    }

    /// The wait after the first failure, which doubles at each further one: 10 ms to 24 h, 5 s unless set.
    ///
    /// Each wait is jittered between half and all of it. With the defaults, an outage of an hour leaves no dead letter: 16 attempts
    /// take 63 min at least.
    pub const fn first_wait(mut self, wait: Duration) -> Self {
        self.config.first_wait = wait;
        self
    }

    /// The longest wait between two attempts: `first_wait` to 24 h, 15 min unless set.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.config.max_wait = wait;
        self
    }

    /// The most jobs that a worker runs at once: 1 to 1,000, 8 unless set. It begins with one.
    pub const fn max_concurrent(mut self, jobs: usize) -> Self {
        self.config.max_concurrent = jobs;
        self
    }

    /// How long running jobs may take once their worker is to stop: 0 to 1 h, 15 s unless set. Then they are returned.
    pub const fn grace(mut self, time: Duration) -> Self {
        self.config.grace = time;
        self
    }

    /// The most dead letters: 1 to 1,000,000, 10,000 unless set. While there are as many, workers take no jobs.
    pub const fn max_dead_letters(mut self, jobs: u64) -> Self {
        self.config.max_dead_letters = jobs;
        self
    }

    /// The most bytes of dead letters together: 1 MiB to 1 TiB, 256 MiB unless set. While there are as many, workers take no jobs.
    pub const fn max_dead_letter_bytes(mut self, bytes: u64) -> Self {
        self.config.max_dead_letter_bytes = bytes;
        self
    }

    /// How long dead letters are kept: 1 min to 365 days, 14 days unless set.
    pub const fn keep_dead_letters(mut self, time: Duration) -> Self {
        self.config.keep_dead_letters = time;
        self
    }

    /// Stores payloads as `seal` makes them, such as encrypted and authenticated, and reads them by `open`. As they are unless set.
    ///
    /// `secret` is random, and never changes. The hashes that the store has of payloads, keys and principals are made with it
    /// (HMAC-SHA-256), because whoever can read a hash of a short payload can find the payload by trying. Under another secret, no
    /// earlier key is known. The keys of `seal` and `open` may change, if `open` still knows the old ones.
    ///
    /// A job that can't be sealed isn't [accepted](crate::NotAccepted::Invalid). One that can't be opened is
    /// [malformed](crate::Failure::Malformed), and can be replayed once the right keys are there.
    ///
    /// ```
    /// use backstop_deferred::{Deferred, MemoryJobStore};
    /// # use backstop_deferred::{JobKind, Name, name};
    /// # #[derive(serde::Deserialize, serde::Serialize)]
    /// # struct Email;
    /// # impl JobKind for Email {
    /// #     const KIND: Name = name!("email");
    /// # }
    /// # fn encrypt(plain: &[u8]) -> Result<Vec<u8>, std::io::Error> { Ok(plain.to_vec()) }
    /// # fn decrypt(sealed: &[u8]) -> Result<Vec<u8>, std::io::Error> { Ok(sealed.to_vec()) }
    /// # let secret = [7; 32];
    ///
    /// // `encrypt` draws a nonce and puts it before what its cipher returns, and `decrypt` takes it from there.
    /// let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).sealed(secret, encrypt, decrypt).build()?;
    /// # Ok::<(), backstop_deferred::ConfigError>(())
    /// ```
    pub fn sealed<E, F>(
        mut self,
        secret: [u8; 32],
        seal: impl Fn(&[u8]) -> Result<Vec<u8>, E> + Send + Sync + 'static,
        open: impl Fn(&[u8]) -> Result<Vec<u8>, F> + Send + Sync + 'static,
    ) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
        F: Into<Box<dyn Error + Send + Sync>>,
    {
        self.sealing = Sealing::new(secret, seal, open);
        self
    }

    /// The settings so far.
    #[must_use]
    pub const fn config(&self) -> &DeferredConfig {
        &self.config
    }

    /// The queue.
    ///
    /// # Errors
    /// [`ConfigError`] if a value isn't allowed.
    pub fn build(self) -> Result<Deferred<T>, ConfigError> {
        let Self { store, config, sealing, .. } = self;
        let name = config.check()?;
        let settings = Arc::new(Reloadable::new(config));
        let store = Box::new(Bounded { store, settings: Arc::clone(&settings) });
        Ok(Deferred::new(Queue::new(settings, name, sealing, store)))
    }
}

impl<T, S> fmt::Debug for DeferredBuilder<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferredBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
