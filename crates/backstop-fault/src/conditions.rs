//! What must hold while faults are injected.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use backstop_core::{Level, Name};

/// Why no fault may be injected now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    Level(Level),
    Draining,
    Condition(Name),
    /// A closure that was asked panicked.
    Panicked,
}

type Ask<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// Where the state of the service comes from.
#[derive(Clone, Default)]
pub(crate) struct Conditions {
    /// `None` if nothing says how the service is.
    pub(crate) level: Option<Ask<Level>>,
    pub(crate) draining: Option<Ask<bool>>,
    pub(crate) others: Vec<Condition>,
}

#[derive(Clone)]
pub(crate) struct Condition {
    name: Name,
    check: Check,
}

#[derive(Clone)]
enum Check {
    Flag(Ask<bool>),
    /// A number that must not grow beyond what it was when the run began.
    Count(Ask<u64>),
}

/// What each condition had counted when a run began. Belongs to the run.
pub(crate) type Counts = Arc<[AtomicU64]>;

impl Condition {
    pub(crate) fn flag(name: Name, is_met: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { name, check: Check::Flag(Arc::new(is_met)) }
    }

    pub(crate) fn count(name: Name, count: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { name, check: Check::Count(Arc::new(count)) }
    }

    fn counted(&self) -> u64 {
        match &self.check {
            Check::Flag(_) => 0,
            Check::Count(count) => count(),
        }
    }

    fn is_met(&self, before: &AtomicU64) -> bool {
        match &self.check {
            Check::Flag(is_met) => is_met(),
            // A count may also begin anew.
            Check::Count(count) => {
                let now = count();
                now > before.fetch_min(now, Relaxed)
            }
        }
    }
}

// All of these ask the closures of the user: under no lock of ours, since they may take their own.
impl Conditions {
    /// Asks whether a run may begin, and for what is counted then.
    pub(crate) fn begin(&self) -> Result<Counts, Blocked> {
        let counts: Counts = caught(|| self.others.iter().map(|it| AtomicU64::new(it.counted())).collect())?;
        self.blocked(&counts).map_or(Ok(counts), Err)
    }

    /// Asks whether a run must end that began with these counts.
    pub(crate) fn blocked(&self, counts: &[AtomicU64]) -> Option<Blocked> {
        caught(|| self.ask(counts)).unwrap_or_else(Some)
    }

    fn ask(&self, counts: &[AtomicU64]) -> Option<Blocked> {
        if self.draining.as_ref().is_some_and(|draining| draining()) {
            return Some(Blocked::Draining);
        }
        let level = self.level.as_ref().map_or(Level::Healthy, |level| level());
        if level != Level::Healthy {
            return Some(Blocked::Level(level));
        }
        let mut conditions = self.others.iter().zip(counts);
        conditions.find(|(it, before)| it.is_met(before)).map(|(it, _)| Blocked::Condition(it.name.clone()))
    }
}

/// A closure that panics must not make every call panic.
fn caught<R>(ask: impl FnOnce() -> R) -> Result<R, Blocked> {
    catch_unwind(AssertUnwindSafe(ask)).map_err(|_| Blocked::Panicked)
}

impl fmt::Debug for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others: Vec<_> = self.others.iter().map(|condition| &condition.name).collect();
        f.debug_struct("Conditions").field("others", &others).finish_non_exhaustive()
    }
}
