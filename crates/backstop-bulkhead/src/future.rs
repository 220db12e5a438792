//! The response future.
//!
//! | from | on | to |
//! |---|---|---|
//! | – | there is room, and the inner service is ready | called, with a permit |
//! | – | otherwise | pending, once it is polled |
//! | pending | it has a permit, and the inner service is ready | called |
//! | pending | there is no room, the wait is over, or the inner service fails | answered |
//! | called | the inner service answers | answered: the permit moves into the response body, or is given back |

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_kit::{
    Reject, UntilBodyEnd, polled_again,
    proof::{self, IsBelieved},
};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{Until, layer_state::LayerState, pending_call::PendingCall, permit::Permit};

pin_project! {
    /// The response future of [`Bulkhead`](crate::Bulkhead).
    ///
    /// If the call wasn't made at once, this asks for a permit or a place in line when it is first polled.
    ///
    /// # Cancellation
    /// Dropping it gives up its place in line, or drops the call and then gives its permit back. The next in line gets the
    /// permit.
    ///
    /// # Panics
    /// If it is polled again after it has ended.
    #[must_use = "futures do nothing unless polled"]
    pub struct BulkheadFuture<S, Req, R, U = UntilBodyEnd>
    where
        S: Service<Req>,
        R: Reject<Req, S::Response, S::Error>,
    {
        // `None` until it is made. Dropped before its permit is given back.
        #[pin]
        call: Option<S::Future>,
        // The call's, until it has answered.
        permit: Permit,
        // Boxed, because most calls are made at once and don't need it. `None` for those, and once the call is made, unless
        // its proof can't be passed on.
        pending: Option<Pin<Box<PendingCall<S, Req, R, R::Context>>>>,
        until: PhantomData<fn() -> U>,
    }
}

impl<S, Req, R, U> BulkheadFuture<S, Req, R, U>
where
    S: Service<Req>,
    R: Reject<Req, S::Response, S::Error>,
{
    /// A call that was made, with its permit.
    #[inline]
    pub(crate) const fn called(call: S::Future, permit: Permit) -> Self {
        Self { call: Some(call), permit, pending: None, until: PhantomData }
    }

    /// A call that hasn't asked for its permit.
    pub(crate) fn entering(service: S, request: Req, state: Arc<LayerState<R>>) -> Self {
        let context = state.reject.context(&request);
        let pending = Some(Box::pin(PendingCall::new(service, request, context, state)));
        Self { call: None, permit: Permit::NONE, pending, until: PhantomData }
    }

    /// Polls until the call is made, then polls the call.
    #[cold]
    fn poll_pending_call(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<S::Response, S::Error>> {
        let mut this = self.as_mut().project();
        let Some(pending) = this.pending else { polled_again("BulkheadFuture") };
        let entered = ready!(pending.as_mut().poll(cx));
        let (call, permit, believed) = match entered {
            Ok(entered) => entered,
            Err(answer) => {
                *this.pending = None;
                return Poll::Ready(answer);
            }
        };
        if believed == IsBelieved::Yes {
            *this.pending = None;
        }
        *this.permit = permit;
        this.call.set(Some(call));
        this.call.as_pin_mut().map_or_else(|| polled_again("BulkheadFuture"), |call| call.poll(cx))
    }
}

impl<S, Req, R, U> Future for BulkheadFuture<S, Req, R, U>
where
    S: Service<Req>,
    R: Reject<Req, S::Response, S::Error>,
    U: Until<S::Response>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Changed in place: moving a response costs more than everything else here.
        let mut polled = match self.as_mut().project().call.as_pin_mut() {
            Some(call) => call.poll(cx),
            None => self.as_mut().poll_pending_call(cx),
        };
        if let Poll::Ready(result) = &mut polled {
            let this = self.project();
            let permit = this.permit;
            if this.pending.is_some() {
                proof::withdraw();
            }
            if let Ok(response) = result {
                U::hand_over(permit, response);
            }
            permit.give_back();
        }
        polled
    }
}

impl<S, Req, R, U> fmt::Debug for BulkheadFuture<S, Req, R, U>
where
    S: Service<Req>,
    R: Reject<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (&self.pending, &self.call) {
            (Some(pending), _) => pending.state(),
            (None, Some(_)) => "called",
            (None, None) => "answered",
        };
        f.debug_struct("BulkheadFuture").field("state", &state).finish_non_exhaustive()
    }
}
