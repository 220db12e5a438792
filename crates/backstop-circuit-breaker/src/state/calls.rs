//! Admitting calls and recording their results.

use crate::CircuitMode;

use super::{
    Nanos, Verdict,
    call::{Admission, AskedAhead, Finished, Refused, Turn},
    circuit::{Circuit, ErrorOf, Observer, refused},
    packed_state::{Generation, PackedState, Phase},
};

impl<O: Observer> Circuit<O> {
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.load().is_closed()
    }

    /// What a caller who isn't ready to call can know: a refusal, or how the ramp decides about its call. `None` if the call
    /// must [ask](Self::admit). `kept` is what it was told before, because each call takes its turn in a ramp once.
    pub(crate) fn ask_ahead(&self, kept: Option<AskedAhead>, now: impl FnOnce() -> Nanos) -> Option<AskedAhead> {
        let word = self.load();
        let generation = word.generation();
        if !word.is_ramp() {
            let refused = self.would_refuse(now)?;
            return Some(AskedAhead { generation, result: Err(refused) });
        }
        let kept = kept.filter(|kept| kept.generation == generation);
        Some(kept.unwrap_or_else(|| AskedAhead { generation, result: self.admit(now, || None) }))
    }

    /// Admits or refuses a call that has asked ahead.
    pub(crate) fn admit_as_told(
        &self,
        told: AskedAhead,
        now: impl FnOnce() -> Nanos,
        time_left: impl FnOnce() -> Option<Nanos>,
    ) -> Result<Admission, Refused> {
        match told.result {
            Ok(_) if self.load().generation() != told.generation => self.admit(now, time_left),
            result => result,
        }
    }

    /// How a call would be refused now. `None` if it would be admitted, or in a ramp, where that shows when it takes its turn.
    /// Changes nothing.
    pub(crate) fn would_refuse(&self, now: impl FnOnce() -> Nanos) -> Option<Refused> {
        let word = self.load();
        let refused = if word.is_ramp() { None } else { self.refusal(word, now) };
        refused.filter(|refused| refused.mode == CircuitMode::Enforcing)
    }

    #[cold]
    pub(super) fn refusal(&self, word: PackedState, now: impl FnOnce() -> Nanos) -> Option<Refused> {
        match word.phase() {
            Phase::Closed | Phase::Probing => None,
            Phase::Open | Phase::Saturated => {
                let (deadline, now) = (self.deadline(), now());
                (now < deadline).then(|| refused(word, deadline, now))
            }
            Phase::Forced => Some(refused(word, 0, 0)),
            Phase::Ramp => {
                let (ramp, now) = (self.ramp(), now());
                (!ramp.is_over(word.generation(), now)).then(|| refused(word, ramp.ends(), now))
            }
        }
    }

    /// Admits or refuses a call. `time_left` is called only if the call may become a probe.
    #[inline]
    pub(crate) fn admit(
        &self,
        now: impl FnOnce() -> Nanos,
        time_left: impl FnOnce() -> Option<Nanos>,
    ) -> Result<Admission, Refused> {
        let word = self.load();
        if word.is_closed() {
            return Ok(Admission::new(word.generation(), None));
        }
        self.admit_unless_refused(word, now, time_left)
    }

    #[cold]
    pub(super) fn admit_unless_refused(
        &self,
        word: PackedState,
        now: impl FnOnce() -> Nanos,
        time_left: impl FnOnce() -> Option<Nanos>,
    ) -> Result<Admission, Refused> {
        if word.is_ramp() && self.ramp().admits() {
            return Ok(Admission::new(word.generation(), None));
        }
        let now = now();
        let result = match self.refusal(word, || now) {
            Some(refused) => Err(refused),
            None => {
                let (result, transition) = self.admit_locked(now, time_left());
                self.report(transition, &|| None);
                result
            }
        };
        match result {
            Err(refused) if refused.mode == CircuitMode::Observing => {
                self.observer.would_have_refused(refused, self);
                Ok(Admission::UNCOUNTED)
            }
            result => result,
        }
    }

    /// Whether there was no transition since this call was admitted. A call that doesn't count isn't asked about again.
    pub(crate) fn is_current(&self, admission: &Admission) -> bool {
        self.load().generation() == admission.generation || !admission.is_counted()
    }

    /// What a prober may do next.
    pub(crate) fn turn(&self, now: Nanos) -> Turn {
        let word = self.load();
        // An observing circuit refuses no call, so there are calls that can be its probes.
        if matches!(word.phase(), Phase::Closed | Phase::Forced) || word.mode() == CircuitMode::Observing {
            return Turn::Idle;
        }
        let (turn, transition) = self.turn_locked(now);
        self.report(transition, &|| None);
        turn
    }

    /// Whether a call might become a probe now.
    pub(crate) fn may_be_tried(&self, now: Nanos) -> bool {
        let word = self.load();
        !word.is_closed() && self.refusal(word, || now).is_none()
    }

    /// Whether a success that isn't slow changes nothing, so that it needn't be recorded.
    #[inline]
    pub(crate) fn is_unchanged_by_success(&self, admission: &Admission) -> bool {
        // If the word is of a later generation, the success wouldn't count anyway.
        let word = self.load();
        admission.lease.is_none() && word.is_unchanged_by_success() && (!word.counts_slow() || self.has_no_slow_calls())
    }

    /// Out of line, because only a circuit that counts slow calls asks.
    #[inline(never)]
    fn has_no_slow_calls(&self) -> bool {
        self.windows().is_unchanged_by_quick_call()
    }

    /// Records a success that wasn't slow.
    #[inline]
    pub(crate) fn record_quick_success(&self, admission: Admission, now: impl Fn() -> Nanos) {
        let Admission { generation, lease: None, .. } = admission else {
            return self.record(admission, Verdict::Success, now);
        };
        if !admission.is_counted() {
            return;
        }
        let windows = self.windows();
        self.count_success(&windows, generation, false, &now);
        if let Some(slow) = &windows.slow {
            slow.add_by_time(generation, false, now);
        }
        self.count_in_ramp(generation);
    }

    /// A call has finished, which counts towards the end of a ramp's step.
    #[inline]
    fn count_in_ramp(&self, generation: Generation) {
        if self.load().is_ramp() {
            self.finish_in_ramp(generation);
        }
    }

    #[cold]
    fn finish_in_ramp(&self, generation: Generation) {
        self.ramp().finish(generation);
    }

    /// Records a call's result, and takes the admission back.
    pub(crate) fn record(&self, admission: Admission, finished: impl Into<Finished>, now: impl Fn() -> Nanos) {
        self.record_failed(admission, finished, now, &|| None);
    }

    /// As [`record`](Self::record), with the text of the call's error.
    pub(crate) fn record_failed(
        &self,
        admission: Admission,
        finished: impl Into<Finished>,
        now: impl Fn() -> Nanos,
        error: ErrorOf<'_>,
    ) {
        let Admission { generation, lease, .. } = admission;
        let finished = finished.into();
        if !admission.is_counted() {
            return;
        }
        if let Some(lease) = lease {
            let transition = self.end_probe(&admission, lease, finished, now());
            return self.report(transition, error);
        }
        let windows = self.windows();
        match finished.verdict {
            Verdict::Success => self.count_success(&windows, generation, finished.slow, &now),
            Verdict::Failure => self.count_failure(&windows, generation, &finished, &now, error),
            _ => return,
        }
        self.count_in_ramp(generation);
        let Some(slow) = &windows.slow else { return };
        slow.add_by_time(generation, finished.slow, &now);
        if finished.slow {
            let now = now();
            windows.note(now);
            let (slow, calls) = windows.counted_slow(self.load(), now);
            if self.observer.settings().slow.is_reached(slow, calls) {
                let transition = self.trip_by_slow_calls(generation, &windows, now, finished.asked);
                self.report(transition, error);
            }
        }
    }

    /// The head of a call's response is a success, and its body hasn't ended.
    ///
    /// If the lease of a probe expires before its body ends, the probe is a success.
    pub(crate) fn head_is_good(&self, admission: &mut Admission) {
        if let Some(lease) = admission.lease {
            let mut recovery = self.lock();
            admission.counts_while_leased |= recovery.head_of_probe_is_good(admission.generation, lease);
        }
    }
}
