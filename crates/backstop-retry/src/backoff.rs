//! How long to wait before the next attempt.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use backstop_core::Outcome;

/// How the wait before the next attempt is worked out, where the server has named none: set by
/// [`RetryBuilder::backoff`](crate::RetryBuilder::backoff).
///
/// With *n* the number of waits, this one included, since the first attempt or since the server last named a delay, *base*
/// and *cap* the settings [`backoff_base`](crate::RetryBuilder::backoff_base) and
/// [`backoff_cap`](crate::RetryBuilder::backoff_cap), and *c* = min(cap, base · 2ⁿ⁻¹):
///
/// | backoff | the wait | shortest | longest |
/// |---|---|---|---|
/// | `FullJitter` | random in [0, c] | 0 | c |
/// | `EqualJitter` | c/2 + random in [0, c/2] | c/2 | c |
/// | `Decorrelated` | min(cap, random in [base, 3 · the wait before]), for *n* = 1 [base, 3 · base] | base | min(cap, base · 3ⁿ) |
/// | `Constant` | base | base | base |
/// | `Custom` | what the closure says | | |
///
/// Source: the first is from Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015, as are the
/// second and the third, which it calls "Equal Jitter" and "Decorrelated Jitter". In its simulation of clients that contend
/// for one thing, full and decorrelated jitter come to about the same, equal jitter to more work, and any of them to far
/// less than none. A constant wait has no jitter: callers that failed together come back together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backoff {
    /// Exponential, and anything from nothing to that. The least work for the service that recovers.
    #[default]
    FullJitter,
    /// Exponential, and at least half of that. For a service that needs a pause in any case.
    EqualJitter,
    /// Grows at random from the wait before.
    Decorrelated,
    /// Always the base. For few callers, or where something else keeps them apart.
    Constant,
    /// What a closure says.
    Custom(BackoffFn),
}

/// A closure that says how long to wait after an attempt.
///
/// It gets the number of attempts made, from 1, and what the last one counts as. What it returns is waited for as it is,
/// without jitter; base and cap don't matter. A wait that doesn't fit into the time that is left ends the retrying.
#[derive(Clone)]
pub struct BackoffFn(Arc<Wait>);

type Wait = dyn Fn(u32, &Outcome) -> Duration + Send + Sync;

impl BackoffFn {
    /// The closure `wait`.
    #[must_use]
    pub fn new(wait: impl Fn(u32, &Outcome) -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(wait))
    }
}

/// Whether both are clones of one and the same.
impl PartialEq for BackoffFn {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for BackoffFn {}

impl fmt::Debug for BackoffFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackoffFn").finish_non_exhaustive()
    }
}

/// A [`Backoff`] with its base and cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waits {
    backoff: Backoff,
    base: Duration,
    cap: Duration,
}

impl Waits {
    /// `base` is at most `cap`, and `cap` fits into 2⁶⁴ ns (584 years): the configuration sees to both.
    pub(crate) const fn new(backoff: Backoff, base: Duration, cap: Duration) -> Self {
        Self { backoff, base, cap }
    }

    /// The cap, or what `base` has grown to after `attempts` attempts, where that is less.
    pub(crate) fn ceiling(&self, attempts: u32) -> Duration {
        // A base of at most 2⁶⁴ ns shifted by at most 64 bits fits into 128, whatever the attempt.
        let doublings = attempts.saturating_sub(1).min(64);
        let grown = u128::from(nanos(self.base)) << doublings;
        Duration::from_nanos(u64::try_from(grown).unwrap_or(u64::MAX)).min(self.cap)
    }

    /// The wait after `attempts` attempts, of which the last came to `outcome`.
    pub(crate) fn wait(&self, attempts: u32, grown: Grown, outcome: &Outcome, jitter: &Jitter) -> Duration {
        let Grown { waits, before } = grown;
        // In nanoseconds: in anything coarser a short base would jitter between a few values, or none.
        let nanos = match &self.backoff {
            Backoff::FullJitter => jitter.draw(0, nanos(self.ceiling(waits.saturating_add(1)))),
            Backoff::EqualJitter => {
                let ceiling = nanos(self.ceiling(waits.saturating_add(1)));
                jitter.draw(ceiling.div_ceil(2), ceiling)
            }
            Backoff::Decorrelated => {
                let (base, cap) = (nanos(self.base), nanos(self.cap));
                let before = before.map_or(base, nanos).max(base);
                jitter.draw(base, before.saturating_mul(3)).min(cap)
            }
            Backoff::Constant => nanos(self.base),
            Backoff::Custom(wait) => return (wait.0)(attempts, outcome),
        };
        Duration::from_nanos(nanos)
    }
}

/// How far the backoff of a request has grown. It starts anew when the server names a delay (A6, "Pushback").
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grown {
    /// Waits since the server last named a delay.
    pub(crate) waits: u32,
    /// The last of them, where there was one.
    pub(crate) before: Option<Duration>,
}

impl Grown {
    pub(crate) const NONE: Self = Self { waits: 0, before: None };

    /// After one more wait.
    pub(crate) const fn by(self, wait: Duration) -> Self {
        Self { waits: self.waits.saturating_add(1), before: Some(wait) }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// 2⁶⁴ divided by the golden ratio, made odd: seeds that are this far apart never repeat, and share no pattern
/// (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// Where a layer's randomness comes from.
///
/// Every draw takes a seed of its own from one shared sequence. So no two requests share their jitter, however the layer
/// and its services are cloned, nothing is locked, and a request that isn't repeated draws nothing.
#[derive(Debug)]
pub(crate) struct Jitter {
    next_seed: AtomicU64,
}

impl Jitter {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self { next_seed: AtomicU64::new(seed.unwrap_or_else(|| fastrand::u64(..))) }
    }

    /// Uniform in `least..=most`.
    fn draw(&self, least: u64, most: u64) -> u64 {
        let seed = self.next_seed.fetch_add(GAMMA, Ordering::Relaxed);
        fastrand::Rng::with_seed(seed).u64(least..=most)
    }
}

#[cfg(test)]
mod tests;
