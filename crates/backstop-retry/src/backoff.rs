//! How long to wait before the next attempt.

use std::{fmt, sync::Arc, time::Duration};

use backstop_core::Outcome;
use backstop_kit::Jitter;

/// How the wait before the next attempt is computed, if the server asks for none: set by
/// [`RetryBuilder::backoff`](crate::RetryBuilder::backoff).
///
/// *n* is the number of waits, this one included, since the first attempt or since the server last asked for a delay. *base* and
/// *cap* are the settings [`backoff_base`](crate::RetryBuilder::backoff_base) and
/// [`backoff_cap`](crate::RetryBuilder::backoff_cap), and *c* = min(cap, base · 2ⁿ⁻¹):
///
/// | backoff | the wait | shortest | longest |
/// |---|---|---|---|
/// | `FullJitter` | random in [0, c] | 0 | c |
/// | `EqualJitter` | c/2 + random in [0, c/2] | c/2 | c |
/// | `Decorrelated` | min(cap, random in [base, 3 · the wait before]), for *n* = 1 [base, 3 · base] | base | min(cap, base · 3ⁿ) |
/// | `Constant` | base | base | base |
/// | `Custom` | what the closure returns | | |
///
/// Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015, which calls the first three "Full
/// Jitter", "Equal Jitter" and "Decorrelated Jitter". In its simulation of clients that contend for one thing, full and
/// decorrelated jitter cause about the same work, equal jitter more, and any of them far less than none. A constant wait has no
/// jitter: callers that failed together come back together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Backoff {
    /// Random, from 0 to an exponential ceiling. The least work for the service that recovers.
    #[default]
    FullJitter,
    /// Random, from half of that ceiling. For a service that needs a pause in any case.
    EqualJitter,
    /// Random, growing from the wait before.
    Decorrelated,
    /// Always the base. For few callers, or if something else keeps them apart.
    Constant,
    /// What a closure returns.
    #[cfg_attr(feature = "serde", serde(skip))]
    Custom(BackoffFn),
}

/// A closure that returns the wait after an attempt.
///
/// It gets the number of attempts made, from 1, and the outcome of the last one. Its result is used as it is, without jitter,
/// base or cap. A wait that doesn't fit into the time left ends the retrying.
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

/// Equal if they are clones of the same.
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
    /// `base` is at most `cap`, and `cap` fits into 2⁶⁴ ns (584 years): the configuration is checked for both.
    pub(crate) const fn new(backoff: Backoff, base: Duration, cap: Duration) -> Self {
        Self { backoff, base, cap }
    }

    pub(crate) const fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    /// What `base` has grown to after `attempts` attempts, at most the cap.
    pub(crate) fn ceiling(&self, attempts: u32) -> Duration {
        // A base of at most 2⁶⁴ ns shifted by at most 64 bits fits into 128, whatever the attempt.
        let doublings = attempts.saturating_sub(1).min(64);
        let grown = self.base.as_nanos().min(u64::MAX.into()) << doublings;
        Duration::from_nanos(u64::try_from(grown).unwrap_or(u64::MAX)).min(self.cap)
    }

    /// The wait after `attempts` attempts, the last of them with `outcome`.
    pub(crate) fn wait(&self, attempts: u32, grown: Grown, outcome: &Outcome, jitter: &Jitter) -> Duration {
        let ceiling = || self.ceiling(grown.waits.saturating_add(1));
        match &self.backoff {
            Backoff::FullJitter => jitter.time(Duration::ZERO..=ceiling()),
            Backoff::EqualJitter => {
                let ceiling = ceiling();
                jitter.time(ceiling - ceiling / 2..=ceiling)
            }
            Backoff::Decorrelated => {
                let before = grown.before.unwrap_or(self.base).max(self.base);
                jitter.time(self.base..=before.saturating_mul(3)).min(self.cap)
            }
            Backoff::Constant => self.base,
            Backoff::Custom(wait) => (wait.0)(attempts, outcome),
        }
    }
}

/// How far the backoff of a request has grown. It restarts when the server asks for a delay (A6, "Pushback").
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grown {
    /// Waits since the server last asked for a delay.
    pub(crate) waits: u32,
    /// The last of them, if any.
    pub(crate) before: Option<Duration>,
}

impl Grown {
    pub(crate) const NONE: Self = Self { waits: 0, before: None };

    /// After one more wait.
    pub(crate) const fn by(self, wait: Duration) -> Self {
        Self { waits: self.waits.saturating_add(1), before: Some(wait) }
    }
}

#[cfg(test)]
mod tests;
