//! The last changes of state of all layers, in order.
#![expect(clippy::disallowed_types, reason = "operators read the time of day")]

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use super::Value;
use crate::Name;

/// The last changes of state of the layers that [report](super::Inspect::report_to) to it, numbered without gaps.
///
/// It holds up to `capacity` events and drops the oldest. A reader that falls behind sees the gap in
/// [`seq`](Event::seq). Clones share one log.
///
/// ```
/// use backstop_core::{EventLog, name};
///
/// let log = EventLog::new(2);
/// for state in ["open", "half-open", "closed"] {
///     log.push(name!("ml"), "circuit-breaker", vec![("to", state.into())]);
/// }
/// let seen: Vec<_> = log.after(0).iter().map(|event| event.seq).collect();
/// assert_eq!(seen, [2, 3]);
/// assert!(log.after(3).is_empty());
/// ```
#[derive(Clone)]
pub struct EventLog(Arc<Mutex<Ring>>);

struct Ring {
    capacity: usize,
    last: u64,
    events: VecDeque<Event>,
}

/// One change of state.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// The number of this event, from 1.
    pub seq: u64,
    /// When it happened.
    pub at: SystemTime,
    /// The layer's name.
    pub by: Name,
    /// The kind of layer.
    pub kind: &'static str,
    /// What changed.
    pub fields: Vec<(&'static str, Value)>,
}

impl EventLog {
    /// A log that keeps the last `capacity` events, and at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self(Arc::new(Mutex::new(Ring { capacity, last: 0, events: VecDeque::new() })))
    }

    /// Records an event.
    pub fn push(&self, by: Name, kind: &'static str, fields: Vec<(&'static str, Value)>) {
        let at = SystemTime::now();
        let mut ring = self.ring();
        ring.last += 1;
        let seq = ring.last;
        if ring.events.len() == ring.capacity {
            ring.events.pop_front();
        }
        ring.events.push_back(Event { seq, at, by, kind, fields });
    }

    /// The events after number `seq` that are still there, oldest first. 0 asks for all.
    #[must_use]
    pub fn after(&self, seq: u64) -> Vec<Event> {
        self.ring().events.iter().filter(|event| event.seq > seq).cloned().collect()
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for EventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLog").field("last", &self.ring().last).finish_non_exhaustive()
    }
}
