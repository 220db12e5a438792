//! The numbers behind a budget.

use std::{sync::atomic::Ordering, time::Duration};

// The model checker has a cfg of its own, because `--cfg loom` would also reach into the dependencies.
#[cfg(backstop_loom)]
use loom::sync::atomic::AtomicU64;
#[cfg(not(backstop_loom))]
use std::sync::atomic::AtomicU64;

use tokio::time::Instant;

/// How much of a retry each request pays for, as a fraction: `paid` of the `retry` units that one costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ratio {
    pub(super) paid: u32,
    pub(super) retry: u32,
}

impl Ratio {
    /// The largest denominator. The numbers of the account would run over after 5 years of a million requests a second,
    /// with the largest ratio.
    const FINEST: u32 = 10_000;

    /// The fraction that `ratio` was worked out from, so that `k as f64 / n as f64` pays for exactly `k` retries of `n`
    /// requests; the nearest one where it has a larger denominator.
    pub(super) fn nearest(ratio: f64) -> Self {
        let fractions = (1..=Self::FINEST).map(|retry| {
            // A ratio is at most 10, so that nothing is cut off.
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

/// A token bucket that keeps what was ever earned and what was ever spent, in the [`Ratio`]'s fractions of a retry.
///
/// Each is one number that threads can race on, and needs no other to be read with it:
///
/// - *earned* = burst + what was deposited + reserve · age. The last is worked out from the whole age each time: nothing is
///   rounded twice, and nothing has to be added while time passes.
/// - *spent* grows by a retry in one compare-and-exchange, and only up to what was earned. What wouldn't have had room in the
///   bucket counts as spent. It shrinks only by a retry that was taken and couldn't be made, which is in it.
///
/// A thread that sees an old *deposited* sees less than was earned, never more. That is why `Relaxed` is enough: there is
/// nothing else that the numbers would have to be in order with.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) ratio: Ratio,
    pub(super) reserve: u32,
    /// In retries.
    pub(super) burst: u32,
    born: Instant,
    deposited: AtomicU64,
    spent: AtomicU64,
    /// What must be deposited before there is another whole retry, the reserve left out of account: set by who found none,
    /// so that requests needn't read a clock to know that they can't pay. Only a hint, and races may leave a wrong one:
    /// what is spent isn't decided by it.
    empty_until_deposited: AtomicU64,
}

impl Account {
    pub(super) fn new(ratio: Ratio, reserve: u32, burst: u32) -> Self {
        let [deposited, spent, empty_until_deposited] = [(); 3].map(|()| AtomicU64::new(0));
        Self { ratio, reserve, burst, born: Instant::now(), deposited, spent, empty_until_deposited }
    }

    /// What one retry costs.
    const fn retry(&self) -> u64 {
        self.ratio.retry as u64
    }

    /// The most that is saved.
    const fn room(&self) -> u64 {
        self.burst as u64 * self.retry()
    }

    pub(super) fn age(&self) -> Duration {
        // Another runtime's clock may be behind.
        Instant::now().saturating_duration_since(self.born)
    }

    #[inline]
    pub(super) fn deposit(&self) {
        self.deposited.fetch_add(u64::from(self.ratio.paid), Ordering::Relaxed);
    }

    /// Whether nothing was left when somebody last looked, and what was deposited since isn't enough, with one more share.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.deposited.load(Ordering::Relaxed) + u64::from(self.ratio.paid)
            < self.empty_until_deposited.load(Ordering::Relaxed)
    }

    /// The same with the reserve, which only a look at the clock can tell. Where it has grown enough, those that come after
    /// needn't look.
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

    /// What counts as spent when so much was earned.
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

    pub(super) fn give_back(&self) {
        // Stops at 0: a retry that wasn't withdrawn may be given back, too.
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
