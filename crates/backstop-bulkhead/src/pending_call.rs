//! A call that waits for its permit, or for the inner service.
//!
//! Not a [`ServiceCall`](backstop_kit::ServiceCall), because it gets a permit before it makes the service ready: a call in
//! line must not hold what a ready service has reserved.
//!
//! | from | on | to |
//! |---|---|---|
//! | – | it is first polled | asking |
//! | asking | there is room | admitted |
//! | asking | there is no permit, but a place in line | waiting |
//! | asking | the line is full, or the request's deadline has passed | rejected |
//! | waiting | it is its turn | admitted |
//! | waiting | `max_wait` or the request's deadline has passed | rejected |
//! | admitted | the inner service is ready | called |

use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::scope;
use backstop_kit::{
    Reject, polled_again,
    proof::{Entered, IsBelieved},
};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use crate::{
    layer_state::LayerState,
    permit::{Acquire, Permit, Waiter, WaiterState},
    telemetry::Refusal,
};

pin_project! {
    /// Gets a permit, then makes the service ready, and calls it.
    pub(crate) struct PendingCall<S, Req, R, X> {
        service: S,
        // `None` once the service was called.
        request: Option<Req>,
        // `None` once the call was rejected.
        context: Option<X>,
        state: Arc<LayerState<R>>,
        entered: Entered,
        #[pin]
        waiting: Option<Waiting>,
        // The last field, so that it is given back after everything else was dropped.
        permit: Permit,
    }
}

impl<S, Req, R, X> PendingCall<S, Req, R, X> {
    pub(crate) fn new(service: S, request: Req, context: X, state: Arc<LayerState<R>>) -> Self {
        Self {
            service,
            request: Some(request),
            context: Some(context),
            state,
            entered: Entered::now(),
            waiting: None,
            permit: Permit::NONE,
        }
    }

    pub(crate) const fn state(&self) -> &'static str {
        match (&self.waiting, self.permit.is_held()) {
            (_, true) => "admitted",
            (Some(_), false) => "waiting",
            (None, false) => "asking",
        }
    }

    fn poll_admitted(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        let mut this = self.project();
        if this.permit.is_held() {
            return Poll::Ready(Ok(()));
        }
        let admitted = loop {
            if let Some(waiting) = this.waiting.as_mut().as_pin_mut() {
                break ready!(waiting.poll(cx));
            }
            match Acquire::ask(&this.state.limiter, cx.waker()) {
                Acquire::Admitted(permit) => break Ok(permit),
                Acquire::Queued(waiter) => this.waiting.set(Some(Waiting::new(waiter))),
                Acquire::Full => break Err(Refusal::Full),
            }
        };
        this.waiting.set(None);
        *this.permit = match admitted {
            Ok(permit) => permit,
            Err(refusal) => return Poll::Ready(Err(refusal)),
        };
        Poll::Ready(Ok(()))
    }
}

impl<S, Req, R> Future for PendingCall<S, Req, R, R::Context>
where
    S: Service<Req>,
    R: Reject<Req, S::Response, S::Error>,
{
    /// The call with its permit, or the answer if the inner service wasn't called.
    type Output = Result<(S::Future, Permit, IsBelieved), Result<S::Response, S::Error>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.as_mut().project().entered.polled();
        let admitted = ready!(self.as_mut().poll_admitted(cx));
        let this = self.project();
        if let Err(refusal) = admitted {
            let Some(context) = this.context.take() else { polled_again("BulkheadFuture") };
            let answer = this.state.reject.reject(context, this.state.limiter.refuse(refusal));
            this.entered.prove();
            return Poll::Ready(Err(answer));
        }
        if let Err(error) = ready!(this.service.poll_ready(cx)) {
            this.entered.prove();
            return Poll::Ready(Err(Err(error)));
        }
        let Some(request) = this.request.take() else { polled_again("BulkheadFuture") };
        let (call, believed) = this.entered.call(|| this.service.call(request));
        Poll::Ready(Ok((call, mem::take(this.permit), believed)))
    }
}

pin_project! {
    /// A call that waits in line, with a limit.
    struct Waiting {
        waiter: Waiter,
        limit: Instant,
        refusal: Refusal,
        // Fires at the limit, or when the next permit expires.
        #[pin]
        timer: Sleep,
    }
}

impl Waiting {
    fn new(waiter: Waiter) -> Self {
        let limit = Instant::now() + waiter.limiter().max_wait();
        let (limit, refusal) = match scope::deadline() {
            Some(deadline) if deadline.instant() <= limit => (deadline.instant(), Refusal::Deadline(deadline.set_by())),
            _ => (limit, Refusal::Waited),
        };
        Self { waiter, limit, refusal, timer: sleep_until(limit) }
    }
}

impl Future for Waiting {
    type Output = Result<Permit, Refusal>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let look_again = match this.waiter.poll(cx.waker()) {
                WaiterState::Admitted(permit) => return Poll::Ready(Ok(permit)),
                WaiterState::Waiting { look_again } => look_again.map_or(*this.limit, |at| at.min(*this.limit)),
            };
            if this.timer.deadline() != look_again {
                this.timer.as_mut().reset(look_again);
            }
            ready!(this.timer.as_mut().poll(cx));
            if Instant::now() >= *this.limit {
                return Poll::Ready(Err(*this.refusal));
            }
        }
    }
}
