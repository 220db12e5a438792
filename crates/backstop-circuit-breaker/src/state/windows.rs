//! The windows in which a closed circuit counts.
//!
//! Only a failure or a slow call can trip the circuit. A success can't raise the share of failures. It may complete
//! `min_calls`, but then the next failure decides.

use super::{
    Nanos,
    buckets::Buckets,
    packed_state::{Generation, PackedState, Phase},
    ring::Ring,
    settings::{Settings, Trip, WindowSize},
    slow::{SlowCalls, SlowCount},
    sync::Ordering,
};

/// What a circuit keeps of its calls, in addition to the count in its word.
#[derive(Debug)]
pub(super) struct Windows {
    /// The results of the last calls, if failures or slow calls are counted in them.
    pub(super) ring: Option<Ring>,
    pub(super) failures: Failures,
    pub(super) slow: Option<SlowCalls>,
    /// When a failure in the ring, or a slow call, was last counted. Not part of the protocol, so it is a standard atomic under
    /// the model checker, too.
    latest: std::sync::atomic::AtomicU64,
}

/// The windows of a circuit that only counts failures in a row. The packed state is enough for that.
pub(super) static NONE: Windows =
    Windows { ring: None, failures: Failures::InARow, slow: None, latest: std::sync::atomic::AtomicU64::new(0) };

#[derive(Debug)]
pub(super) enum Failures {
    InARow,
    LastCalls,
    LastTime(Box<Buckets>),
}

impl Windows {
    /// For results of `generation` and later ones.
    pub(super) fn new(settings: &Settings, generation: Generation) -> Self {
        let buckets = |time| Box::new(Buckets::new(time, settings.stripes, generation));
        let failures = match (settings.trip, settings.window) {
            (Trip::Consecutive { .. }, _) => Failures::InARow,
            (Trip::FailureRate { .. }, WindowSize::Calls(_)) => Failures::LastCalls,
            (Trip::FailureRate { .. }, WindowSize::Time(time)) => Failures::LastTime(buckets(time)),
        };
        let slow = settings.slow.map(|_| match settings.window {
            WindowSize::Calls(_) => SlowCalls::LastCalls(SlowCount::new(generation)),
            WindowSize::Time(time) => SlowCalls::LastTime(buckets(time)),
        });
        let ring = match settings.window {
            WindowSize::Calls(calls) if matches!(failures, Failures::LastCalls) || slow.is_some() => {
                Some(Ring::new(calls, slow.is_some(), generation))
            }
            WindowSize::Calls(_) | WindowSize::Time(_) => None,
        };
        Self { ring, failures, slow, latest: std::sync::atomic::AtomicU64::new(0) }
    }

    pub(super) const fn are_none(&self) -> bool {
        matches!(self, Self { failures: Failures::InARow, slow: None, .. })
    }

    /// Whether these have the kinds and sizes of `settings`.
    pub(super) fn are_of(&self, settings: &Settings) -> bool {
        let has = |buckets: &Buckets| matches!(settings.window, WindowSize::Time(time) if buckets.are_of(time));
        let has_ring = || matches!(settings.window, WindowSize::Calls(calls) if self.ring.as_ref().is_some_and(|ring| calls == ring.len()));
        let failures = match (settings.trip, &self.failures) {
            (Trip::Consecutive { .. }, Failures::InARow) => true,
            (Trip::FailureRate { .. }, Failures::LastCalls) => has_ring(),
            (Trip::FailureRate { .. }, Failures::LastTime(buckets)) => has(buckets),
            _ => false,
        };
        failures
            && match (settings.slow, &self.slow) {
                (None, None) => true,
                (Some(_), Some(SlowCalls::LastCalls(_))) => has_ring(),
                (Some(_), Some(SlowCalls::LastTime(buckets))) => has(buckets),
                _ => false,
            }
    }

    /// The word of a circuit that closes.
    pub(super) const fn first_word(&self, generation: Generation) -> PackedState {
        let word = PackedState::new(Phase::Closed, generation);
        let word = if matches!(self.failures, Failures::InARow) && self.ring.is_none() { word.full() } else { word };
        if self.slow.is_some() { word.counting_slow() } else { word }
    }

    /// Whether a call that isn't slow changes nothing in the window of slow calls, if the word is full.
    #[inline]
    pub(super) fn is_unchanged_by_quick_call(&self) -> bool {
        self.slow.as_ref().is_none_or(SlowCalls::is_unchanged_by_quick_call)
    }

    /// The number of calls among which `word` counts failures.
    pub(super) fn calls(&self, word: PackedState) -> u32 {
        match &self.failures {
            Failures::InARow => word.failures(),
            Failures::LastCalls => self.calls_in_ring(word),
            Failures::LastTime(_) => 0,
        }
    }

    fn calls_in_ring(&self, word: PackedState) -> u32 {
        match &self.ring {
            Some(ring) if word.is_full() => ring.len(),
            _ => word.position(),
        }
    }

    /// The failures in the window, and all calls in it.
    pub(super) fn counted(&self, word: PackedState, now: Nanos) -> (u32, u32) {
        match &self.failures {
            Failures::InARow | Failures::LastCalls => (word.failures(), self.calls(word)),
            Failures::LastTime(buckets) => buckets.sum(word.generation(), now),
        }
    }

    /// The slow calls in the window, and all calls in it.
    pub(super) fn counted_slow(&self, word: PackedState, now: Nanos) -> (u32, u32) {
        match &self.slow {
            None => (0, 0),
            Some(SlowCalls::LastCalls(count)) => (count.of(word.generation()), self.calls_in_ring(word)),
            Some(SlowCalls::LastTime(buckets)) => buckets.sum(word.generation(), now),
        }
    }

    /// Notes that something was counted against the service.
    pub(super) fn note(&self, now: Nanos) {
        self.latest.store(now, Ordering::Relaxed);
    }

    /// Whether the last failure or slow call was counted at least `time` ago.
    pub(super) fn are_older_than(&self, time: Nanos, word: PackedState, now: Nanos) -> bool {
        let failures_are = match &self.failures {
            Failures::InARow if self.ring.is_none() => word.failures() == 0 || word.mark().is_older_than(time, now),
            // The last failure in a ring is in `latest`. A failure in a time window leaves it without that.
            Failures::InARow | Failures::LastCalls | Failures::LastTime(_) => true,
        };
        failures_are && self.latest.load(Ordering::Relaxed).saturating_add(time) <= now
    }
}
