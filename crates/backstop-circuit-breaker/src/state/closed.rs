//! Counting in a closed circuit without a lock, and opening it.

use super::{
    Nanos, Transition, TransitionReason,
    call::Finished,
    circuit::{Circuit, ErrorOf, Observer},
    packed_state::{Generation, Mark, PackedState, Phase},
    recovery_state::Recovery,
    ring::{CallResult, Ring},
    slow::SlowCalls,
    windows::{Failures, Windows},
};

impl<O: Observer> Circuit<O> {
    #[inline]
    pub(super) fn count_success(&self, windows: &Windows, generation: Generation, slow: bool, now: impl Fn() -> Nanos) {
        if let Some(in_a_row) = &windows.in_a_row {
            in_a_row.clear(generation);
        }
        if let Failures::LastTime(buckets) = &windows.failures {
            return buckets.add(generation, now(), false);
        }
        if self.load().is_unchanged_by_success() && !slow && windows.is_unchanged_by_quick_call() {
            return;
        }
        let counts_in_ring = matches!(windows.failures, Failures::LastCalls);
        if let Some(ring) = &windows.ring {
            // A success that replaces a result can't trip the circuit.
            let delta = self.exchange(windows, ring, generation, CallResult::new(false, slow));
            if let Some(delta) = delta.filter(|delta| counts_in_ring && *delta != 0) {
                self.update(generation, |word| word.plus(delta));
            }
        }
        if !counts_in_ring && self.load().count() != 0 {
            self.update(generation, PackedState::without_count);
        }
    }

    #[cold]
    pub(super) fn count_failure(
        &self,
        windows: &Windows,
        generation: Generation,
        finished: &Finished,
        now: impl Fn() -> Nanos,
        error: ErrorOf<'_>,
    ) {
        let &Finished { slow, asked, .. } = finished;
        if let Some(in_a_row) = &windows.in_a_row {
            let now = now();
            windows.note(now);
            let Some(run) = in_a_row.add(generation, 1) else { return };
            if self.observer.settings().in_a_row.is_reached(run, run) {
                let reason = TransitionReason::Failures { failures: run, calls: run };
                let transition = self.trip_by_counted(generation, now, asked, reason);
                return self.report(transition, error);
            }
        }
        let in_ring = match &windows.ring {
            None => None,
            Some(ring) => {
                windows.note(now());
                let Some(delta) = self.exchange(windows, ring, generation, CallResult::new(true, slow)) else {
                    return;
                };
                Some(delta)
            }
        };
        let (delta, mark) = match &windows.failures {
            Failures::InARow => (1, in_ring.is_none().then(|| Mark::at(now()))),
            Failures::LastCalls => (in_ring.unwrap_or_default(), None),
            Failures::LastTime(buckets) => {
                let now = now();
                buckets.add(generation, now, true);
                let (failures, calls) = buckets.sum(generation, now);
                if self.observer.settings().failure_rate.is_reached(failures, calls) {
                    let transition =
                        self.trip_by_counted(generation, now, asked, TransitionReason::Failures { failures, calls });
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

    /// Whether the failures counted in `word` open the circuit.
    fn trips(&self, windows: &Windows, word: PackedState) -> bool {
        let settings = self.observer.settings();
        let limit =
            if matches!(windows.failures, Failures::InARow) { &settings.in_a_row } else { &settings.failure_rate };
        limit.is_reached(word.failures(), windows.calls(word))
    }

    /// Claims a position in the ring, puts a result there, and counts whether it was slow. Returns by how much the number of
    /// failures in the ring changes.
    #[inline]
    fn exchange(&self, windows: &Windows, ring: &Ring, generation: Generation, result: CallResult) -> Option<i32> {
        let claimed = self.update(generation, |word| word.advanced(ring.len()))?;
        let replaced = ring.put(claimed.position(), generation, result)?;
        if let Some(SlowCalls::LastCalls(count)) = &windows.slow {
            count.add(generation, result.slow() - replaced.slow());
        }
        Some(result.failed() - replaced.failed())
    }

    /// Changes the word of a closed circuit. Returns the previous word. `None` if `generation` has ended.
    fn update(&self, generation: Generation, change: impl Fn(PackedState) -> PackedState) -> Option<PackedState> {
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

    /// Counts a failure that seemed to trip. It doesn't trip if other results were counted in between.
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
            // Before this failure had the lock, another one may have tripped the circuit, or an operator may have closed it.
            if word.generation() != generation {
                return None;
            }
            let counted = mark.map_or(word, |mark| word.failed_at(mark)).plus(delta);
            let trips = self.trips(windows, counted);
            let next = if trips { word.next(Phase::Open) } else { counted };
            match self.replace(word, next) {
                Ok(()) if !trips => return None,
                Ok(()) => {
                    let (failures, calls) = (counted.failures(), windows.calls(counted));
                    let reason = TransitionReason::Failures { failures, calls };
                    return Some(self.tripped(&mut recovery, word, now, asked, reason));
                }
                Err(seen) => word = seen,
            }
        }
    }

    /// Opens the circuit because of a slow call that was already counted, if the share of slow calls is still reached.
    #[cold]
    pub(super) fn trip_by_slow_calls(
        &self,
        generation: Generation,
        windows: &Windows,
        now: Nanos,
        asked: Option<Nanos>,
    ) -> Option<Transition> {
        let mut recovery = self.lock();
        let (slow, calls) = windows.counted_slow(self.load(), now);
        if !self.observer.settings().slow.is_reached(slow, calls) {
            return None;
        }
        self.open(&mut recovery, generation, now, asked, TransitionReason::SlowCalls { slow, calls })
    }

    /// Opens the circuit because of a failure that was already counted.
    fn trip_by_counted(
        &self,
        generation: Generation,
        now: Nanos,
        asked: Option<Nanos>,
        reason: TransitionReason,
    ) -> Option<Transition> {
        self.open(&mut self.lock(), generation, now, asked, reason)
    }

    /// Opens the circuit, if `generation` hasn't ended. Only the holder of the lock changes the generation, while others count
    /// failures in it.
    fn open(
        &self,
        recovery: &mut Recovery,
        generation: Generation,
        now: Nanos,
        asked: Option<Nanos>,
        reason: TransitionReason,
    ) -> Option<Transition> {
        let before = self.update(generation, |word| word.next(Phase::Open))?;
        Some(self.tripped(recovery, before, now, asked, reason))
    }

    /// Finishes a transition to open, after the word was published. `before` is the word that it replaced.
    fn tripped(
        &self,
        recovery: &mut Recovery,
        before: PackedState,
        now: Nanos,
        asked: Option<Nanos>,
        reason: TransitionReason,
    ) -> Transition {
        if before.is_ramp() {
            recovery.waits.grow();
        }
        self.set_deadline(recovery.opened_until(now, &self.observer.settings().recovery(), asked));
        recovery.start_generation();
        self.renew_ring(recovery);
        recovery.transition(before, Phase::Open, reason)
    }
}
