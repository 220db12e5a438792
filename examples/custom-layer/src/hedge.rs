//! Hedged requests: one that takes long is sent a second time, and the first good answer wins.
//!
//! | calls that run | on | what follows |
//! |---|---|---|
//! | the primary | it ends, well or badly | its answer |
//! | the primary | the delay passes, and the request can be sent again | both |
//! | both | one answers well | its answer; the other call is dropped as replaced |
//! | both | the primary fails | the hedge, with the primary's failure kept |
//! | both | the hedge fails | the primary |
//! | the hedge | it answers well | its answer |
//! | the hedge | it fails, or the deadline passes | the primary's failure |

use std::task::{Context, Poll, ready};
use std::{pin::Pin, sync::Arc, time::Duration};

use backstop_core::scope::{self, EndedBy};
use backstop_core::{Degradation, ErrorRef, Scope};
use backstop_kit::{
    Attempt, EagerCall, Http, Judge, JudgeRequest, Protocol, Readiness, RetryBudget, Timer, polled_again, proof::Frame,
};
use backstop_kit::{CopyAs, CopyRequest, Keep, KeptRequest, NotCopied, ReplayState, RequestFacts};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

/// Sends a request that may be sent twice a second time, if its answer takes longer than a delay.
#[derive(Clone)]
pub struct HedgeLayer<P = Http>(Arc<Policy<P>>);

/// The service that [`HedgeLayer`] makes.
#[derive(Clone)]
pub struct Hedge<S, P = Http> {
    inner: S,
    policy: Arc<Policy<P>>,
}

struct Policy<P> {
    delay: Duration,
    budget: RetryBudget,
    protocol: P,
    observe: Box<dyn Fn(HedgeEvent) + Send + Sync>,
}

/// What is done when the delay has passed, and later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeEvent {
    /// The request is sent a second time.
    Sent,
    /// The second attempt won.
    Won,
    /// No hedge: the deadline has passed.
    NoTimeLeft,
    /// No hedge: the primary is still sending the body, and a copy would take it away.
    StillUploading,
    /// No hedge: the budget is empty.
    BudgetEmpty,
    /// No hedge: there is no copy of the request.
    NotCopied(NotCopied),
}

impl<P> HedgeLayer<P> {
    /// Hedges requests after `delay`. `budget` pays for each hedge, and `observe` sees what is done.
    pub fn new<F>(delay: Duration, budget: RetryBudget, protocol: P, observe: F) -> Self
    where
        F: Fn(HedgeEvent) + Send + Sync + 'static,
    {
        Self(Arc::new(Policy { delay, budget, protocol, observe: Box::new(observe) }))
    }
}

impl<S, P> Layer<S> for HedgeLayer<P> {
    type Service = Hedge<S, P>;

    fn layer(&self, inner: S) -> Hedge<S, P> {
        Hedge { inner, policy: Arc::clone(&self.0) }
    }
}

impl<S, P, Req> Service<Req> for Hedge<S, P>
where
    S: Service<Req, Error: 'static> + Clone,
    P: Protocol<Judge: JudgeRequest<Req> + Judge<S::Response>, Copy: CopyRequest<Req>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = HedgeFuture<S, Req, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let policy = Arc::clone(&self.policy);
        let copy = policy.protocol.copy();
        let mut facts = policy.protocol.judge().facts(&request, copy.facts(&request));
        let keep = if facts.may_be_repeated() { Keep::Whole } else { Keep::Nothing };
        let spare = copy.keep(&mut request, &mut facts, keep).map(|kept| {
            policy.budget.deposit();
            // The service that is ready is called now. The hedge waits until the clone is ready.
            (self.inner.clone(), kept)
        });
        let mut frame = Frame::open();
        let call = || frame.call(|| EagerCall::begin(&mut self.inner, Readiness::Ready, request));
        let primary = Some(Attempt::start(Scope::new(), call));
        HedgeFuture { primary, hedge: None, failure: None, spare, timer: Timer::new(), due: None, frame, facts, policy }
    }
}

type Given<S, Req> = Result<<S as Service<Req>>::Response, <S as Service<Req>>::Error>;
type KeptBy<P, Req> = <<P as Protocol>::Copy as CopyRequest<Req>>::Kept;

