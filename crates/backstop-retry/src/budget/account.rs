//! The numbers behind a budget.

use std::{sync::atomic::Ordering, time::Duration};

// The model checker has a cfg of its own, because `--cfg loom` would also reach into the dependencies.
#[cfg(backstop_loom)]
use loom::sync::atomic::AtomicU64;
#[cfg(not(backstop_loom))]
use std::sync::atomic::AtomicU64;

use tokio::time::Instant;

/// What one retry costs. In thousandths, a ratio in steps of 0.1 % is a whole number.
pub(super) const RETRY: u64 = 1000;

/// A token bucket that keeps what was ever earned and what was ever spent, in thousandths of a retry.
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
    pub(super) per_mille: u32,
    pub(super) reserve: u32,
    /// In thousandths.
    pub(super) burst: u64,
    born: Instant,
    deposited: AtomicU64,
    spent: AtomicU64,
    /// What must be deposited before there is another whole retry, the reserve left out of account: set by who found none,
    /// so that requests needn't read a clock to know that they can't pay. Only a hint, and races may leave a wrong one:
    /// what is spent isn't decided by it.
    enough: AtomicU64,
}

impl Account {
    pub(super) fn new(per_mille: u32, reserve: u32, burst: u32) -> Self {
        let [deposited, spent, enough] = [(); 3].map(|()| AtomicU64::new(0));
        Self { per_mille, reserve, burst: u64::from(burst) * RETRY, born: Instant::now(), deposited, spent, enough }
    }

    pub(super) fn age(&self) -> Duration {
        // Another runtime's clock may be behind.
        Instant::now().saturating_duration_since(self.born)
    }

    #[inline]
    pub(super) fn deposit(&self) {
        // At a million requests a second and the largest ratio it takes 58 years to run over.
        self.deposited.fetch_add(u64::from(self.per_mille), Ordering::Relaxed);
    }

    /// Whether nothing was left when somebody last looked, and what was deposited since isn't enough, with one more share.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.deposited.load(Ordering::Relaxed) + u64::from(self.per_mille) < self.enough.load(Ordering::Relaxed)
    }

    /// Looks whether the reserve has grown meanwhile.
    pub(super) fn look_again(&self, age: Duration) {
        if self.available(age) > 0 {
            self.enough.store(0, Ordering::Relaxed);
        }
    }

    fn earned(&self, age: Duration) -> u64 {
        let reserved = age.as_nanos().saturating_mul(u128::from(self.reserve)) / (1_000_000_000 / u128::from(RETRY));
        let reserved = u64::try_from(reserved).unwrap_or(u64::MAX);
        self.burst.saturating_add(self.deposited.load(Ordering::Relaxed)).saturating_add(reserved)
    }

    /// What counts as spent when so much was earned.
    const fn spent(&self, spent: u64, earned: u64) -> u64 {
        let no_room = earned.saturating_sub(self.burst);
        if spent < no_room { no_room } else { spent }
    }

    pub(super) fn withdraw(&self, age: Duration) -> bool {
        let earned = self.earned(age);
        let take = |spent| {
            let spent = self.spent(spent, earned).checked_add(RETRY)?;
            (spent <= earned).then_some(spent)
        };
        match self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => true,
            Err(spent) => {
                let lacking = self.spent(spent, earned).saturating_add(RETRY).saturating_sub(earned);
                let deposited = self.deposited.load(Ordering::Relaxed);
                self.enough.store(deposited.saturating_add(lacking), Ordering::Relaxed);
                false
            }
        }
    }

    pub(super) fn give_back(&self) {
        // What was withdrawn is in there: it can't run under.
        self.spent.fetch_sub(RETRY, Ordering::Relaxed);
        self.enough.store(0, Ordering::Relaxed);
    }

    pub(super) fn available(&self, age: Duration) -> u32 {
        let earned = self.earned(age);
        let left = earned.saturating_sub(self.spent(self.spent.load(Ordering::Relaxed), earned));
        u32::try_from(left / RETRY).unwrap_or(u32::MAX)
    }
}
