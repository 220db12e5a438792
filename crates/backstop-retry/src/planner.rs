//! Decides what follows each attempt.

use std::{sync::Arc, time::Duration};

use backstop_core::{Deadline, Degradation, Outcome, Pushback, Reason, Scope, Verdict, scope};
use backstop_kit::{
    Attempt, CopyAs, CopyRequest, Elapsed, Judge, KeepAnswer, KeptRequest, Protocol, ReplayState, ServiceCall,
    proof::Frame,
};
use tokio::time::Instant;
use tower_service::Service;

use crate::{
    CountAttempts, Retried, StopReason,
    attempt_span::AttemptSpan,
    backoff::Grown,
    request_state::{KeptBy, ReplaySource, RequestState, is_refusal},
    telemetry,
};

/// Timer granularity: a wake-up this near the deadline is too late.
const TICK: Duration = Duration::from_millis(1);

/// The result of an attempt.
pub(crate) struct AttemptResult<Res, E> {
    pub(crate) result: Result<Res, E>,
    /// Reported during the attempt.
    pub(crate) reports: Vec<Degradation>,
}

/// What follows an attempt.
pub(crate) enum Step<Res, E> {
    /// Return this.
    Finish(AttemptResult<Res, E>),
    /// Keep this response, then wait.
    Keep { response: Res, reports: Vec<Degradation> },
    /// Wait.
    Wait,
}

/// A request whose first attempt has failed.
pub(crate) struct RetryPlanner<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Copy: CopyRequest<Req>,
{
    request_state: RequestState<S, KeptBy<P, Req>, P>,
    deadline: Deadline,
    pub(crate) frame: Frame,
    /// Of the running attempt.
    pub(crate) span: AttemptSpan,
    /// The number of the running or planned attempt.
    attempt: u32,
    /// How far the backoff has grown.
    grown: Grown,
    /// Why there are no more attempts.
    stop: Option<StopReason>,
    /// The planned attempt, while its delay passes.
    next: Option<NextAttempt<S, Req>>,
    /// The last answer that was kept, in case no better one comes.
    earlier: Option<AttemptResult<S::Response, S::Error>>,
}

struct NextAttempt<S, Req> {
    service: S,
    request: Req,
    at: Instant,
}

impl<S, Req, P> RetryPlanner<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Copy: CopyRequest<Req>,
{
    /// After the first attempt. All attempts end by `deadline`.
    pub(crate) const fn new(
        request_state: RequestState<S, KeptBy<P, Req>, P>,
        deadline: Deadline,
        frame: Frame,
        span: AttemptSpan,
    ) -> Self {
        Self {
            request_state,
            deadline,
            frame,
            span,
            attempt: 1,
            grown: Grown::NONE,
            stop: None,
            next: None,
            earlier: None,
        }
    }

    /// Whether there is something to return if the time is up.
    pub(crate) const fn has_earlier(&self) -> bool {
        self.earlier.is_some()
    }

    /// Takes the earlier answer, because the later attempt gave none.
    pub(crate) fn take_earlier(&mut self, reason: StopReason) -> Option<AttemptResult<S::Response, S::Error>> {
        let earlier = self.earlier.take()?;
        self.stop = Some(reason);
        telemetry::returned_earlier_answer(self.request_state.name(), self.attempt, reason);
        Some(earlier)
    }

    /// The same, if the time is up before the next attempt begins.
    pub(crate) fn take_earlier_if_late(&mut self) -> Option<AttemptResult<S::Response, S::Error>> {
        if self.has_earlier() && self.deadline_now().has_passed() {
            self.take_earlier(StopReason::TotalPassed)
        } else {
            None
        }
    }

