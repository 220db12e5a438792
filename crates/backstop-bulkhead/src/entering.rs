//! How a call comes in that wasn't made at once.
//!
//! | from | on | to |
//! |---|---|---|
//! | – | it is first polled | asking |
//! | asking | there is room | admitted |
//! | asking | there is no room, but in line | waiting |
//! | asking | there is none in line either, or the request's deadline has passed | rejected |
//! | waiting | it is its turn | admitted |
//! | waiting | it has waited for too long, or the request's deadline has passed | rejected |
//! | admitted | the inner service is ready | called |

use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{
    Reject, polled_again,
    proof::{Entered, IsBelieved},
    scope,
};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use crate::{
    held::{Entry, InLine, Permit, Place},
    layer::Shared,
    telemetry::Refusal,
};

pin_project! {
    /// Gets a permit, then makes the service ready, and calls it.
    pub(crate) struct Entering<S, Req, J, C> {
        service: S,
        // `None` once the service was called with it.
        request: Option<Req>,
        // `None` once it was given to the strategy.
        context: Option<C>,
        shared: Arc<Shared<J>>,
        entered: Entered,
        #[pin]
        waiting: Option<Waiting>,
        // Given back after all else is gone.
        permit: Permit,
    }
}

impl<S, Req, J, C> Entering<S, Req, J, C> {
    pub(crate) fn new(service: S, request: Req, context: C, shared: Arc<Shared<J>>) -> Self {
        Self {
            service,
            request: Some(request),
            context: Some(context),
            shared,
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
            match Entry::ask(&this.shared.room, cx.waker()) {
                Entry::Admitted(permit) => break Ok(permit),
                Entry::Queued(place) => this.waiting.set(Some(Waiting::new(place))),
                Entry::Full => break Err(Refusal::Full),
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

impl<S, Req, J> Future for Entering<S, Req, J, J::Context>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
{
    /// The call with its permit, or what there is to answer instead: then the inner service wasn't called.
    type Output = Result<(S::Future, Permit, IsBelieved), Result<S::Response, S::Error>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.as_mut().project().entered.polled();
        let admitted = ready!(self.as_mut().poll_admitted(cx));
        let this = self.project();
        if let Err(refusal) = admitted {
            let Some(context) = this.context.take() else { polled_again("BulkheadFuture") };
            let answer = this.shared.reject.reject(context, this.shared.room.refuse(refusal));
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
    /// A call that waits in line, for so long and no longer.
    struct Waiting {
        place: Place,
        limit: Instant,
        refusal: Refusal,
        // Until the limit, or until a permit expires that it must look after.
        #[pin]
        timer: Sleep,
    }
}

impl Waiting {
    fn new(place: Place) -> Self {
        let limit = Instant::now() + place.room().max_wait();
        let (limit, refusal) = match scope::deadline() {
            Some(deadline) if deadline.instant() <= limit => (deadline.instant(), Refusal::Deadline(deadline.set_by())),
            _ => (limit, Refusal::Waited),
        };
        Self { place, limit, refusal, timer: sleep_until(limit) }
    }
}

impl Future for Waiting {
    type Output = Result<Permit, Refusal>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let look_again = match this.place.poll(cx.waker()) {
                InLine::Admitted(permit) => return Poll::Ready(Ok(permit)),
                InLine::Waiting { look_again } => look_again.map_or(*this.limit, |at| at.min(*this.limit)),
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
