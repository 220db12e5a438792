//! What must hold while faults are injected.

use std::{
    fmt,
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
    Count(Ask<u64>, Arc<AtomicU64>),
}

impl Condition {
    pub(crate) fn flag(name: Name, is_met: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { name, check: Check::Flag(Arc::new(is_met)) }
    }

    pub(crate) fn count(name: Name, count: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { name, check: Check::Count(Arc::new(count), Arc::default()) }
    }

    fn is_met(&self) -> bool {
        match &self.check {
            Check::Flag(is_met) => is_met(),
            // A count may also begin anew.
            Check::Count(count, before) => {
                let now = count();
                now > before.fetch_min(now, Relaxed)
            }
        }
    }
}

impl Conditions {
    /// A run begins: counts are compared with what they are now.
    pub(crate) fn begin(&self) {
        for condition in &self.others {
            if let Check::Count(count, before) = &condition.check {
                before.store(count(), Relaxed);
            }
        }
    }

    /// Asks the closures: under no lock of ours, since they may take their own.
    pub(crate) fn blocked(&self) -> Option<Blocked> {
        if self.draining.as_ref().is_some_and(|draining| draining()) {
            return Some(Blocked::Draining);
        }
        let level = self.level.as_ref().map_or(Level::Healthy, |level| level());
        if level != Level::Healthy {
            return Some(Blocked::Level(level));
        }
        self.others.iter().find(|condition| condition.is_met()).map(|it| Blocked::Condition(it.name.clone()))
    }
}

impl fmt::Debug for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others: Vec<_> = self.others.iter().map(|condition| &condition.name).collect();
        f.debug_struct("Conditions").field("others", &others).finish_non_exhaustive()
    }
}