    /// When the next attempt begins.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.next.as_ref().map(|next| next.at)
    }

    /// Takes the response that was kept. If keeping failed, or the deadline passed, the previous answer stays.
    pub(crate) fn kept(&mut self, response: Option<S::Response>, reports: Vec<Degradation>) {
        let may_be_coming = self.has_earlier() && self.deadline_now().has_passed();
        if let (Some(response), false) = (response, may_be_coming) {
            self.earlier = Some(AttemptResult { result: Ok(response), reports });
        }
    }

    /// The total, or the scope's deadline if that is earlier. Read at each poll: a buffer further out runs `call` elsewhere.
    fn deadline_now(&self) -> Deadline {
        self.deadline.narrowed_by(scope::deadline())
    }
}

impl<S, Req, P> RetryPlanner<S, Req, P>
where
    S: Service<Req> + Clone,
    S::Error: 'static,
    P: Protocol,
    P::Judge: Judge<S::Response>,
    P::Copy: CopyRequest<Req, Kept: CountAttempts<Req>>,
    P::Keep: KeepAnswer<S::Response>,
{
    /// Begins the next attempt.
    pub(crate) fn begin_next(&mut self) -> Option<Attempt<ServiceCall<S, Req>>> {
        let NextAttempt { service, request, .. } = self.next.take()?;
        let resent = KeptBy::<P, Req>::IS_HTTP.then(|| self.attempt - 1);
        self.span = AttemptSpan::open(self.request_state.name(), self.attempt, resent);
        let begin = || self.frame.call(|| ServiceCall::when_ready(service, request));
        Some(Attempt::start(Scope::narrowed(self.deadline), begin))
    }

    /// The running attempt was ended because the time was up.
    pub(crate) fn ended(&mut self, elapsed: Elapsed) {
        let name = self.request_state.name();
        self.span.end(|| (elapsed.rejection(name.clone()).outcome().verdict, Some(Reason::TIMEOUT)));
    }

    pub(crate) fn keep(&self, response: S::Response) -> <P::Keep as KeepAnswer<S::Response>>::Keeping {
        self.request_state.layer.protocol.keep().keep(response, self.deadline_now().instant())
    }

    /// The answer, with its reports passed on and the number of attempts noted.
    pub(crate) fn finish(&self, answer: AttemptResult<S::Response, S::Error>) -> Result<S::Response, S::Error> {
        scope::pass_on(answer.reports);
        let result = answer.result.map(|mut response| {
            // Don't count the planned attempt.
            let begun = self.attempt - u32::from(self.next.is_some());
            if begun > 1 || self.stop.is_some() {
                self.request_state.layer.protocol.keep().note(&mut response, Retried::new(begun, self.stop));
            }
            response
        });
        self.frame.pass_on();
        result
    }

    /// What an attempt's result counts as.
    pub(crate) fn judge(&self, result: &mut Result<S::Response, S::Error>) -> Outcome {
        self.request_state.judge(result)
    }

    /// Decides what follows an attempt.
    pub(crate) fn after(
        &mut self,
        outcome: Outcome,
        mut answer: AttemptResult<S::Response, S::Error>,
    ) -> Step<S::Response, S::Error> {
        let layer = Arc::clone(&self.request_state.layer);
        let reason = self.request_state.reason(&mut answer.result);
        self.span.end(|| (outcome.verdict, (outcome.verdict != Verdict::Success).then_some(reason)));
        let is_refusal = is_refusal(&outcome);
        if self.has_earlier() {
            // If one of our layers refused this attempt, or ended it at our deadline, the upstream's earlier answer says more.
            let came_to_nothing = if is_refusal {
                Some(StopReason::Refused)
            } else if self.deadline_now().has_passed() && reason == Reason::TIMEOUT {
                Some(StopReason::TotalPassed)
            } else {
                None
            };
            if let Some(earlier) = came_to_nothing.and_then(|reason| self.take_earlier(reason)) {
                return Step::Finish(earlier);
            }
        }
        // Even a transient refusal isn't repeated: the layer would refuse the next attempt, too.
        if !outcome.transient || is_refusal || reason == Reason::ALL_PROVIDERS_FAILED {
            if outcome.verdict != Verdict::Success {
                self.request_state.log_not_worth_repeating(self.attempt, &outcome, &answer.result);
            }
            return Step::Finish(answer);
        }
        // The attempt was never sent: an earlier answer says more.
        let never_sent_but_have_earlier = self.has_earlier() && reason == Reason::TIMEOUT && outcome.unprocessed;
        // Our own timeout is a response, but not the server's answer.
        match self.plan(&outcome, answer.result.is_err() || reason == Reason::TIMEOUT) {
            Ok(delay) => {
                telemetry::retrying(layer.retry.live.name(), self.attempt, delay, reason, layer.logged(&answer.result));
                self.attempt += 1;
                match answer {
                    _ if never_sent_but_have_earlier => Step::Wait,
                    AttemptResult { result: Ok(response), reports } => Step::Keep { response, reports },
                    failed @ AttemptResult { result: Err(_), .. } => {
                        self.earlier = Some(failed);
                        Step::Wait
                    }
                }
            }
            Err(stop) => {
                if let Some(earlier) = never_sent_but_have_earlier.then(|| self.take_earlier(stop)).flatten() {
                    return Step::Finish(earlier);
                }
                self.stop = Some(stop);
                telemetry::stopped(layer.retry.live.name(), self.attempt, stop, layer.logged(&answer.result));
                Step::Finish(answer)
            }
        }
    }

    /// Plans the next attempt, and returns the delay before it. Takes all it needs now, while this answer can still be returned.
    fn plan(&mut self, outcome: &Outcome, failed: bool) -> Result<Duration, StopReason> {
        let RequestState { layer, settings, facts, replay } = &mut self.request_state;
        let settings = layer.retry.live.at(settings);
        if self.attempt == settings.max_attempts {
            return Err(StopReason::MaxAttempts);
        }
        if let Err(stop) = replay
            && *stop != StopReason::Budget
        {
            return Err(*stop);
        }
        if facts.is_too_early_for_caller(outcome) {
            return Err(StopReason::EarlyData);
        }
        if !settings.repeat.allows(*facts, outcome) {
            return Err(StopReason::NotIdempotent);
        }
        let at_least = match outcome.pushback {
            Some(Pushback::After(delay)) if delay > settings.max_retry_after => return Err(StopReason::ServerDelay),
            Some(Pushback::After(delay)) => delay,
            Some(_) => return Err(StopReason::ServerSaidStop),
            None => Duration::ZERO,
        };
        // A6: a pushback restarts the backoff.
        let grown = if outcome.pushback.is_some() { Grown::NONE } else { self.grown };
        // Added to the pushback, so that callers with the same pushback don't retry together.
        let backoff = layer.retry.backoff(settings, self.attempt, grown, outcome);
        let delay = at_least.saturating_add(backoff);
        let now = Instant::now();
        let deadline = self.deadline.narrowed_by(scope::deadline()).instant();
        if delay.saturating_add(TICK) > deadline.saturating_duration_since(now) {
            return Err(StopReason::NoTimeLeft);
        }
        let ReplaySource { service, kept } = replay.as_mut().map_err(|stop| *stop)?;
        // The answer came early, and the upload still runs. A copy would end it.
        if !failed && kept.replay_state() == ReplayState::Partly {
            return Err(StopReason::Uploading);
        }
        let budget = layer.retry.live.budget();
        if budget.as_ref().is_some_and(|budget| !budget.withdraw()) {
            return Err(StopReason::Budget);
        }
        let mut request = match kept.copy(CopyAs::Same) {
            Ok(request) => request,
            Err(why) => {
                budget.as_ref().inspect(|budget| budget.give_back());
                return Err(StopReason::NotReplayable(why));
            }
        };
        KeptBy::<P, Req>::set_attempts(&mut request, self.attempt, settings.attempt_header.as_ref());
        let service = service.clone();
        if self.attempt + 1 == settings.max_attempts {
            *replay = Err(StopReason::MaxAttempts);
        }
        self.grown = if outcome.pushback.is_some() { Grown::NONE } else { grown.by(backoff) };
        self.next = Some(NextAttempt { service, request, at: now + delay });
        Ok(delay)
    }
}
