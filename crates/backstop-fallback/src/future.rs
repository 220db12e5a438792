//! The response future.
//!
//! | in | on | goes to |
//! |---|---|---|
//! | forced provider first | its answer | the end |
//! | forced provider first | anything else | primary |
//! | primary | an answer whose body isn't waited for | the end |
//! | primary | any other answer | awaiting the body |
//! | primary | a failure, or its share of the time is up | after the primary |
//! | awaiting the body | enough of the body, with a good gRPC status if that has come | the end |
//! | awaiting the body | a failure, or the primary's share of the time is up | after the primary |
//! | after the primary | a provider's answer | the end |
//! | after the primary | no provider left | the end: the primary's result, or a rejection |
//! | passing (an upgrade) | the primary's answer, whatever it is | the end |
//! | passing (an upgrade) | the total is up | the end: a rejection |

use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{Degradation, Limit, Scope, SetBy, scope};
use backstop_kit::{
    Attempt, Call, ContextOf, CopyRequest, EagerCall, Judge, JudgeRequest, KeepAnswer, Protocol, Readiness, Reject,
    polled_again,
    proof::{Frame, PassThrough},
    telemetry::MetricsOnly,
};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use crate::{
    after_primary::AfterPrimary,
    commit::BodyWait,
    forced_first::ForcedFirst,
    layer_state::{LayerState, LayerStateOf},
    miss::{Miss, late},
    panics::{Panicked, Panics},
    request_state::{PrimaryFailure, RequestState},
    telemetry,
};

