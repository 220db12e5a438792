//! What all services, permits and handles of a layer share.

use std::{borrow::Cow, fmt, mem, num::NonZero, sync::Arc, time::Duration};

use backstop_core::{Blame, ErrorRef, Name, Outcome, SetBy, Upload, Verdict, scope};

use crate::{
    common::{Common, nanos},
    config::Settings,
    failure::Failure,
    metrics,
    state::{self, Admission, Circuit, Nanos, Refused},
    telemetry::Telemetry,
};

/// A circuit with a clock and a name.
#[derive(Debug)]
#[expect(unnameable_types, reason = "what links lead to, which are our own")]
pub struct Breaker {
    pub(crate) circuit: Circuit<Telemetry>,
}

/// What a circuit is part of.
pub(crate) trait HasBreaker: Send + Sync {
    fn breaker(&self) -> &Breaker;
}

impl Breaker {
    pub(crate) fn new(common: Arc<Common>, settings: &state::Settings) -> Self {
        Self { circuit: Circuit::new(settings, Telemetry::new(common)) }
    }

    pub(crate) fn reload(&self, settings: &Settings) {
        self.common().reload(settings, || self.circuit.reload(&settings.circuit));
    }

    /// Whether nothing worth keeping would be lost with it.
    pub(crate) fn is_spare(&self) -> bool {
        self.circuit.is_spare(self.now())
    }

    /// Strategies may be closures, which have nothing to show.
    pub(crate) fn debug(&self, mut f: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("name", self.name()).field("state", &self.circuit.state()).finish_non_exhaustive()
    }

    pub(crate) fn common(&self) -> &Common {
        self.circuit.observer().common()
    }

    pub(crate) fn name(&self) -> &Name {
        self.common().name()
    }

    /// To whoever records metrics, once.
    pub(crate) fn show_state(&self) {
        if self.common().has_another_recorder() {
            self.circuit.observer().show_state(&self.circuit);
        }
    }

    pub(crate) fn now(&self) -> Nanos {
        self.common().now().get()
    }

    #[inline]
    pub(crate) fn would_refuse(&self) -> Option<Refused> {
        self.circuit.would_refuse(|| self.now())
    }

    /// A call that ended before it began, because the service failed to become ready.
    pub(crate) fn record_without_call(&self, outcome: Outcome, error: ErrorRef<'_>) {
        if outcome.verdict == Verdict::Failure
            && let Ok(admission) = self.circuit.admit(|| self.now(), time_left)
        {
            let failure = Failure::NotReady(error);
            metrics::failed(self.name(), failure);
            let finished = self.common().finished(outcome, false);
            self.circuit.record_failed(admission, finished, || self.now(), &|| self.error_text(failure));
        }
    }

    fn error_text(&self, failure: Failure<'_>) -> Option<Cow<'static, str>> {
        failure.text(self.common().error_text())
    }

    /// What a refused caller is told to wait where the circuit stays open for `wait`.
    pub(crate) fn retry_after(&self, wait: Nanos) -> Duration {
        self.common().retry_after(wait)
    }
}

/// How long the caller of the current request will wait, where that is known. Lets its time begin.
pub(crate) fn time_left() -> Option<Nanos> {
    scope::time_left().map(nanos)
}

/// An admission, and what is known of its call so far. Small, because it moves with the call's future.
///
/// Whoever holds it gives it to [`finish`](Self::finish) when the call has ended, and to [`drop`](Self::drop) where it
/// never will.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Admission,
    /// Since when the call has been pending, or its body: since it last got on. A call that is ready at once reads no
    /// clock.
    pending_since: Option<NonZero<Nanos>>,
    stage: Stage,
    /// Whether the call's own code is running. Still true where that code panicked, whoever caught the panic.
    running: bool,
    /// Whether the admission was given back.
    ended: bool,
    /// Of a request with a body.
    upload: Option<Upload>,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its response head is still to come.
    Head,
    /// Its response head is a success, and its body is watched.
    Body { slow: bool },
    /// The same, and the call was counted as a success: it has been going on for long.
    Counted,
}

