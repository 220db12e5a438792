//! An admitted call, and what is known about it.

use std::{mem, num::NonZero, time::Duration};

use backstop_core::{Blame, Outcome, Verdict, scope};
use backstop_kit::{
    Upload,
    telemetry::{self, MetricsOnly},
};

use crate::{
    breaker::Breaker,
    failure::Failure,
    metrics,
    state::{Admission, Nanos, Refused, nanos},
};

/// An admission, and what is known about its call. Small, because it moves with the call's future.
///
/// The holder calls [`finish`](Self::finish) when the call has ended, or [`abandon`](Self::abandon) if it never will.
#[derive(Debug)]
pub(crate) struct TrackedCall {
    admission: Admission,
    /// When the call became pending, or when its body became pending after the last frame. A call that is ready at once
    /// doesn't read the clock.
    pending_since: Option<NonZero<Nanos>>,
    /// When the call was first pending.
    first_pending: MetricsOnly<NonZero<Nanos>>,
    stage: Stage,
    /// Whether the call's own code is running. Stays true if that code panicked, even if the panic was caught.
    running: bool,
    /// Whether the admission was given back.
    ended: bool,
    /// The request's body, if it has one.
    upload: Option<Upload>,
}

/// How far a call got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Waits for the response head.
    Head,
    /// Waits for the response head, and was pending, so that it may be slow.
    PendingHead,
    /// The response head is a success. Waits for the end of the body.
    Body { slow: bool },
    /// Waits for the end of the body. The call was already counted as a success, because its body takes long.
    Counted,
}

impl TrackedCall {
    #[inline]
    pub(crate) const fn new(admission: Admission) -> Self {
        Self {
            admission,
            pending_since: None,
            first_pending: MetricsOnly::none(),
            stage: Stage::Head,
            running: false,
            ended: false,
            upload: None,
        }
    }

    /// Asks the circuit again, if it has changed since the call was admitted. The old admission no longer counts then.
    pub(crate) fn readmit(&mut self, breaker: &Breaker) -> Result<(), Refused> {
        if !breaker.circuit.is_current(&self.admission) {
            self.admission = breaker.admit(None)?;
        }
        Ok(())
    }

    /// No call, which counts as ended.
    pub(crate) fn ended() -> Self {
        Self { ended: true, ..Self::new(Admission::UNCOUNTED) }
    }

    /// The request has a body.
    #[inline]
    pub(crate) fn watch(&mut self, upload: Upload) {
        self.upload = Some(upload);
    }

    /// Whether the admission was given back.
    pub(crate) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the call's own code is running, or panicked.
    pub(crate) const fn is_running(&self) -> bool {
        self.running
    }

    /// Takes the call. What is left counts as ended.
    pub(crate) fn take(&mut self) -> Self {
        let Self { admission, pending_since, first_pending, stage, running, ended, .. } = *self;
        self.ended = true;
        Self { admission, pending_since, first_pending, stage, running, ended, upload: self.upload.take() }
    }

    #[inline]
    pub(crate) const fn is_probe(&self) -> bool {
        self.admission.is_probe()
    }

    /// The call's own code is about to run.
    #[inline]
    pub(crate) const fn enter(&mut self) {
        self.running = true;
    }

    /// The call's own code has returned.
    #[inline]
    pub(crate) const fn leave(&mut self) {
        self.running = false;
    }

    /// The call is pending. Reads the clock once, and only if the time is needed.
    pub(crate) fn start_waiting(&mut self, breaker: &Breaker) {
        let is_timed = telemetry::ENABLED || breaker.group().asks_for_times() || self.upload.is_some();
        if self.pending_since.is_none() && is_timed {
            self.stage = Stage::PendingHead;
            self.pend(breaker.group().now());
        }
    }

    /// The response head is a success, and the call goes on with the body. From here on the call doesn't become slow, because
    /// its reader may be.
    ///
    /// Returns `false` for a slow probe, which ends here: it opens the circuit again, whatever its body does.
    pub(crate) fn continue_with_body(&mut self, breaker: &Breaker) -> bool {
        let slow = self.is_slow(breaker);
        if slow && self.admission.is_probe() {
            self.record(breaker, Outcome::success(), None);
            return false;
        }
        self.stage = Stage::Body { slow };
        self.pending_since = None;
        // The request's body no longer matters.
        self.upload = None;
        breaker.circuit.head_is_good(&mut self.admission);
        true
    }

    /// The body is pending. `since` is when it first was. If it hasn't ended after the length of a probe's lease, the call
    /// counts as a success, because the body may never end.
    pub(crate) fn wait_for_body(&mut self, breaker: &Breaker, since: &mut Option<NonZero<Nanos>>) {
        if self.pending_since.is_some() {
            return;
        }
        let now = breaker.group().now();
        self.pend(now);
        let since = *since.get_or_insert(now);
        if let Stage::Body { slow } = self.stage
            && breaker.group().counts_by_head(since, now)
        {
            self.stage = Stage::Counted;
            self.report_end(breaker, Verdict::Success);
            self.count(breaker, Outcome::success(), None, slow);
        }
    }

    fn pend(&mut self, now: NonZero<Nanos>) {
        self.pending_since = Some(now);
        self.first_pending.set_once(|| now);
    }

    /// The body returned a frame.
    pub(crate) const fn stop_waiting(&mut self) {
        self.pending_since = None;
    }

    /// The call has failed.
    pub(crate) fn finish(&mut self, breaker: &Breaker, outcome: Outcome, failure: Failure<'_>) {
        self.record(breaker, outcome, Some(failure));
    }

