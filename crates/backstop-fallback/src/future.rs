//! The response future.
//!
//! | in | on | goes to |
//! |---|---|---|
//! | detour (a forced provider) | its answer | the end |
//! | detour (a forced provider) | anything else | primary |
//! | primary | an answer, of whose body nothing is waited for | the end |
//! | primary | an answer otherwise | committing |
//! | primary | a failure, or its share of the time is up | rest |
//! | committing | enough of the body, and a gRPC status that is good where it came | the end |
//! | committing | a failure, or the primary's share of the time is up | rest |
//! | rest | a provider's answer | the end |
//! | rest | no provider left | the end: what the primary gave, or a rejection |
//! | passing (an upgrade) | the primary's answer, whatever it is | the end |
//! | passing (an upgrade) | the total is up | the end: a rejection |

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{Degradation, Limit, Scope, SetBy};
use backstop_kit::{
    Attempt, CopyRequest, EagerCall, Judge, KeepAnswer, Protocol, Reject, polled_again,
    proof::{Frame, PassThrough},
};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    commit::Committing,
    detour::Detour,
    layer::Policy,
    rest::Rest,
    spare::{ContextOf, Failure, Spare, TIMED_OUT},
    telemetry::{self, Called},
};

pin_project! {
    /// The response future of [`Fallback`](crate::Fallback).
    ///
    /// # Cancellation
    /// Dropping it drops the primary's call, or the provider's that is running, and gives back what they held.
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
            policy: PolicyOf<S, Req, P>,
            // Taken when the rejection is made.
            context: Option<ContextOf<S, Req, P>>,
        },
        // Boxed: it is rare, and large. Taken when the primary is asked.
        Detour { detour: Option<Box<Detour<S, Req, P>>> },
        Primary {
            #[pin]
            attempt: Attempt<EagerCall<S, Req>>,
            // Taken when the primary fails.
            spare: Option<Spare<S, Req, P>>,
        },
        Committing {
            #[pin]
            attempt: Attempt<Committing<S::Response>>,
            // Taken in the end.
            spare: Option<Spare<S, Req, P>>,
        },
        // Boxed, for the same.
        Rest { rest: Pin<Box<Rest<S, Req, P>>> },
    }
}

/// What the layer was told, as the future of a service `S` sees it.
pub(crate) type PolicyOf<S, Req, P> = Arc<Policy<Req, <S as Service<Req>>::Response, P>>;