impl Permit {
    #[inline]
    pub(crate) const fn new(admission: Admission) -> Self {
        Self { admission, pending_since: None, stage: Stage::Head, running: false, ended: false, upload: None }
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

    /// Leaves one that has ended in its place.
    pub(crate) fn take(&mut self) -> Self {
        let Self { admission, pending_since, stage, running, ended, .. } = *self;
        self.ended = true;
        Self { admission, pending_since, stage, running, ended, upload: self.upload.take() }
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

    /// The call's own code has come back.
    #[inline]
    pub(crate) const fn leave(&mut self) {
        self.running = false;
    }

    /// The call is pending. The clock is read once, and only by who will ask for it.
    pub(crate) fn start_waiting(&mut self, breaker: &Breaker) {
        if self.pending_since.is_none() && (breaker.common().asks_for_times() || self.upload.is_some()) {
            self.pending_since = Some(breaker.common().now());
        }
    }

    /// The response head is a success, and the body is watched. How long that takes is its reader's matter, too.
    ///
    /// A slow probe ends here instead: whatever the body does, it opens the circuit again. Whether the call goes on.
    pub(crate) fn go_on_with_body(&mut self, breaker: &Breaker) -> bool {
        let slow = self.is_slow(breaker);
        if slow && self.admission.is_probe() {
            self.record(breaker, Outcome::success(), Failure::Slow);
            return false;
        }
        self.stage = Stage::Body { slow };
        self.pending_since = None;
        // What comes now is between the service and the body's reader.
        self.upload = None;
        breaker.circuit.head_is_good(&mut self.admission);
        true
    }

    /// The body is pending; `since` is when it first was. One that is still coming after the length of a probe's lease
    /// counts as a success then, since nobody may ever learn how it ends.
    pub(crate) fn wait_for_body(&mut self, breaker: &Breaker, since: &mut Option<NonZero<Nanos>>) {
        if self.pending_since.is_some() {
            return;
        }
        let now = breaker.common().now();
        self.pending_since = Some(now);
        let since = *since.get_or_insert(now);
        if let Stage::Body { slow } = self.stage
            && breaker.common().counts_by_head(since, now)
        {
            self.stage = Stage::Counted;
            self.count(breaker, Outcome::success(), Failure::Slow, slow);
        }
    }

    /// A piece of the body has come.
    pub(crate) const fn has_got_on(&mut self) {
        self.pending_since = None;
    }

    #[inline]
    pub(crate) fn finish(&mut self, breaker: &Breaker, outcome: Outcome, failure: Failure<'_>) {
        let at_once = self.pending_since.is_none() && matches!(self.stage, Stage::Head | Stage::Body { slow: false });
        if !at_once || outcome.verdict != Verdict::Success {
            self.record(breaker, outcome, failure);
        } else if breaker.circuit.is_unchanged_by_success(&self.admission) {
            self.ended = true;
        } else {
            self.record_quick_success(breaker);
        }
    }

    #[inline(never)]
    fn record_quick_success(&mut self, breaker: &Breaker) {
        if !self.ended {
            self.ended = true;
            breaker.circuit.record_quick_success(self.admission, || breaker.now());
        }
    }

    #[inline(never)]
    fn record(&mut self, breaker: &Breaker, outcome: Outcome, failure: Failure<'_>) {
        if mem::replace(&mut self.ended, true) {
            return;
        }
        match self.stage {
            Stage::Head => self.count(breaker, outcome, failure, self.is_slow(breaker)),
            Stage::Body { slow } => self.count(breaker, outcome, failure, slow),
            // A stream that breaks speaks against the service, however long it has lasted.
            Stage::Counted if outcome.verdict == Verdict::Failure => self.count(breaker, outcome, failure, false),
            Stage::Counted => {}
        }
    }

    fn count(&self, breaker: &Breaker, outcome: Outcome, failure: Failure<'_>, slow: bool) {
        let finished = breaker.common().finished(outcome, slow);
        let failure = match outcome.verdict {
            Verdict::Failure => failure,
            Verdict::Success if slow => Failure::Slow,
            Verdict::Success | Verdict::Neutral => {
                return breaker.circuit.record(self.admission, finished, || breaker.now());
            }
        };
        metrics::failed(breaker.name(), failure);
        let error = || breaker.error_text(failure);
        breaker.circuit.record_failed(self.admission, finished, || breaker.now(), &error);
    }

    /// Where the call hasn't ended, it never will.
    #[inline]
    pub(crate) fn drop(&mut self, breaker: &Breaker) {
        if !self.ended {
            self.drop_unfinished(breaker);
        }
    }

    #[cold]
    fn drop_unfinished(&mut self, breaker: &Breaker) {
        let failure = if self.running { Failure::Panic } else { Failure::Dropped };
        self.record(breaker, self.outcome_of_drop(breaker), failure);
    }

    /// Whether the call has been slow so far, without the time in which it waited for the request's body.
    fn is_slow(&self, breaker: &Breaker) -> bool {
        let waited = self.upload.as_ref().map_or(Duration::ZERO, Upload::waited);
        breaker.common().is_slow(self.pending_since, nanos(waited))
    }

    /// What a failure counts as once the request's body is looked at: nothing where that failed, or where the call
    /// ended `unanswered` and had spent most of its time waiting for the body.
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
            (true, _) | (false, Some(SetBy::Us)) => true,
            (false, Some(SetBy::Caller)) => false,
            (false, None) => breaker.common().is_failure_when_dropped(self.pending_since),
        };
        let outcome = match self.stage {
            _ if failed => Outcome::failure(),
            Stage::Head => Outcome::neutral(),
            // Nobody will learn how the body ends. So what is known of the call counts: its head.
            Stage::Body { .. } | Stage::Counted => Outcome::success(),
        };
        // A panic is the call's own, whatever it waited for.
        if self.running { outcome } else { self.judge_upload(breaker, outcome, true) }
    }
}
