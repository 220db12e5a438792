//! Counting in a closed circuit, without a lock, up to the failure that opens it.

use super::{
    Cause, Circuit, CircuitState, Nanos, Observer, Transition,
    policy::{self, Policy},
    recovery::Recovery,
    slow::SlowCalls,
    word::{Generation, Phase, Word},
};

impl<O: Observer> Circuit<O> {
    #[inline]
    pub(super) fn count_success(&self, generation: Generation) {
        let word = self.load();
        if word.count() == 0 {
            match &self.policy {
                Policy::Consecutive { .. } => return,
                // A success that replaces a success: the window is the same without it, wherever it begins.
                Policy::FailureRate { .. } if word.is_full() => return,
                Policy::FailureRate { .. } => {}
            }
        }
        match &self.policy {
            Policy::Consecutive { .. } => _ = self.update(generation, Word::without_count),
            Policy::FailureRate { .. } => {
                // A success in the place of a success or of a failure: nothing that could trip.
                if let Some(delta) = self.exchange(generation, false)
                    && delta != 0
                {
                    self.update(generation, |word| word.plus(delta));
                }
            }
        }
    }

    #[cold]
    pub(super) fn count_failure(&self, generation: Generation, asked: Option<Nanos>, now: impl Fn() -> Nanos) {
        let delta = match &self.policy {
            Policy::Consecutive { .. } => 1,
            Policy::FailureRate { .. } => match self.exchange(generation, true) {
                Some(delta) => delta,
                None => return,
            },
        };
        let mut word = self.load();
        loop {
            if word.generation() != generation {
                return;
            }
            let next = word.plus(delta);
            if self.policy.trips(next) {
                let transition = self.trip(generation, delta, now(), asked);
                return self.report(transition);
            }
            match self.replace(word, next) {
                Ok(()) => return,
                Err(seen) => word = seen,
            }
        }
    }

    /// Claims a position of the ring and puts a result there. Returns what that adds to the count of failures.
    fn exchange(&self, generation: Generation, failed: bool) -> Option<i32> {
        let ring = self.policy.ring()?;
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
    fn trip(&self, generation: Generation, delta: i32, now: Nanos, asked: Option<Nanos>) -> Option<Transition> {
        let mut recovery = self.lock();
        let mut word = self.load();
        loop {
            // Another failure may have tripped it, or an operator have closed it, before this one had the lock.
            if word.generation() != generation {
                return None;
            }
            let counted = word.plus(delta);
            let trips = self.policy.trips(counted);
            let next = if trips { Word::new(Phase::Open, generation.next()) } else { counted };
            match self.replace(word, next) {
                Ok(()) if !trips => return None,
                Ok(()) => {
                    let (failures, calls) = (policy::failures(counted), self.policy.calls(counted));
                    return Some(self.tripped(&mut recovery, now, asked, Cause::Tripped { failures, calls }));
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
        let (slow, calls) = slow_calls.tripped(generation)?;
        // Only failures are counted in it meanwhile; who holds the lock decides on the generation.
        self.update(generation, |_| Word::new(Phase::Open, generation.next()))?;
        Some(self.tripped(&mut recovery, now, asked, Cause::TrippedBySlowCalls { slow, calls }))
    }

    /// What is left to do when the word says that the circuit opened.
    fn tripped(&self, recovery: &mut Recovery, now: Nanos, asked: Option<Nanos>, cause: Cause) -> Transition {
        self.set_deadline(recovery.opened_until(now, asked));
        recovery.start_generation();
        self.renew_ring(recovery);
        let (from, to) = (CircuitState::Closed, CircuitState::Open);
        Transition { from, to, generation: recovery.generation(), cause }
    }
}
