//! The response body that a breaker watches.

use std::{
    num::NonZero,
    pin::Pin,
    task::{Context, Poll},
};

use backstop_core::{Classify, ErrorRef, Outcome, Verdict, grpc, judge_error};
use backstop_kit::WrapBody;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::{call_guard::CallGuard, failure::Failure, layer_state::CircuitRef, state::Nanos};

/// A body with the permit of its call. Frames, size hint, end and errors are the inner body's.
///
/// # Cancellation
/// Dropping it before its end drops the call, as dropping the response future does.
pub(crate) struct WatchedBody<B, C, J, L: CircuitRef<C, J>> {
    inner: B,
    /// `None` once the call has ended.
    guard: Option<CallGuard<C, J, L>>,
    /// gRPC's status comes in the trailers, and without one the call has failed.
    status_to_come: bool,
    /// When the body was first pending.
    pending_first: Option<NonZero<Nanos>>,
}

impl<B, C, J, L: CircuitRef<C, J>> WatchedBody<B, C, J, L> {
    pub(crate) const fn new(inner: B, guard: CallGuard<C, J, L>, status_to_come: bool) -> Self {
        Self { inner, guard: Some(guard), status_to_come, pending_first: None }
    }
}

impl<B, C, J, L> Body for WatchedBody<B, C, J, L>
where
    B: WrapBody,
    C: Classify<http::Response<B>>,
    L: CircuitRef<C, J>,
    // Whoever asks for `Unpin` of the body asks it of these, which are never pinned.
    Self: Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Self { inner, guard, status_to_come, pending_first } = self.get_mut();
        let Some(call) = guard else {
            return Pin::new(inner).poll_frame(cx);
        };
        let polled = call.run(|| Pin::new(&mut *inner).poll_frame(cx));
        let (outcome, failure) = match &polled {
            Poll::Pending => {
                call.wait_for_body(pending_first);
                return Poll::Pending;
            }
            Poll::Ready(Some(Err(error))) => {
                let error = ErrorRef::new(error);
                (broken(judge_error(call.circuit().classify(), error)), Failure::Body(error))
            }
            Poll::Ready(Some(Ok(frame))) => match frame.trailers_ref() {
                Some(trailers) if *status_to_come => judge(call.circuit().classify(), trailers),
                Some(_) => (Outcome::success(), Failure::Slow),
                // Who knows that by this frame may not ask again.
                None if inner.is_end_stream() => ended(*status_to_come),
                None => {
                    call.has_got_on();
                    return polled;
                }
            },
            Poll::Ready(None) => ended(*status_to_come),
        };
        call.finish(outcome, failure);
        *guard = None;
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An error that says nothing of the service leaves the head to count: how the body would have ended, nobody will learn.
fn broken(outcome: Outcome) -> Outcome {
    if outcome.verdict == Verdict::Neutral { Outcome::success() } else { outcome }
}

const fn ended(status_to_come: bool) -> (Outcome, Failure<'static>) {
    (if status_to_come { Outcome::failure() } else { Outcome::success() }, Failure::NoStatus)
}

/// What trailers tell that must tell a status.
fn judge<B, C>(classify: &C, trailers: &HeaderMap) -> (Outcome, Failure<'static>)
where
    B: Default,
    C: Classify<http::Response<B>>,
{
    match grpc::trailers_only(trailers.clone()) {
        None => (Outcome::failure(), Failure::NoStatus),
        Some(answer) => (classify.classify(Ok(&answer)), Failure::Trailers(classify.reason(Ok(&answer)))),
    }
}