impl<S, Req, P> FallbackFuture<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Copy: CopyRequest<Req>,
    P::Keep: KeepAnswer<S::Response>,
{
    #[inline]
    pub(crate) fn new(policy: &PolicyOf<S, Req, P>, primary: &mut S, is_ready: bool, mut request: Req) -> Self
    where
        S: Clone,
    {
        let Policy { protocol, chain, .. } = &**policy;
        let (copy, reject) = (protocol.copy(), protocol.reject());
        let mut facts;
        let kept = match chain.shared().needs {
            Some(keep) => {
                facts = copy.glance(&request);
                Some(copy.keep_and_note(&mut request, keep, &mut facts))
            }
            None => {
                facts = copy.facts(&request);
                None
            }
        };
        facts = chain.shared().narrowed(facts, &request);
        let context = reject.context(&request);
        if reject.is_grpc(&context) {
            facts = facts.grpc();
        }
        if facts.is_upgrade() {
            telemetry::passed_by(chain.name());
            let mut scope = Scope::limited(Limit::new(chain.shared().total, SetBy::Us));
            let call = {
                let _entered = scope.entered();
                let _pass = PassThrough::begin();
                EagerCall::begin(primary, is_ready, request)
            };
            let attempt = Attempt::begun(call, scope);
            return Self { state: State::Passing { attempt, policy: Arc::clone(policy), context: Some(context) } };
        }
        // After the request was kept, which watches its body as well.
        let upload = reject.watch(&mut request);
        let mut spare = Spare {
            policy: Arc::clone(policy),
            called: Called::now(),
            started: None,
            around: None,
            facts,
            frame: Frame::open(),
            kept,
            context,
            upload,
        };
        if let Some(provider) = spare.draw() {
            // One that is ready holds what others may need meanwhile.
            let later = primary.clone();
            *primary = later.clone();
            return Self {
                state: State::Detour { detour: Some(Box::new(Detour::new(provider, later, request, spare))) },
            };
        }
        let mut scope = spare.scope();
        let call = {
            let _entered = scope.entered();
            let _calling = spare.frame.calling();
            EagerCall::begin(primary, is_ready, request)
        };
        Self { state: State::Primary { attempt: Attempt::begun(call, scope), spare: Some(spare) } }
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
    fn rest(spare: Spare<S, Req, P>, failure: Failure<S, Req>, reports: Vec<Degradation>) -> Self
    where
        S::Error: 'static,
        P: Protocol,
        P::Judge: Judge<S::Response>,
    {
        Self::Rest { rest: Box::pin(Rest::new(spare, failure, reports)) }
    }
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
                StateProj::Passing { mut attempt, policy, context } => {
                    let polled = attempt.as_mut().poll_call(cx);
                    if polled.is_ready() {
                        attempt.commit();
                        return polled;
                    }
                    let elapsed = ready!(attempt.poll_limit(cx));
                    let Some(context) = context.take() else { polled_again("FallbackFuture") };
                    let late = elapsed.rejection(policy.chain.name().clone());
                    return Poll::Ready(policy.protocol.reject().reject(context, late));
                }
                StateProj::Rest { rest } => return rest.as_mut().poll(cx),
                StateProj::Detour { detour: slot } => {
                    let Some(detour) = slot else { polled_again("FallbackFuture") };
                    let answer = ready!(detour.poll(cx));
                    let Some(detour) = slot.take() else { polled_again("FallbackFuture") };
                    if let Some(answer) = answer {
                        return Poll::Ready(Ok(answer));
                    }
                    let Detour { primary, request, mut spare, .. } = *detour;
                    let scope = spare.scope_of_the_rest();
                    let begin = || spare.frame.call(|| EagerCall::when_ready(primary, request));
                    let attempt = Attempt::start(scope, begin);
                    State::Primary { attempt, spare: Some(spare) }
                }
                StateProj::Primary { mut attempt, spare: slot } => {
                    let Some(spare) = slot else { polled_again("FallbackFuture") };
                    if let Some(scope) = spare.scope_at_first_poll() {
                        attempt.as_mut().narrow(&scope);
                    }
                    spare.frame.listen();
                    let mut polled = attempt.as_mut().poll_call(cx);
                    let elapsed = match &polled {
                        Poll::Ready(_) => None,
                        Poll::Pending => {
                            spare.start();
                            let Poll::Ready(elapsed) = attempt.as_mut().poll_limit(cx) else {
                                spare.frame.waits();
                                return Poll::Pending;
                            };
                            if let Some(too_slow) = spare.too_slow() {
                                // No provider could be faster.
                                let Some(Spare { policy, context, .. }) = slot.take() else {
                                    polled_again("FallbackFuture")
                                };
                                return Poll::Ready(policy.protocol.reject().reject(context, too_slow));
                            }
                            Some(elapsed)
                        }
                    };
                    let is_unprocessed = spare.frame.ended();
                    let why_not = match (&mut polled, elapsed) {
                        (Poll::Ready(result), _) => spare.why_not(result),
                        (Poll::Pending, elapsed) => elapsed.map(|_elapsed| TIMED_OUT),
                    };
                    if why_not.is_none() && spare.is_final(&polled) {
                        spare.tell();
                        attempt.commit();
                        spare.frame.pass_on();
                        // As it is: moving a response costs more than all the rest.
                        return polled;
                    }
                    // Taken only here: it is large.
                    let Some(spare) = slot.take() else { polled_again("FallbackFuture") };
                    let result = match polled {
                        Poll::Ready(result) => Some(result),
                        Poll::Pending => None,
                    };
                    match (result, why_not, spare.committer()) {
                        (result, Some((reason, outcome)), _) => {
                            let outcome = outcome.or_unprocessed(is_unprocessed);
                            let failure = Failure { result, reason, outcome };
                            State::rest(spare, failure, attempt.take_reports())
                        }
                        (Some(Ok(answer)), None, Some(committer)) => {
                            let attempt = Attempt::start(attempt.take_scope(), || committer(answer));
                            State::Committing { attempt, spare: Some(spare) }
                        }
                        (Some(result), None, _) => return Poll::Ready(result),
                        // Without a result there is a reason.
                        (None, None, _) => polled_again("FallbackFuture"),
                    }
                }
                StateProj::Committing { mut attempt, spare: slot } => {
                    let Some(spare) = slot else { polled_again("FallbackFuture") };
                    let Poll::Ready(result) = attempt.as_mut().poll(cx) else {
                        spare.start();
                        return Poll::Pending;
                    };
                    let Some(spare) = slot.take() else { polled_again("FallbackFuture") };
                    match spare.committed(result) {
                        Ok(answer) => {
                            spare.tell();
                            attempt.commit();
                            return Poll::Ready(Ok(answer));
                        }
                        Err(failure) => State::rest(spare, failure, attempt.take_reports()),
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
            State::Detour { .. } => "detour",
            State::Primary { .. } => "primary",
            State::Committing { .. } => "committing",
            State::Rest { .. } => "rest",
        };
        f.debug_struct("FallbackFuture").field("state", &state).finish_non_exhaustive()
    }
}