pin_project! {
    /// The response future of [`Fallback`](crate::Fallback).
    ///
    /// # Cancellation
    /// Dropping it drops the running call of the primary or a provider, with its permits.
    ///
    /// # Panics
    /// If it is polled again after it has ended.
    #[must_use = "futures do nothing unless polled"]
    pub struct FallbackFuture<S, Req, P>
    where
        S: Service<Req>,
        P: Protocol,
        P::Reject: Reject<Req, S::Response, S::Error>,
        P::Copy: CopyRequest<Req>,
        P::Keep: KeepAnswer<S::Response>,
    {
        #[pin]
        state: State<S, Req, P>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req, P>
    where
        S: Service<Req>,
        P: Protocol,
        P::Reject: Reject<Req, S::Response, S::Error>,
        P::Copy: CopyRequest<Req>,
        P::Keep: KeepAnswer<S::Response>,
    {
        Passing {
            #[pin]
            attempt: Attempt<EagerCall<S, Req>>,
            layer: LayerStateOf<S, Req, P>,
            // Taken when the rejection is made.
            context: Option<ContextOf<S, Req, P>>,
        },
        // Boxed, because it is rare and large. Taken when the primary is called.
        ForcedFirst { forced_first: Option<Box<ForcedFirst<S, Req, P>>> },
        Primary {
            #[pin]
            attempt: Attempt<EagerCall<S, Req>>,
            // Taken when the primary fails.
            request_state: Option<RequestState<S, Req, P>>,
        },
        AwaitingBody {
            #[pin]
            attempt: Attempt<BodyWait<S::Response>>,
            // Taken in the end.
            request_state: Option<RequestState<S, Req, P>>,
        },
        // Boxed, because it is rare and large.
        AfterPrimary { after_primary: Pin<Box<AfterPrimary<S, Req, P>>> },
    }
}

impl<S, Req, P> FallbackFuture<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Copy: CopyRequest<Req>,
    P::Keep: KeepAnswer<S::Response>,
{
    #[inline]
    pub(crate) fn new(layer: &LayerStateOf<S, Req, P>, primary: &mut S, readiness: Readiness, mut request: Req) -> Self
    where
        S: Clone,
        P::Judge: JudgeRequest<Req>,
    {
        let LayerState { protocol, chain, .. } = &**layer;
        let (copy, judge) = (protocol.copy(), protocol.judge());
        let facts = judge.facts(&request, copy.facts(&request));
        let mut facts = chain.shared().marked(facts, &request);
        let mut kept = copy.keep(&mut request, &mut facts, chain.shared().needs);
        let context = protocol.reject().context(&request);
        if facts.is_upgrade() {
            telemetry::passed_by(chain.name());
            let mut scope = Scope::limited(Limit::new(chain.shared().control.settings.load().total, SetBy::Us));
            let call = {
                let _entered = scope.entered();
                let _pass = PassThrough::begin();
                EagerCall::begin(primary, readiness, request)
            };
            let attempt = Attempt::begun(call, scope);
            return Self { state: State::Passing { attempt, layer: Arc::clone(layer), context: Some(context) } };
        }
        // After the request was kept: the kept body is watched already.
        let upload = judge.watch(&mut request);
        let (mut started, mut frame) = (None, Frame::open());
        let settings = chain.shared().control.settings.snapshot();
        if let Some(provider) = chain.shared().draw(facts, kept.as_ref()) {
            let request_state = RequestState {
                layer: Arc::clone(layer),
                settings,
                called: MetricsOnly::with(Instant::now),
                started,
                limit_at_call: None,
                facts,
                frame,
                kept,
                context,
                upload,
            };
            // A ready service may hold a permit that others need meanwhile.
            let later = primary.clone();
            *primary = later.clone();
            let forced_first = Some(Box::new(ForcedFirst::new(provider, later, request, request_state)));
            return Self { state: State::ForcedFirst { forced_first } };
        }
        if chain.shared().control.drills.is_due()
            && let Some(drill) = layer.drill.get()
        {
            drill.offer(&chain.shared().control, &request, facts, kept.as_mut());
        }
        let called = MetricsOnly::with(Instant::now);
        let limit_at_call = scope::limit();
        let mut scope = layer.scope(chain.shared().settings(&settings), limit_at_call, &mut started);
        let call = {
            let _entered = scope.entered();
            let _calling = frame.calling();
            match chain.shared().panics {
                Panics::Propagate => EagerCall::begin(primary, readiness, request),
                // Called in the first poll, which catches what the call itself panics with.
                Panics::Catch => EagerCall::when_ready(mem::replace(primary, primary.clone()), request),
            }
        };
        // Created where it is returned: another move would show in the benchmark.
        let request_state = Some(RequestState {
            layer: Arc::clone(layer),
            settings,
            called,
            started,
            limit_at_call: Some(limit_at_call),
            facts,
            frame,
            kept,
            context,
            upload,
        });
        Self { state: State::Primary { attempt: Attempt::begun(call, scope), request_state } }
    }
}

impl<S, Req, P> State<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Copy: CopyRequest<Req>,
    P::Keep: KeepAnswer<S::Response>,
{
    fn after_primary(
        request_state: RequestState<S, Req, P>,
        failure: PrimaryFailure<S, Req>,
        reports: Vec<Degradation>,
    ) -> Self
    where
        S::Error: 'static,
        P: Protocol,
        P::Judge: Judge<S::Response>,
    {
        Self::AfterPrimary { after_primary: Box::pin(AfterPrimary::new(request_state, failure, reports)) }
    }
}

/// Out of line: handing the result through costs the path that doesn't catch.
#[cold]
fn poll_caught<F: Call>(attempt: Pin<&mut Attempt<F>>, cx: &mut Context<'_>) -> Result<Poll<F::Output>, Panicked> {
    Panics::Catch.run(|| attempt.poll_call(cx))
}

impl<S, Req, P> Future for FallbackFuture<S, Req, P>
where
    S: Service<Req>,
    S::Error: 'static,
    P: Protocol,
    P::Judge: Judge<S::Response>,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Copy: CopyRequest<Req>,
    P::Keep: KeepAnswer<S::Response>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Passing { mut attempt, layer, context } => {
                    let polled = attempt.as_mut().poll_call(cx);
                    if polled.is_ready() {
                        attempt.pass_on_reports();
                        return polled;
                    }
                    let elapsed = ready!(attempt.poll_limit(cx));
                    let Some(context) = context.take() else { polled_again("FallbackFuture") };
                    let late = elapsed.rejection(layer.chain.name().clone());
                    return Poll::Ready(layer.protocol.reject().reject(context, late));
                }
                StateProj::AfterPrimary { after_primary } => return after_primary.as_mut().poll(cx),
                StateProj::ForcedFirst { forced_first: slot } => {
                    let Some(forced_first) = slot else { polled_again("FallbackFuture") };
                    let answer = ready!(forced_first.poll(cx));
                    let Some(forced_first) = slot.take() else { polled_again("FallbackFuture") };
                    if let Some(answer) = answer {
                        return Poll::Ready(Ok(answer));
                    }
                    let ForcedFirst { primary, request, mut request_state, .. } = *forced_first;
                    let scope = request_state.remaining_scope();
                    let begin = || request_state.frame.call(|| EagerCall::when_ready(primary, request));
                    let attempt = Attempt::start(scope, begin);
                    State::Primary { attempt, request_state: Some(request_state) }
                }
                StateProj::Primary { mut attempt, request_state: slot } => {
                    let Some(request_state) = slot else { polled_again("FallbackFuture") };
                    if let Some(scope) = request_state.scope_at_first_poll() {
                        attempt.as_mut().narrow(&scope);
                    }
                    request_state.frame.listen();
                    let mut polled = match request_state.layer.chain.shared().panics {
                        Panics::Propagate => attempt.as_mut().poll_call(cx),
                        Panics::Catch => match poll_caught(attempt.as_mut(), cx) {
                            Ok(polled) => polled,
                            Err(panicked) => {
                                let failure = request_state.panicked(panicked);
                                let Some(request_state) = slot.take() else { polled_again("FallbackFuture") };
                                let next = State::after_primary(request_state, failure, attempt.take_reports());
                                state.set(next);
                                continue;
                            }
                        },
                    };
                    let elapsed = match &polled {
                        Poll::Ready(_) => None,
                        Poll::Pending => {
                            request_state.start_clock();
                            let Poll::Ready(elapsed) = attempt.as_mut().poll_limit(cx) else {
                                request_state.frame.waits();
                                return Poll::Pending;
                            };
                            if let Some(too_slow) = request_state.slow_upload_rejection() {
                                // No other provider could be faster.
                                let Some(RequestState { layer, context, .. }) = slot.take() else {
                                    polled_again("FallbackFuture")
                                };
                                return Poll::Ready(layer.protocol.reject().reject(context, too_slow));
                            }
                            Some(elapsed)
                        }
                    };
                    let is_unprocessed = request_state.frame.ended();
                    let miss = match (&mut polled, elapsed) {
                        (Poll::Ready(result), _) => request_state.judge_result(result),
                        (Poll::Pending, elapsed) => elapsed.map(|_elapsed| Miss::TIMED_OUT),
                    };
                    if miss.is_none() && request_state.is_final(&polled) {
                        request_state.record_answer();
                        attempt.pass_on_reports();
                        request_state.frame.pass_on();
                        // Not moved, because moving a response costs more than everything else here.
                        return polled;
                    }
                    // Taken only now, because it is large.
                    let Some(request_state) = slot.take() else { polled_again("FallbackFuture") };
                    let result = match polled {
                        Poll::Ready(result) => Some(result),
                        Poll::Pending => None,
                    };
                    match (result, miss, request_state.wait_for_body()) {
                        (result, Some(mut miss), _) => {
                            miss.outcome = miss.outcome.or_unprocessed(is_unprocessed);
                            let failure = PrimaryFailure { result, miss, error: elapsed.map(late) };
                            State::after_primary(request_state, failure, attempt.take_reports())
                        }
                        (Some(Ok(answer)), None, Some(wait_for_body)) => {
                            let attempt = Attempt::start(attempt.take_scope(), || wait_for_body(answer));
                            State::AwaitingBody { attempt, request_state: Some(request_state) }
                        }
                        (Some(result), None, _) => return Poll::Ready(result),
                        // Impossible: without a result, the miss is a timeout.
                        (None, None, _) => polled_again("FallbackFuture"),
                    }
                }
                StateProj::AwaitingBody { mut attempt, request_state: slot } => {
                    let Some(request_state) = slot else { polled_again("FallbackFuture") };
                    let polled = request_state.layer.chain.shared().panics.run(|| attempt.as_mut().poll(cx));
                    let result = match polled {
                        Ok(Poll::Ready(result)) => request_state.judge_body(result),
                        Ok(Poll::Pending) => {
                            request_state.start_clock();
                            return Poll::Pending;
                        }
                        Err(panicked) => Err(request_state.panicked(panicked)),
                    };
                    let Some(request_state) = slot.take() else { polled_again("FallbackFuture") };
                    match result {
                        Ok(answer) => {
                            request_state.record_answer();
                            attempt.pass_on_reports();
                            return Poll::Ready(Ok(answer));
                        }
                        Err(failure) => State::after_primary(request_state, failure, attempt.take_reports()),
                    }
                }
            };
            // Drops the primary's call, if it is still there, before another provider is asked.
            state.set(next);
        }
    }
}

impl<S, Req, P> fmt::Debug for FallbackFuture<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Copy: CopyRequest<Req>,
    P::Keep: KeepAnswer<S::Response>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Passing { .. } => "passing",
            State::ForcedFirst { .. } => "forced provider",
            State::Primary { .. } => "primary",
            State::AwaitingBody { .. } => "awaiting the body",
            State::AfterPrimary { .. } => "after the primary",
        };
        f.debug_struct("FallbackFuture").field("state", &state).finish_non_exhaustive()
    }
}
