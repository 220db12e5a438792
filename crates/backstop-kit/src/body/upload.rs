//! Watching a request's body while it is sent: whether it failed, and how long the call waited for it.
//!
//! A client may read the body in another task, and its error doesn't always say that the body was to blame. So the body
//! records this itself, and the call's layers share the record.

use std::{
    cell::Cell,
    fmt, mem,
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use backstop_core::ErrorRef;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::LengthLimitError;
use tokio::time::Instant;

use super::{
    WrapBody,
    erased::{self, Visit},
};
use crate::RequestFailure;

/// Watches the body of one request while it is sent.
///
/// The layers of a call share one: the outermost layer wraps the body, and the layers inside find it. A request without a
/// body isn't watched, and costs nothing.
#[derive(Clone)]
pub struct Upload(Arc<Progress>);

struct Watch;

impl Visit for Watch {
    type Output = Option<Upload>;

    fn visit<B: WrapBody>(self, body: &mut B) -> Option<Upload> {
        Upload::of(body)
    }
}

/// Moments are nanoseconds, as of [`now`]. 0 is none.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// [`BROKEN`] or [`TOO_LARGE`]. 0 while there is none.
    failure: AtomicU8,
    /// How long the body was pending, without the current wait.
    waited: AtomicU64,
    /// When the current wait began.
    waiting_since: AtomicU64,
    /// When the body last returned something.
    last_read: AtomicU64,
}

thread_local! {
    /// Whether a layer is asking a body if it is watched.
    static IS_ASKED: Cell<bool> = const { Cell::new(false) };
    /// The body's answer.
    static ANSWER: Cell<Option<Upload>> = const { Cell::new(None) };
}

impl Upload {
    /// Watches `body`, which keeps its type. `None` for a body that is at its end.
    ///
    /// Costs two allocations. None if the body is watched already, as one is that is kept to be sent again.
    #[inline]
    pub fn of<B: WrapBody>(body: &mut B) -> Option<Self> {
        // Most requests have no body.
        if body.is_end_stream() { None } else { Some(Self::find_or_wrap(body)) }
    }

    #[inline(never)]
    fn find_or_wrap<B: WrapBody>(body: &mut B) -> Self {
        if let Some(watched) = Self::ask(body) {
            return watched;
        }
        let upload = Self(Arc::new(Progress::new()));
        *body = B::wrap(WatchedBody { inner: mem::take(body), progress: Arc::clone(&upload.0) });
        upload
    }

    /// [Watches](Self::of) `body` if this crate knows its type: `axum::body::Body` (feature `axum`), `tonic::body::Body`
    /// (feature `tonic`), or a boxed body of `http-body-util` whose error is `BoxError`, [`io::Error`](std::io::Error),
    /// `Infallible`, or the error of axum, tonic or hyper (by this crate's features).
    #[inline]
    pub fn of_any<B: 'static>(body: &mut B) -> Option<Self> {
        erased::visit(body, Watch).flatten()
    }

    /// Finds the watch that `body` already has.
    ///
    /// It may be inside other bodies, of any type. All of them pass `is_end_stream` on to the body inside, so the question is
    /// asked by that.
    fn ask<B: Body>(body: &B) -> Option<Self> {
        ANSWER.set(None);
        IS_ASKED.set(true);
        body.is_end_stream();
        IS_ASKED.set(false);
        ANSWER.take()
    }

    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// How the body failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<RequestFailure> {
        match self.0.failure.load(Relaxed) {
            0 => None,
            TOO_LARGE => Some(RequestFailure::TooLarge),
            _ => Some(RequestFailure::Broken),
        }
    }

    /// How long the body was pending.
    #[must_use]
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.0.waited_until(now()))
    }

    /// Whether a call that has taken `whole` spent more than half of that waiting for the body.
    #[must_use]
    pub fn held_up(&self, whole: Duration) -> bool {
        self.waited() > whole / 2
    }

    /// The time since the body last returned something, or was dropped. Zero while it is pending.
    #[must_use]
    pub fn idle(&self) -> Duration {
        let progress = &*self.0;
        if progress.waiting_since.load(Relaxed) != 0 {
            return Duration::ZERO;
        }
        Duration::from_nanos(now().saturating_sub(progress.last_read.load(Relaxed)))
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("failure", &self.failure()).finish_non_exhaustive()
    }
}

const BROKEN: u8 = 1;
const TOO_LARGE: u8 = 2;

/// The time in nanoseconds. Under a paused clock it may be before the first call's.
fn now() -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    const AT_ORIGIN: u64 = 1 << 62;
    let now = Instant::now();
    match now.checked_duration_since(*ORIGIN) {
        Some(after) => AT_ORIGIN + after.as_nanos() as u64,
        None => AT_ORIGIN - ORIGIN.duration_since(now).as_nanos() as u64,
    }
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { last_read: AtomicU64::new(now()), ..Self::default() }
    }

    /// Answers a layer that asks whether this body is watched.
    pub(crate) fn answer(self: &Arc<Self>) {
        // Only the outermost watch answers. While the thread ends, nobody asks.
        if IS_ASKED.try_with(|is_asked| is_asked.replace(false)).unwrap_or(false) {
            _ = ANSWER.try_with(|answer| answer.set(Some(Upload(Arc::clone(self)))));
        }
    }

    /// The body was polled.
    pub(crate) fn polled<E: 'static>(&self, polled: &Poll<Option<Result<Frame<Bytes>, E>>>) {
        match polled {
            Poll::Pending => {
                if self.waiting_since.load(Relaxed) == 0 {
                    self.waiting_since.store(now(), Relaxed);
                }
                return;
            }
            Poll::Ready(Some(Err(error))) => {
                let too_large = ErrorRef::new(error).find::<LengthLimitError>().is_some();
                self.failure.store(if too_large { TOO_LARGE } else { BROKEN }, Relaxed);
            }
            Poll::Ready(_) => {}
        }
        self.stop_waiting();
    }

    /// The body isn't pending any more, or was dropped.
    pub(crate) fn stop_waiting(&self) {
        let now = now();
        self.waited.store(self.waited_until(now), Relaxed);
        self.waiting_since.store(0, Relaxed);
        self.last_read.store(now, Relaxed);
    }

    /// The body is sent again. Earlier waits belong to another attempt.
    pub(crate) fn restart(&self) {
        let now = now();
        self.waited.store(0, Relaxed);
        self.waiting_since.store(0, Relaxed);
        self.last_read.store(now, Relaxed);
    }

    fn waited_until(&self, now: u64) -> u64 {
        let current = match self.waiting_since.load(Relaxed) {
            0 => 0,
            since => now.saturating_sub(since),
        };
        self.waited.load(Relaxed).saturating_add(current)
    }
}

/// A watched request body. Frames, size hint, end and errors are the inner body's.
struct WatchedBody<B> {
    inner: B,
    progress: Arc<Progress>,
}

impl<B: WrapBody> Body for WatchedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        this.progress.polled(&polled);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.progress.answer();
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Drop for WatchedBody<B> {
    fn drop(&mut self) {
        self.progress.stop_waiting();
    }
}
