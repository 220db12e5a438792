//! How much of an answer the limit covers: its head, its first frame, or all of it.
//!
//! | | the answer is returned | what the limit then ends | what the caller sees |
//! |---|---|---|---|
//! | [`UntilHeaders`] | with its head | | |
//! | [`UntilFirstFrame`] | with its first frame | the call, with the body | a rejection instead of the answer |
//! | [`UntilBodyEnd`] | with its head | the body | an error of the body, which contains the rejection |

use std::{
    convert::Infallible,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use backstop_core::{Deadline, Name};
use backstop_kit::{
    AbortBody, Call, GuardedBody, ReadAhead, UntilBodyEnd, UntilFirstFrame, UntilHeaders, WrapBody, polled_again,
};
use bytes::Bytes;
use http_body::{Body, Frame};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{body::LimitInBody, upload::Uploading};

/// How much of a response the limit covers: see [`cover`](crate::TimeoutBuilder::cover).
///
/// | | the limit covers | needs |
/// |---|---|---|
/// | [`UntilHeaders`], the default | the response head | nothing |
/// | [`UntilFirstFrame`] | the head, and the first frame of the body that isn't empty; the response is returned after that frame | a response whose body can [wrap others](WrapBody) |
/// | [`UntilBodyEnd`] | the whole body; the response is returned with its head | a response whose body can be [ended early](AbortBody) |
///
/// `UntilFirstFrame` is for upstreams that send their head at once and then hang. Such a call still ends with a typed
/// rejection, which a breaker counts and a retry may repeat.
///
/// With `UntilBodyEnd`, a body that doesn't end in time is dropped, and ends with an error that contains the
/// [`Rejection`](crate::Rejection). The limit only ends the wait for a frame: a frame that is ready is returned, however late
/// the reader polls.
#[diagnostic::on_unimplemented(
    message = "the timeout can't cover the body of a `{Res}`",
    note = "`UntilFirstFrame` and `UntilBodyEnd` need an `http::Response` whose body can wrap others: `axum::body::Body` \
            (feature `axum`), `tonic::body::Body` (feature `tonic`, around a `Channel` `tonic-transport`), or a boxed body of `http-body-util`",
    note = "for other bodies map the response body below the layer"
)]
pub trait Cover<Res>: sealed::Stage<Res> {}

pub(crate) mod sealed {
    use super::{BodyLimit, Context, Poll};

    #[expect(unnameable_types, reason = "sealed")]
    pub trait Stage<Res> {
        /// An answer that waits for its first frame.
        type Waiting;

        /// Takes the answer if it has to wait for its first frame. Otherwise it is returned now.
        fn wait_for_frame(response: &mut Res) -> Option<Self::Waiting>;

        /// When the limit began, if that must be known.
        type Began: Default;

        /// The call is pending.
        fn begin(began: &mut Self::Began);

        /// Ready when a waiting answer can be returned.
        fn poll_waiting(waiting: &mut Self::Waiting, cx: &mut Context<'_>) -> Poll<Res>;

        /// The answer is returned. Limits its body by `limit`, if the limit covers the body.
        fn limit_body<'a>(response: &mut Res, began: &Self::Began, limit: impl FnOnce() -> Option<BodyLimit<'a>>);
    }
}

/// The limit of a body.
#[derive(Debug)]
#[expect(unnameable_types, reason = "only our own strategies get one")]
pub struct BodyLimit<'a> {
    pub(crate) name: &'a Name,
    pub(crate) limit: Duration,
    pub(crate) deadline: Option<Deadline>,
    /// The request's body, if the limit starts at its end.
    pub(crate) uploading: Option<Box<Uploading>>,
}

impl<Res> Cover<Res> for UntilHeaders {}

impl<Res> sealed::Stage<Res> for UntilHeaders {
    type Waiting = Infallible;

    #[inline]
    fn wait_for_frame(_: &mut Res) -> Option<Infallible> {
        None
    }

    fn poll_waiting(waiting: &mut Infallible, _: &mut Context<'_>) -> Poll<Res> {
        match *waiting {}
    }

    type Began = ();

    #[inline]
    fn begin((): &mut ()) {}

    #[inline]
    fn limit_body<'a>(_: &mut Res, (): &(), _: impl FnOnce() -> Option<BodyLimit<'a>>) {}
}

