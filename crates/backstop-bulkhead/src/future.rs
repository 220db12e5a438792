//! The response future.
//!
//! | from | on | to |
//! |---|---|---|
//! | – | there is room, and the inner service is ready | admitted, and called |
//! | – | else | asking, as soon as it is polled |
//! | asking | there is room | admitted |
//! | asking | there is no room, but in line | waiting |
//! | asking | there is none in line either, or the request's deadline has passed | rejected |
//! | waiting | it is its turn | admitted |
//! | waiting | it has waited for too long, or the request's deadline has passed | rejected |
//! | admitted | the inner service is ready, and then answers | answered: the permit goes with the response, or back |

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{Reject, ServiceCall, scope};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use crate::{
    Until, UntilBodyEnd,
    held::{Entry, InLine, Permit, Place},
    layer::Shared,
    telemetry::Refusal,
};

pin_project! {
    /// The response future of [`Bulkhead`](crate::Bulkhead).
    ///
    /// Where it has no permit from the start, it asks for that, or for a place in line, when it is first polled.
    ///
    /// # Cancellation
    /// Dropping it gives up its place in line, or drops the call and gives its permit back, and the next in line comes
    /// in.
    #[must_use = "futures do nothing unless polled"]
    pub struct BulkheadFuture<S, Req, J, O = UntilBodyEnd>
    where
        S: Service<Req>,
        J: Reject<Req, S::Response, S::Error>,
    {
        // Never polled without a permit, and dropped before the permit is given back.
        #[pin]
        call: ServiceCall<S, Req>,
        state: State<J>,
        // `None` once it was given to the strategy.
        context: Option<J::Context>,
        until: PhantomData<fn() -> O>,
    }
}

/// Each is `None` once it has gone over to the next.
enum State<J> {
    Asking(Option<Arc<Shared<J>>>),
    // Boxed, for those who don't wait.
    Waiting(Pin<Box<Waiting<J>>>),
    Admitted(Option<Permit<J>>),
}

impl<S, Req, J, O> BulkheadFuture<S, Req, J, O>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
{
    /// A call that was made, with its permit.
    pub(crate) const fn admitted(call: S::Future, permit: Permit<J>) -> Self {
        let state = State::Admitted(Some(permit));
        Self { call: ServiceCall::called(call), state, context: None, until: PhantomData }
    }

    /// A call that has yet to ask for its permit.
    pub(crate) fn asking(service: S, request: Req, shared: Arc<Shared<J>>) -> Self {
        let context = Some(shared.reject.context(&request));
        let call = ServiceCall::when_ready(service, request);
        Self { call, state: State::Asking(Some(shared)), context, until: PhantomData }
    }
}

impl<S, Req, J, O> Future for BulkheadFuture<S, Req, J, O>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
    O: Until<S::Response>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let admitted = match this.state {
                State::Admitted(permit) => {
                    // Changed where it is: moving a response costs more than all the rest.
                    let mut polled = this.call.as_mut().poll(cx);
                    if let Poll::Ready(result) = &mut polled
                        && let (Some(permit), Ok(response)) = (permit.take(), result)
                    {
                        O::hand_over(permit, response);
                    }
                    return polled;
                }
                State::Asking(shared) => {
                    let Some(shared) = shared.take() else {
                        return Poll::Pending;
                    };
                    match Entry::ask(shared, cx.waker()) {
                        Entry::Admitted(permit) => Ok(permit),
                        Entry::Queued(place) => {
                            *this.state = State::Waiting(Box::pin(Waiting::new(place)));
                            continue;
                        }
                        Entry::Full(shared) => Err((shared, Refusal::Full)),
                    }
                }
                State::Waiting(waiting) => ready!(waiting.as_mut().poll(cx)),
            };
            match admitted {
                Ok(permit) => *this.state = State::Admitted(Some(permit)),
                Err((shared, refusal)) => {
                    *this.state = State::Asking(None);
                    let Some(context) = this.context.take() else {
                        return Poll::Pending;
                    };
                    return Poll::Ready(shared.reject.reject(context, shared.room.refuse(refusal)));
                }
            }
        }
    }
}

impl<S, Req, J, O> fmt::Debug for BulkheadFuture<S, Req, J, O>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Asking(_) => "asking",
            State::Waiting(_) => "waiting",
            State::Admitted(_) => "admitted",
        };
        f.debug_struct("BulkheadFuture").field("state", &state).field("call", &self.call).finish_non_exhaustive()
    }
}

pin_project! {
    /// A call that waits in line, for so long and no longer.
    struct Waiting<J> {
        place: Place<J>,
        limit: Instant,
        refusal: Refusal,
        // Until the limit, or until a permit expires that it must look after.
        #[pin]
        timer: Sleep,
    }
}

impl<J> Waiting<J> {
    fn new(place: Place<J>) -> Self {
        let limit = Instant::now() + place.shared().room.max_wait();
        let (limit, refusal) = match scope::deadline() {
            Some(deadline) if deadline.instant() <= limit => (deadline.instant(), Refusal::Deadline(deadline.set_by())),
            _ => (limit, Refusal::Waited),
        };
        Self { place, limit, refusal, timer: sleep_until(limit) }
    }
}

impl<J> Future for Waiting<J> {
    type Output = Result<Permit<J>, (Arc<Shared<J>>, Refusal)>;

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
                return Poll::Ready(Err((Arc::clone(this.place.shared()), *this.refusal)));
            }
        }
    }
}
