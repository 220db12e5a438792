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
//! | any, before it is called | a layer further out [refuses](backstop_kit::queue) it | rejected |

use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_kit::{
    Reject, polled_again,
    proof::{Entered, IsBelieved},
    queue::QueuedCall,
};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{layer_state::LayerState, permit::Permit, permit_request::PermitRequest, telemetry::Refusal};

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
        queued: QueuedCall,
        #[pin]
        permit_request: PermitRequest,
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
            queued: QueuedCall::enter(),
            permit_request: PermitRequest::new(),
            permit: Permit::NONE,
        }
    }

    pub(crate) const fn state(&self) -> &'static str {
        if self.permit.is_held() { "admitted" } else { self.permit_request.state() }
    }

    fn poll_admitted(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        let this = self.project();
        if this.permit.is_held() {
            return Poll::Ready(Ok(()));
        }
        let admitted = ready!(this.permit_request.poll(&this.state.limiter, cx));
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
        let rejection = match self.queued.take_refusal() {
            Some(rejection) => Some(rejection),
            None => ready!(self.as_mut().poll_admitted(cx)).err().map(|refusal| self.state.limiter.refuse(refusal)),
        };
        let this = self.project();
        if let Some(rejection) = rejection {
            let Some(context) = this.context.take() else { polled_again("BulkheadFuture") };
            let answer = this.state.reject.reject(context, rejection);
            this.entered.prove();
            return Poll::Ready(Err(answer));
        }
        if let Err(error) = ready!(this.service.poll_ready(cx)) {
            this.entered.prove();
            return Poll::Ready(Err(Err(error)));
        }
        let Some(request) = this.request.take() else { polled_again("BulkheadFuture") };
        this.queued.leave();
        let (call, believed) = this.entered.call(|| this.service.call(request));
        Poll::Ready(Ok((call, mem::take(this.permit), believed)))
    }
}
