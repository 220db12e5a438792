//! The token bucket. It takes no lock, and reads the clock once for each call.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{sync::Arc, time::Duration};

use backstop_core::{ConfigError, Inspect, Name, Value};
use tokio::time::Instant;

/// A bucket of at most `burst` tokens, to which `rate` are added a second.
pub(super) struct Bucket {
    name: Name,
    rate: u32,
    burst: u32,
    made: Instant,
    /// When the bucket is full again: nanoseconds since it was made.
    full_at: AtomicU64,
    refused: AtomicU64,
}

impl Bucket {
    pub(super) fn new(name: Name, rate: u32, burst: u32) -> Result<Self, ConfigError> {
        let rate = ConfigError::check_range("rate", rate, 1..=1_000_000, "1 to 1000000")?;
        let burst = ConfigError::check_range("burst", burst, 1..=1_000_000, "1 to 1000000")?;
        let (full_at, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { name, rate, burst, made: Instant::now(), full_at, refused })
    }

    pub(super) const fn name(&self) -> &Name {
        &self.name
    }

    fn now(&self) -> u64 {
        self.made.elapsed().as_nanos() as u64
    }

    /// The time in which one token is added. Rounded up, so that there are never more than `rate` a second.
    fn per_token(&self) -> u64 {
        1_000_000_000_u64.div_ceil(self.rate.into())
    }

    pub(super) fn available(&self) -> u64 {
        let missing = self.full_at.load(Relaxed).saturating_sub(self.now());
        u64::from(self.burst).saturating_sub(missing.div_ceil(self.per_token()))
    }

    /// Takes a token, or returns the time until there is one.
    pub(super) fn take(&self) -> Result<(), Duration> {
        let (now, per_token) = (self.now(), self.per_token());
        let latest = now + u64::from(self.burst) * per_token;
        let after = |full_at: u64| full_at.max(now) + per_token;
        let taken = |full_at| Some(after(full_at)).filter(|after| *after <= latest);
        self.full_at.fetch_update(Relaxed, Relaxed, taken).map(drop).map_err(|full_at| {
            self.refused.fetch_add(1, Relaxed);
            Duration::from_nanos(after(full_at) - latest)
        })
    }
}

/// The operator's view of a rate limit.
#[derive(Clone)]
pub struct RateLimitHandle(pub(super) Arc<Bucket>);

impl Inspect for RateLimitHandle {
    fn name(&self) -> &Name {
        &self.0.name
    }

    fn kind(&self) -> &'static str {
        "rate-limit"
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        vec![("rate", self.0.rate.into()), ("burst", self.0.burst.into())]
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        vec![("available", self.0.available().into()), ("refused", self.0.refused.load(Relaxed).into())]
    }
}
