//! Counting in a closed circuit, without a lock, up to the failure that opens it.

use super::{
    Circuit, CircuitState, ErrorOf, Nanos, Observer, Transition, TransitionReason,
    recovery::Recovery,
    slow::SlowCalls,
    windows::{Failures, Windows, failures},
    word::{Generation, Mark, Phase, Word},
};

impl<O: Observer> Circuit<O> {
    #[inline]
    pub(super) fn count_success(&self, windows: &Windows, generation: Generation, now: impl Fn() -> Nanos) {
        if self.load().is_unchanged_by_success() {
            return;
        }
        match &windows.failures {
            Failures::InARow => _ = self.update(generation, Word::without_count),
            Failures::LastCalls(_) => {
                // A success in the place of a success or of a failure: nothing that could trip.
                if let Some(delta) = self.exchange(windows, generation, false)
                    && delta != 0
                {
                    self.update(generation, |word| word.plus(delta));
                }
            }
            Failures::LastTime(buckets) => buckets.add(generation, now(), false),
        }
    }

    #[cold]
    pub(super) fn count_failure(
        &self,
        windows: &Windows,
        generation: Generation,
        asked: Option<Nanos>,
        now: impl Fn() -> Nanos,
        error: ErrorOf<'_>,
    ) {
        let (delta, mark) = match &windows.failures {
            Failures::InARow => (1, Some(Mark::at(now()))),
            Failures::LastCalls(_) => {
                windows.note(now());
                match self.exchange(windows, generation, true) {
                    Some(delta) => (delta, None),
                    None => return,
                }
            }
            Failures::LastTime(buckets) => {
                let now = now();
                buckets.add(generation, now, true);
                let (failures, calls) = buckets.sum(generation, now);
                if self.observer.knobs().failures.is_reached(failures, calls) {
                    let transition =
                        self.trip_by_time(generation, now, asked, TransitionReason::Failures { failures, calls });
                    self.report(transition, error);
                }
                return;
            }
        };
        let mut word = self.load();
        loop {
            if word.generation() != generation {
                return;
            }
            let next = mark.map_or(word, |mark| word.failed_at(mark)).plus(delta);
            if self.trips(windows, next) {
                let transition = self.trip(windows, generation, (delta, mark), now(), asked);
                return self.report(transition, error);
            }
            match self.replace(word, next) {
                Ok(()) => return,
                Err(seen) => word = seen,
            }
        }
    }

    /// Whether a circuit whose latest failure is already counted in `word` opens.
    fn trips(&self, windows: &Windows, word: Word) -> bool {
        self.observer.knobs().failures.is_reached(failures(word), windows.calls(word))
    }

    /// Claims a position of the ring and puts a result there. Returns what that adds to the count of failures.
    fn exchange(&self, windows: &Windows, generation: Generation, failed: bool) -> Option<i32> {
        let ring = windows.ring()?;
        let claimed = self.update(generation, |word| word.advanced(ring.len()))?;
        let replaced = ring.put(claimed.position(), generation, failed)?;
        Some(i32::from(failed) - i32::from(replaced))
    }

    /// Changes the word of a closed circuit and returns what it was; `None` where `generation` has ended.
    fn update(&self, generation: Generation, change: impl Fn(Word) -> Word) -> Option<Word> {
        let mut word = self.load();
        loop {
            if word.generation() != generation {
                return None;
            }
            match self.replace(word, change(word)) {
                Ok(()) => return Some(word),
                Err(seen) => word = seen,
            }
        }
    }

    /// Counts a failure that trips, unless other results came in between and it no longer does.
    fn trip(
        &self,
        windows: &Windows,
        generation: Generation,
        (delta, mark): (i32, Option<Mark>),
        now: Nanos,
        asked: Option<Nanos>,
    ) -> Option<Transition> {
        let mut recovery = self.lock();
        let mut word = self.load();
        loop {
            // Another failure may have tripped it, or an operator have closed it, before this one had the lock.
            if word.generation() != generation {
                return None;
            }
            let counted = mark.map_or(word, |mark| word.failed_at(mark)).plus(delta);
            let trips = self.trips(windows, counted);
            let next = if trips { Word::new(Phase::Open, generation.next()) } else { counted };
            match self.replace(word, next) {
                Ok(()) if !trips => return None,
                Ok(()) => {
                    let (failures, calls) = (failures(counted), windows.calls(counted));
                    return Some(self.tripped(
                        &mut recovery,
                        now,
                        asked,
                        TransitionReason::Failures { failures, calls },
                    ));
                }
                Err(seen) => word = seen,
            }
        }
    }

    /// Opens the circuit for a slow call that is counted already, unless that no longer trips.
    #[cold]
    pub(super) fn trip_by_slow_calls(
        &self,
        generation: Generation,
        slow_calls: &SlowCalls,
        now: Nanos,
        asked: Option<Nanos>,
    ) -> Option<Transition> {
        let mut recovery = self.lock();
        let (slow, calls) = slow_calls.counted(generation, now);
        if !self.observer.knobs().slow.is_reached(slow, calls) {
            return None;
        }
        self.open(&mut recovery, generation, now, asked, TransitionReason::SlowCalls { slow, calls })
    }

    /// Opens the circuit for a failure that is counted already.
    fn trip_by_time(
        &self,
        generation: Generation,
        now: Nanos,
        asked: Option<Nanos>,
        reason: TransitionReason,
    ) -> Option<Transition> {
        self.open(&mut self.lock(), generation, now, asked, reason)
    }

    /// Opens the circuit, if it is still of that generation: who holds the lock decides on the generation, others only
    /// count failures in it meanwhile.
    fn open(
        &self,
        recovery: &mut Recovery,
        generation: Generation,
        now: Nanos,
        asked: Option<Nanos>,
        reason: TransitionReason,
    ) -> Option<Transition> {
        self.update(generation, |_| Word::new(Phase::Open, generation.next()))?;
        Some(self.tripped(recovery, now, asked, reason))
    }

    /// What is left to do when the word says that the circuit opened.
    fn tripped(
        &self,
        recovery: &mut Recovery,
        now: Nanos,
        asked: Option<Nanos>,
        reason: TransitionReason,
    ) -> Transition {
        self.set_deadline(recovery.opened_until(now, &self.observer.knobs().recovery(), asked));
        recovery.start_generation();
        self.renew_ring(recovery);
        recovery.transition(CircuitState::Closed, CircuitState::Open, reason)
    }
}
