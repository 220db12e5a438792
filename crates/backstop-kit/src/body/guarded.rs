//! A response body that a layer follows to its end, and may end early.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use backstop_core::{SetBy, scope};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::WrapBody;

/// The result of polling a body.
#[derive(Debug)]
#[non_exhaustive]
pub enum BodyStep<'a, E> {
    /// It is pending.
    Pending,
    /// It returned a frame.
    #[non_exhaustive]
    Frame {
        /// The trailers, if the frame holds them.
        trailers: Option<&'a HeaderMap>,
        /// Whether this is known to be the last frame. The reader may not poll again then.
        is_last: bool,
    },
    /// The body failed.
    Error(&'a E),
    /// The body has ended.
    End,
}

/// What a guard does after a step.
#[derive(Debug)]
#[non_exhaustive]
pub enum BodyAction<E> {
    /// Goes on following the body.
    Continue,
    /// Stops following the body, and drops the guard.
    Finish,
    /// Ends the body because a limit has passed. The body is dropped, then the guard. The reader gets the error.
    Abort(SetBy, E),
}

/// Follows a response body: see [`GuardedBody`].
pub trait BodyGuard<B: Body> {
    /// Runs `poll`, which polls the body: inside a scope, for example.
    fn run<R>(&mut self, poll: impl FnOnce() -> R) -> R {
        poll()
    }

    /// Decides what happens after a poll. `cx` is the reader's.
    fn step(&mut self, step: BodyStep<'_, B::Error>, cx: &mut Context<'_>) -> BodyAction<B::Error>;
}

pin_project! {
    /// A response body with a guard. Frames, size hint, end and errors are the body's, until the guard ends it.
    ///
    /// ```
    /// use std::{convert::Infallible, sync::mpsc, task::Context};
    ///
    /// use backstop_kit::{BodyAction, BodyGuard, BodyStep, GuardedBody};
    /// use bytes::Bytes;
    /// use http_body::Body;
    /// use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
    ///
    /// /// Reports when a body has ended.
    /// struct Watch(mpsc::Sender<&'static str>);
    ///
    /// impl<B: Body> BodyGuard<B> for Watch {
    ///     fn step(&mut self, step: BodyStep<'_, B::Error>, _: &mut Context<'_>) -> BodyAction<B::Error> {
    ///         match step {
    ///             BodyStep::End | BodyStep::Frame { is_last: true, .. } => {
    ///                 _ = self.0.send("ended");
    ///                 BodyAction::Finish
    ///             }
    ///             _ => BodyAction::Continue,
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (sender, ended) = mpsc::channel();
    /// let body = UnsyncBoxBody::<Bytes, Infallible>::new("hello".to_owned());
    /// let watched = GuardedBody::wrap(body, Watch(sender));
    /// assert_eq!(watched.collect().await.unwrap().to_bytes(), "hello");
    /// assert_eq!(ended.recv(), Ok("ended"));
    /// # }
    /// ```
    ///
    /// # Cancellation
    /// Dropping it drops the body, then the guard.
    #[derive(Debug)]
    pub struct GuardedBody<B, G> {
        // `None` once the guard has ended it.
        body: Option<B>,
        // `None` once it has finished.
        guard: Option<G>,
    }
}

impl<B: WrapBody, G: BodyGuard<B> + Send + 'static> GuardedBody<B, G> {
    /// Puts `guard` around `body`, which keeps its type. Costs one allocation.
    pub fn wrap(body: B, guard: G) -> B {
        B::wrap(Self { body: Some(body), guard: Some(guard) })
    }
}

impl<B: WrapBody, G: BodyGuard<B>> Body for GuardedBody<B, G> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let Some(body) = this.body else {
            return Poll::Ready(None);
        };
        let Some(guard) = this.guard else {
            return Pin::new(body).poll_frame(cx);
        };
        let polled = guard.run(|| Pin::new(&mut *body).poll_frame(cx));
        let step = match &polled {
            Poll::Pending => BodyStep::Pending,
            Poll::Ready(None) => BodyStep::End,
            Poll::Ready(Some(Err(error))) => BodyStep::Error(error),
            Poll::Ready(Some(Ok(frame))) => {
                let trailers = frame.trailers_ref();
                BodyStep::Frame { trailers, is_last: trailers.is_some() || body.is_end_stream() }
            }
        };
        match guard.step(step, cx) {
            BodyAction::Continue => {}
            BodyAction::Finish => *this.guard = None,
            BodyAction::Abort(set_by, error) => {
                scope::end(set_by, || *this.body = None);
                *this.guard = None;
                return Poll::Ready(Some(Err(error)));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), B::size_hint)
    }
}