#[diagnostic::do_not_recommend]
impl<B: WrapBody<Error: Send + Unpin>> Cover<http::Response<B>> for UntilFirstFrame {}

#[diagnostic::do_not_recommend]
impl<B: WrapBody<Error: Send + Unpin>> sealed::Stage<http::Response<B>> for UntilFirstFrame {
    type Waiting = WaitingForFrame<B>;

    fn wait_for_frame(response: &mut http::Response<B>) -> Option<WaitingForFrame<B>> {
        if response.body().is_end_stream() {
            return None;
        }
        let (head, body) = mem::take(response).into_parts();
        Some(WaitingForFrame { head: Some(head), body: ReadAhead::new(body, 0) })
    }

    fn poll_waiting(waiting: &mut WaitingForFrame<B>, cx: &mut Context<'_>) -> Poll<http::Response<B>> {
        let read = ready!(Pin::new(&mut waiting.body).poll(cx));
        let Some(head) = waiting.head.take() else { polled_again("TimeoutFuture") };
        // A body that breaks off here is returned, like one that breaks off later.
        let body = read.map_or_else(|error| B::wrap(Broken(Some(error))), |ahead| ahead.body);
        Poll::Ready(http::Response::from_parts(head, body))
    }

    type Began = ();

    fn begin((): &mut ()) {}

    fn limit_body<'a>(_: &mut http::Response<B>, (): &(), _: impl FnOnce() -> Option<BodyLimit<'a>>) {}
}

/// An answer whose first frame is awaited.
#[derive(Debug)]
#[expect(unnameable_types, reason = "only our own strategies get one")]
pub struct WaitingForFrame<B> {
    head: Option<http::response::Parts>,
    body: ReadAhead<B>,
}

/// A body that ended with this error.
struct Broken<E>(Option<E>);

impl<E: Unpin> Body for Broken<E> {
    type Data = Bytes;
    type Error = E;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        Poll::Ready(self.0.take().map(Err))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

#[diagnostic::do_not_recommend]
impl<B: AbortBody> Cover<http::Response<B>> for UntilBodyEnd {}

#[diagnostic::do_not_recommend]
impl<B: AbortBody> sealed::Stage<http::Response<B>> for UntilBodyEnd {
    type Waiting = Infallible;

    fn wait_for_frame(_: &mut http::Response<B>) -> Option<Infallible> {
        None
    }

    fn poll_waiting(waiting: &mut Infallible, _: &mut Context<'_>) -> Poll<http::Response<B>> {
        match *waiting {}
    }

    type Began = Option<Instant>;

    fn begin(began: &mut Option<Instant>) {
        began.get_or_insert_with(Instant::now);
    }

    fn limit_body<'a>(
        response: &mut http::Response<B>,
        began: &Option<Instant>,
        limit: impl FnOnce() -> Option<BodyLimit<'a>>,
    ) {
        let body = response.body_mut();
        if !body.is_end_stream()
            && let Some(limit) = limit()
        {
            *body = GuardedBody::wrap(mem::take(body), LimitInBody::new(*began, limit));
        }
    }
}

pin_project! {
    /// A call of a service that was ready, until its answer is returned: with its head, or with its first frame.
    #[project = CoveredProject]
    pub(crate) enum Covered<F, U, Res>
    where
        U: Cover<Res>,
    {
        Called { #[pin] future: F },
        Waiting { waiting: U::Waiting },
    }
}

impl<F, U, Res, E> Future for Covered<F, U, Res>
where
    F: Future<Output = Result<Res, E>>,
    U: Cover<Res>,
{
    type Output = Result<Res, E>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let waiting = match self.as_mut().project() {
                CoveredProject::Called { future } => {
                    // Not moved, because moving a response costs more than everything else here.
                    let mut polled = future.poll(cx);
                    match &mut polled {
                        Poll::Ready(Ok(response)) => match U::wait_for_frame(response) {
                            Some(waiting) => waiting,
                            None => return polled,
                        },
                        Poll::Ready(Err(_)) | Poll::Pending => return polled,
                    }
                }
                CoveredProject::Waiting { waiting } => return U::poll_waiting(waiting, cx).map(Ok),
            };
            self.set(Self::Waiting { waiting });
        }
    }
}

impl<F, U, Res, E> Call for Covered<F, U, Res>
where
    F: Future<Output = Result<Res, E>>,
    U: Cover<Res>,
{
}