pin_project! {
    /// The future of [`Hedge`]. Dropping it drops both calls.
    pub struct HedgeFuture<S, Req, P> where S: Service<Req>, P: Protocol, P::Copy: CopyRequest<Req> {
        #[pin] primary: Option<Attempt<EagerCall<S, Req>>>,
        #[pin] hedge: Option<Attempt<EagerCall<S, Req>>>,
        // The primary's, with what was reported on the way.
        failure: Option<(Given<S, Req>, Vec<Degradation>)>,
        // What the hedge is made of.
        spare: Option<(S, KeptBy<P, Req>)>,
        timer: Timer,
        due: Option<Instant>,
        frame: Frame,
        facts: RequestFacts,
        policy: Arc<Policy<P>>,
    }
}

impl<S, Req, P> Future for HedgeFuture<S, Req, P>
where
    S: Service<Req, Error: 'static> + Clone,
    P: Protocol<Judge: Judge<S::Response>, Copy: CopyRequest<Req>>,
{
    type Output = Given<S, Req>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(mut primary) = this.primary.as_mut().as_pin_mut() {
            this.frame.listen();
            if let Poll::Ready(mut result) = primary.as_mut().poll_call(cx) {
                this.frame.ended();
                if this.hedge.is_none() || this.policy.is_good(*this.facts, &mut result) {
                    primary.pass_on_reports();
                    this.primary.set(None);
                    scope::end(EndedBy::Replaced, || this.hedge.set(None));
                    this.frame.pass_on();
                    return Poll::Ready(result);
                }
                *this.failure = Some((result, primary.take_reports()));
                this.primary.set(None);
            } else {
                this.frame.waits();
            }
        } else if this.hedge.is_none() {
            polled_again("HedgeFuture");
        }

        let due = *this.due.get_or_insert_with(|| Instant::now() + this.policy.delay);
        if this.spare.is_some() && this.timer.poll_until(due, cx).is_ready() {
            let made = this.spare.take().map(|(service, kept)| (service, this.policy.pay_and_copy(kept)));
            if let Some((service, Some(request))) = made {
                let call = || this.frame.call_ignoring_proof(|| EagerCall::when_ready(service, request));
                this.hedge.set(Some(Attempt::start(Scope::new(), call)));
            }
        }

        if let Some(mut hedge) = this.hedge.as_mut().as_pin_mut() {
            // With a failure to return instead, the hedge ends at the deadline.
            let polled = match this.failure {
                Some(_) => hedge.as_mut().poll(cx),
                None => hedge.as_mut().poll_call(cx).map(Ok),
            };
            if let Ok(mut result) = ready!(polled)
                && this.policy.is_good(*this.facts, &mut result)
            {
                hedge.pass_on_reports();
                this.hedge.set(None);
                scope::end(EndedBy::Replaced, || this.primary.set(None));
                (this.policy.observe)(HedgeEvent::Won);
                return Poll::Ready(result);
            }
            this.hedge.set(None);
            if let Some((result, reports)) = this.failure.take() {
                scope::pass_on(reports);
                return Poll::Ready(result);
            }
        }
        Poll::Pending
    }
}

impl<P: Protocol> Policy<P> {
    fn is_good<Res, E: 'static>(&self, facts: RequestFacts, result: &mut Result<Res, E>) -> bool
    where
        P::Judge: Judge<Res>,
    {
        self.protocol.judge().outcome(facts, result.as_mut().map_err(|error| ErrorRef::new(error))).answers()
    }

    /// The hedge's request, if there is time for it, the budget pays, and the request can be copied.
    fn pay_and_copy<Req>(&self, mut kept: KeptBy<P, Req>) -> Option<Req>
    where
        P::Copy: CopyRequest<Req>,
    {
        let made = if scope::passed().is_some() {
            Err(HedgeEvent::NoTimeLeft)
        } else if kept.replay_state() == ReplayState::Partly {
            Err(HedgeEvent::StillUploading)
        } else if !self.budget.withdraw() {
            Err(HedgeEvent::BudgetEmpty)
        } else {
            kept.copy(CopyAs::Same).map_err(|why| {
                self.budget.give_back();
                HedgeEvent::NotCopied(why)
            })
        };
        (self.observe)(made.as_ref().err().copied().unwrap_or(HedgeEvent::Sent));
        made.ok()
    }
}
