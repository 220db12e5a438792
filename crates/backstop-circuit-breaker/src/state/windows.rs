//! The windows in which a closed circuit counts.
//!
//! Only a failure or a slow call can trip the circuit. A success can't raise the share of failures. It may complete
//! `min_calls`, but then the next failure decides.

use super::{
    Nanos,
    buckets::Buckets,
    count::Count,
    packed_state::{Generation, PackedState, Phase},
    ring::Ring,
    settings::{Settings, WindowSize},
    slow::SlowCalls,
    sync::Ordering,
};

/// What a circuit keeps of its calls, in addition to the count in its word.
#[derive(Debug)]
pub(super) struct Windows {
    /// The results of the last calls, if failures or slow calls are counted in them.
    pub(super) ring: Option<Ring>,
    pub(super) failures: Failures,
    /// The failures in a row, if they count beside a share of failures. Else the circuit's word counts them.
    pub(super) in_a_row: Option<Count>,
    pub(super) slow: Option<SlowCalls>,
    /// When a failure in the ring, or a slow call, was last counted. Not part of the protocol, so it is a standard atomic under
    /// the model checker, too.
    latest: std::sync::atomic::AtomicU64,
}

/// The windows of a circuit that only counts failures in a row. The packed state is enough for that.
pub(super) static NONE: Windows = Windows {
    ring: None,
    failures: Failures::InARow,
    in_a_row: None,
    slow: None,
    latest: std::sync::atomic::AtomicU64::new(0),
};

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
        let failures = match (settings.trip.rate(), settings.window) {
            (None, _) => Failures::InARow,
            (Some(_), WindowSize::Calls(_)) => Failures::LastCalls,
            (Some(_), WindowSize::Time(time)) => Failures::LastTime(buckets(time)),
        };
        let in_a_row = settings.trip.rate().and(settings.trip.in_a_row()).map(|_| Count::new(generation));
        let slow = settings.slow.map(|_| match settings.window {
            WindowSize::Calls(_) => SlowCalls::LastCalls(Count::new(generation)),
            WindowSize::Time(time) => SlowCalls::LastTime(buckets(time)),
        });
        let ring = match settings.window {
            WindowSize::Calls(calls) if matches!(failures, Failures::LastCalls) || slow.is_some() => {
                Some(Ring::new(calls, slow.is_some(), generation))
            }
            WindowSize::Calls(_) | WindowSize::Time(_) => None,
        };
        Self { ring, failures, in_a_row, slow, latest: std::sync::atomic::AtomicU64::new(0) }
    }

    pub(super) const fn are_none(&self) -> bool {
        matches!(self, Self { failures: Failures::InARow, slow: None, .. })
    }

    /// Whether these have the kinds and sizes of `settings`.
    pub(super) fn are_of(&self, settings: &Settings) -> bool {
        let has = |buckets: &Buckets| matches!(settings.window, WindowSize::Time(time) if buckets.are_of(time));
        let has_ring = || matches!(settings.window, WindowSize::Calls(calls) if self.ring.as_ref().is_some_and(|ring| calls == ring.len()));
        let failures = match (settings.trip.rate(), &self.failures) {
            (None, Failures::InARow) => true,
            (Some(_), Failures::LastCalls) => has_ring(),
            (Some(_), Failures::LastTime(buckets)) => has(buckets),
            _ => false,
        };
        let counts_in_a_row = self.in_a_row.is_some() || matches!(self.failures, Failures::InARow);
        failures
            && counts_in_a_row == settings.trip.in_a_row().is_some()
            && match (settings.slow, &self.slow) {
                (None, None) => true,
                (Some(_), Some(SlowCalls::LastCalls(_))) => has_ring(),
                (Some(_), Some(SlowCalls::LastTime(buckets))) => has(buckets),
                _ => false,
            }
    }

    /// The word of a circuit that begins to count, closed or in a ramp.
    pub(super) fn first_word(&self, phase: Phase, generation: Generation) -> PackedState {
        let word = PackedState::new(phase, generation);
        let word = if matches!(self.failures, Failures::InARow) && self.ring.is_none() { word.full() } else { word };
        if phase == Phase::Closed && self.slow.is_some() { word.counting_slow() } else { word }
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

    /// The failures since the last success, as far as they count.
    pub(super) fn counted_in_a_row(&self, word: PackedState) -> u32 {
        match (&self.in_a_row, &self.failures) {
            (Some(in_a_row), _) => in_a_row.of(word.generation()),
            (None, Failures::InARow) => word.failures(),
            (None, _) => 0,
        }
    }

    /// Starts a generation. Called under the lock, before the circuit's word is published.
    pub(super) fn renew(&self, generation: Generation) {
        if let Some(in_a_row) = &self.in_a_row {
            in_a_row.renew(generation);
        }
        if let Some(slow) = &self.slow {
            slow.renew(generation);
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