    /// The call has ended and didn't fail.
    #[inline]
    pub(crate) fn finish_well(&mut self, breaker: &Breaker, outcome: Outcome) {
        if self.is_quick_success(&outcome) && breaker.circuit.is_unchanged_by_success(&self.admission) {
            if !self.ended {
                self.report_end(breaker, Verdict::Success);
            }
            self.ended = true;
        } else {
            self.record_well(breaker, outcome);
        }
    }

    /// Whether it succeeded at once, so that it can't be slow. Nothing of a shadow call counts.
    #[inline]
    fn is_quick_success(&self, outcome: &Outcome) -> bool {
        self.stage == Stage::Head && outcome.verdict == Verdict::Success && !scope::is_shadow()
    }

    /// Counts the call for the metrics.
    #[inline]
    fn report_end(&self, breaker: &Breaker, verdict: Verdict) {
        if telemetry::ENABLED {
            let since = self.first_pending.get();
            let duration = since.map_or(0, |since| breaker.now().saturating_sub(since.get()));
            breaker.group().metrics().ended(verdict, Duration::from_nanos(duration));
        }
    }

    #[inline(never)]
    fn record_well(&mut self, breaker: &Breaker, outcome: Outcome) {
        if !self.is_quick_success(&outcome) {
            self.record(breaker, outcome, None);
        } else if !self.ended {
            self.ended = true;
            self.report_end(breaker, Verdict::Success);
            breaker.circuit.record_quick_success(self.admission, || breaker.now());
        }
    }

    #[inline(never)]
    fn record(&mut self, breaker: &Breaker, outcome: Outcome, failure: Option<Failure<'_>>) {
        if mem::replace(&mut self.ended, true) {
            return;
        }
        let (outcome, failure) = if scope::is_shadow() { (Outcome::neutral(), None) } else { (outcome, failure) };
        if self.stage != Stage::Counted {
            self.report_end(breaker, outcome.verdict);
        }
        match self.stage {
            Stage::Head | Stage::PendingHead => self.count(breaker, outcome, failure, self.is_slow(breaker)),
            Stage::Body { slow } => self.count(breaker, outcome, failure, slow),
            // A stream that breaks off is a failure, however long it has lasted.
            Stage::Counted if outcome.verdict == Verdict::Failure => self.count(breaker, outcome, failure, false),
            Stage::Counted => {}
        }
    }

    fn count(&self, breaker: &Breaker, outcome: Outcome, failure: Option<Failure<'_>>, slow: bool) {
        if !self.admission.is_counted() {
            return;
        }
        let finished = breaker.group().finished(outcome, slow);
        let failure = match outcome.verdict {
            Verdict::Success if slow => Some(Failure::Slow),
            _ => failure,
        };
        let Some(failure) = failure else {
            return breaker.circuit.record(self.admission, finished, || breaker.now());
        };
        metrics::failed(breaker.name(), failure);
        let error = || breaker.error_text(failure);
        breaker.circuit.record_failed(self.admission, finished, || breaker.now(), &error);
    }

    /// The call is dropped. No effect if it has ended.
    #[inline]
    pub(crate) fn abandon(&mut self, breaker: &Breaker) {
        if !self.ended {
            self.abandon_unfinished(breaker);
        }
    }

    #[cold]
    fn abandon_unfinished(&mut self, breaker: &Breaker) {
        let outcome = self.outcome_of_drop(breaker);
        let failure = if self.running { Failure::Panic } else { Failure::Dropped };
        self.record(breaker, outcome, (outcome.verdict == Verdict::Failure).then_some(failure));
    }

    /// Whether the call is slow, not counting the time in which it waited for the request's body.
    fn is_slow(&self, breaker: &Breaker) -> bool {
        let waited = self.upload.as_ref().map_or(Duration::ZERO, Upload::waited);
        breaker.group().is_slow(self.pending_since, nanos(waited))
    }

    /// A failure counts as neutral if the request's body failed, or if the call had no answer (`is_unanswered`) and spent most
    /// of its time waiting for that body.
    pub(crate) fn judge_upload(&self, breaker: &Breaker, outcome: Outcome, is_unanswered: bool) -> Outcome {
        match &self.upload {
            Some(upload) if outcome.verdict == Verdict::Failure => {
                let is_callers = upload.failure().is_some() || (is_unanswered && self.is_held_up(breaker, upload));
                if is_callers { Outcome::neutral().blaming(Blame::Request) } else { outcome }
            }
            _ => outcome,
        }
    }

    fn is_held_up(&self, breaker: &Breaker, upload: &Upload) -> bool {
        let since = self.pending_since.map_or_else(|| breaker.now(), NonZero::get);
        upload.held_up(Duration::from_nanos(breaker.now().saturating_sub(since)))
    }

    fn outcome_of_drop(&self, breaker: &Breaker) -> Outcome {
        let failed = match (self.running, scope::ended_by()) {
            (true, _) => true,
            (false, Some(ended_by)) => ended_by.is_failure(),
            (false, None) => breaker.group().is_failure_when_dropped(self.pending_since),
        };
        let outcome = match self.stage {
            _ if failed => Outcome::failure(),
            Stage::Head | Stage::PendingHead => Outcome::neutral(),
            // How the body would end is unknown, so the head decides.
            Stage::Body { .. } | Stage::Counted => Outcome::success(),
        };
        // A panic is the call's own failure, whatever it waited for.
        if self.running { outcome } else { self.judge_upload(breaker, outcome, true) }
    }
}
