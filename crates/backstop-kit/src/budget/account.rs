//! The numbers behind a budget.

use std::{sync::atomic::Ordering, time::Duration};

// The model checker has its own cfg, because `--cfg loom` would also affect dependencies.
#[cfg(backstop_loom)]
use loom::sync::atomic::AtomicU64;
#[cfg(not(backstop_loom))]
use std::sync::atomic::AtomicU64;

use tokio::time::Instant;

/// The share of a retry that each request pays for, as a fraction: a request pays `paid` units, a retry costs `retry` units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ratio {
    pub(super) paid: u32,
    pub(super) retry: u32,
}

impl Ratio {
    /// The largest denominator. With the largest ratio and a million requests per second, the account's numbers overflow
    /// after 5 years.
    const FINEST: u32 = 10_000;

    /// The fraction nearest to `ratio`. For `k as f64 / n as f64` it is exact, unless the denominator is too large.
    pub(super) fn nearest(ratio: f64) -> Self {
        let fractions = (1..=Self::FINEST).map(|retry| {
            // Fits, because a ratio is at most 10.
            let paid = (ratio * f64::from(retry)).round() as u32;
            (Self { paid, retry }, (f64::from(paid) / f64::from(retry) - ratio).abs())
        });
        let mut best = (Self { paid: 0, retry: 1 }, f64::INFINITY);
        for (fraction, off) in fractions {
            if off < best.1 {
                best = (fraction, off);
            }
            if off == 0.0 {
                break;
            }
        }
        best.0
    }
}

/// A token bucket that stores the totals of what was earned and spent, in units of the [`Ratio`].
///
/// - *earned* = burst + *deposited* + reserve · age. The reserve is computed from the whole age each time, so rounding errors
///   don't add up.
/// - *spent* grows by a retry in one compare-and-exchange, up to *earned*. What exceeded the bucket's size counts as spent. It
///   shrinks only when a retry is given back.
///
/// `Relaxed` is enough: each total is one atomic number. A thread that sees an old *deposited* sees less than was earned,
/// never more.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) ratio: Ratio,
    pub(super) reserve: u32,
    /// In retries.
    pub(super) burst: u32,
    born: Instant,
    deposited: AtomicU64,
    spent: AtomicU64,
    /// The *deposited* from which on there is a whole retry again, without the reserve. Set by a refused withdrawal, so that
    /// requests needn't read the clock to know that the budget is empty. Only a hint, which may be wrong after a race:
    /// withdrawals don't depend on it.
    empty_until_deposited: AtomicU64,
}

impl Account {
    /// Begins with `saved` retries, at most `burst`.
    pub(super) fn new(ratio: Ratio, reserve: u32, burst: u32, saved: u32) -> Self {
        let [deposited, empty_until_deposited] = [(); 2].map(|()| AtomicU64::new(0));
        let spent = AtomicU64::new(u64::from(burst.saturating_sub(saved)) * u64::from(ratio.retry));
        Self { ratio, reserve, burst, born: Instant::now(), deposited, spent, empty_until_deposited }
    }

    /// The units that a retry costs.
    const fn retry(&self) -> u64 {
        self.ratio.retry as u64
    }

    /// The units that are saved at most.
    const fn room(&self) -> u64 {
        self.burst as u64 * self.retry()
    }

    pub(super) fn age(&self) -> Duration {
        // The clock of another runtime may be behind.
        Instant::now().saturating_duration_since(self.born)
    }

    #[inline]
    pub(super) fn deposit(&self) {
        self.deposited.fetch_add(u64::from(self.ratio.paid), Ordering::Relaxed);
    }

    /// Whether a withdrawal was refused, and the deposits since, with one more, don't pay for a retry.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.deposited.load(Ordering::Relaxed) + u64::from(self.ratio.paid)
            < self.empty_until_deposited.load(Ordering::Relaxed)
    }

    /// Whether there is no whole retry left, even with one more deposit and the reserve. If there is, clears the hint.
    pub(super) fn is_empty_at(&self, age: Duration) -> bool {
        let earned = self.earned(age).saturating_add(u64::from(self.ratio.paid));
        let left = earned.saturating_sub(self.spent(self.spent.load(Ordering::Relaxed), earned));
        let is_empty = left < self.retry();
        if !is_empty {
            self.empty_until_deposited.store(0, Ordering::Relaxed);
        }
        is_empty
    }

    fn earned(&self, age: Duration) -> u64 {
        let per_second = u128::from(self.reserve) * u128::from(self.retry());
        let reserved = age.as_nanos().saturating_mul(per_second) / 1_000_000_000;
        let reserved = u64::try_from(reserved).unwrap_or(u64::MAX);
        self.room().saturating_add(self.deposited.load(Ordering::Relaxed)).saturating_add(reserved)
    }

    /// What counts as spent: at least what exceeded the bucket's size.
    const fn spent(&self, spent: u64, earned: u64) -> u64 {
        let no_room = earned.saturating_sub(self.room());
        if spent < no_room { no_room } else { spent }
    }

    pub(super) fn withdraw(&self, age: Duration) -> bool {
        let earned = self.earned(age);
        let take = |spent| {
            let spent = self.spent(spent, earned).checked_add(self.retry())?;
            (spent <= earned).then_some(spent)
        };
        match self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => true,
            Err(spent) => {
                let lacking = self.spent(spent, earned).saturating_add(self.retry()).saturating_sub(earned);
                let deposited = self.deposited.load(Ordering::Relaxed);
                self.empty_until_deposited.store(deposited.saturating_add(lacking), Ordering::Relaxed);
                false
            }
        }
    }

    /// Takes all whole retries that are left, and returns how many.
    pub(super) fn withdraw_all(&self, age: Duration) -> u32 {
        let earned = self.earned(age);
        let whole = |spent| earned.saturating_sub(self.spent(spent, earned)) / self.retry();
        let take = |spent| Some(self.spent(spent, earned) + whole(spent) * self.retry());
        let before = self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        u32::try_from(before.map_or_else(whole, whole)).unwrap_or(u32::MAX)
    }

    pub(super) fn give_back(&self) {
        // Saturates, because a retry may be given back that wasn't withdrawn.
        let give = |spent: u64| Some(spent.saturating_sub(self.retry()));
        _ = self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, give);
        self.empty_until_deposited.store(0, Ordering::Relaxed);
    }

    pub(super) fn available(&self, age: Duration) -> u32 {
        let earned = self.earned(age);
        let left = earned.saturating_sub(self.spent(self.spent.load(Ordering::Relaxed), earned));
        u32::try_from(left / self.retry()).unwrap_or(u32::MAX)
    }
}
