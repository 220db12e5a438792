//! The state of a request while the primary runs, in case that fails.

use std::{borrow::Cow, task::Poll};

use backstop_core::{
    ErrorRef, Outcome, Rejection, Scope, Verdict,
    scope::{self, CurrentLimit},
};
use backstop_kit::{
    ContextOf, CopyAs, CopyRequest, Elapsed, Judge, KeepAnswer, KeptRequest, NotCopied, Protocol, Reject, RequestFacts,
    RequestFailure, Snapshot, Upload, proof::Frame, telemetry::MetricsOnly,
};
use tokio::time::Instant;
use tower_service::Service;

use crate::{
    chain::settings::Settings,
    commit::{AnswerWithBody, WaitForBody},
    layer_state::LayerStateOf,
    miss::{Miss, ProviderMiss, late},
    panics::Panicked,
    telemetry,
};

/// What the providers need if the primary fails.
pub(crate) struct RequestState<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Copy: CopyRequest<Req>,
{
    pub(crate) layer: LayerStateOf<S, Req, P>,
    /// Those of the chain when it arrived.
    pub(crate) settings: Snapshot<Settings>,
    /// When it arrived.
    pub(crate) called: MetricsOnly<Instant>,
    /// When its time began. `None` until something is pending, so that an immediate answer reads no clock.
    pub(crate) started: Option<Instant>,
    /// How the scope around `Service::call` limited time. Taken in the first poll.
    pub(crate) limit_at_call: Option<CurrentLimit>,
    pub(crate) facts: RequestFacts,
    /// For the calls of the primary and of the providers.
    pub(crate) frame: Frame,
    /// `None` if no provider needs the request.
    pub(crate) kept: Option<<P::Copy as CopyRequest<Req>>::Kept>,
    pub(crate) context: ContextOf<S, Req, P>,
    /// Set if the request has a body.
    pub(crate) upload: Option<Upload>,
}

/// A service's result.
pub(crate) type ServiceResult<S, Req> = Result<<S as Service<Req>>::Response, <S as Service<Req>>::Error>;

/// A copy of the request.
pub(crate) fn copied<Req, K: KeptRequest<Req>>(kept: &mut Option<K>, copy: CopyAs) -> Result<Req, NotCopied> {
    // If nothing was kept, no provider needs a copy.
    kept.as_mut().ok_or(NotCopied::HeadOnly)?.copy(copy)
}

/// How the primary failed.
pub(crate) struct PrimaryFailure<S: Service<Req>, Req> {
    /// `None` if it didn't answer in its time, or its body broke off.
    pub(crate) result: Option<ServiceResult<S, Req>>,
    pub(crate) miss: Miss,
    /// The text of an error that isn't in the result.
    pub(crate) error: Option<Cow<'static, str>>,
}

impl<S, Req, P> RequestState<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Copy: CopyRequest<Req>,
{
    /// Begins the request's time if it hasn't begun. The attempt's scope begins its own in the same poll.
    pub(crate) fn start_clock(&mut self) -> Instant {
        *self.started.get_or_insert_with(Instant::now)
    }

    /// In the first poll, the primary's share again, if the limit isn't that of `Service::call`: a buffer further out runs
    /// that in another task, without the caller's deadline.
    #[inline]
    pub(crate) fn scope_at_first_poll(&mut self) -> Option<Scope> {
        let (at_call, now) = (self.limit_at_call.take()?, scope::limit());
        if now == at_call { None } else { Some(self.scope_for_other_limit(now)) }
    }

    #[cold]
    fn scope_for_other_limit(&mut self, limit: CurrentLimit) -> Scope {
        self.layer.scope(self.layer.chain.shared().settings(&self.settings), limit, &mut self.started)
    }

    /// A scope with the primary's share of the time left. Begins the request's time if it hasn't begun.
    pub(crate) fn remaining_scope(&mut self) -> Scope {
        self.layer.remaining_scope(self.layer.chain.shared().settings(&self.settings), &mut self.started)
    }
}

impl<S, Req, P> RequestState<S, Req, P>
where
    S: Service<Req>,
    S::Error: 'static,
    P: Protocol,
    P::Judge: Judge<S::Response>,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Copy: CopyRequest<Req>,
    P::Keep: KeepAnswer<S::Response>,
{
    /// How to wait for an answer's body, if configured.
    pub(crate) fn wait_for_body(&self) -> Option<&WaitForBody<S::Response>> {
        self.layer.chain.shared().wait_for_body.as_ref()
    }

    /// Whether this result is returned without waiting for a body.
    #[inline]
    pub(crate) fn is_final(&self, polled: &Poll<ServiceResult<S, Req>>) -> bool {
        self.wait_for_body().is_none() || !matches!(polled, Poll::Ready(Ok(_)))
    }

    /// The primary's answer, if its body is good, too.
    pub(crate) fn judge_body(
        &self,
        result: Result<Option<AnswerWithBody<S::Response>>, Elapsed>,
    ) -> Result<S::Response, PrimaryFailure<S, Req>> {
        let nothing = |miss| PrimaryFailure { result: None, miss, error: None };
        let answer =
            result.map_err(|elapsed| PrimaryFailure { error: Some(late(elapsed)), ..nothing(Miss::TIMED_OUT) })?;
        let AnswerWithBody { answer, to_judge } = answer.ok_or(Miss::BROKE_OFF).map_err(nothing)?;
        match to_judge.and_then(|answer| self.judge_result(&mut Ok(answer))) {
            None => Ok(answer),
            Some(miss) => Err(PrimaryFailure { result: Some(Ok(answer)), miss, error: None }),
        }
    }

    /// The primary panicked.
    #[cold]
    pub(crate) fn panicked(&self, panicked: Panicked) -> PrimaryFailure<S, Req> {
        let ProviderMiss { miss, error } = ProviderMiss::panicked(panicked, &self.layer.chain.shared().error_text);
        PrimaryFailure { result: None, miss, error }
    }

    /// Logs and counts that the primary answered.
    pub(crate) fn record_answer(&self) {
        if let Some(called) = self.called.get() {
            self.layer.primary_latency.record(called.elapsed());
        }
        telemetry::fresh(&self.layer.chain.shared().control);
    }

    /// Whether the primary failed because the request's body did. No other provider could do better.
    fn is_uploads_failure(&self, outcome: &Outcome) -> bool {
        outcome.verdict == Verdict::Failure && self.upload.as_ref().is_some_and(|upload| upload.failure().is_some())
    }

    /// The rejection if the primary's time is up, and most of it was spent waiting for the request's body.
    pub(crate) fn slow_upload_rejection(&self) -> Option<Rejection> {
        let (upload, started) = (self.upload.as_ref()?, self.started?);
        let by = self.layer.chain.name();
        upload.held_up(started.elapsed()).then(|| RequestFailure::TooSlow.rejection(by.clone()))
    }

    /// Why this isn't an answer; `None` if it is.
    #[inline]
    pub(crate) fn judge_result(&self, result: &mut ServiceResult<S, Req>) -> Option<Miss> {
        let judge = self.layer.protocol.judge();
        let outcome = judge.outcome(self.facts, result.as_mut().map_err(|error| ErrorRef::new(error)));
        let is_for_caller = outcome.answers() || self.facts.is_too_early_for_caller(&outcome);
        if is_for_caller || self.is_uploads_failure(&outcome) {
            return None;
        }
        let reason = judge.reason(self.facts, result.as_mut().map_err(|error| ErrorRef::new(error)));
        Some(Miss { reason, outcome })
    }
}
