//! Keeping the answer that may be replaced by a better one.

use std::{
    fmt,
    future::{self, Future},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Response, response};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    body::{ReadAhead, WrapBody},
    polled_again,
};
use backstop_core::ConfigError;

#[cfg(test)]
mod tests;

const DEFAULT_MAX_BODY: usize = 32 * 1024;
const LARGEST_MAX_BODY: usize = 1024 * 1024 * 1024;
const DEFAULT_MAX_WAIT: Duration = Duration::from_millis(100);
const LONGEST_MAX_WAIT: Duration = Duration::from_secs(60);

/// What becomes of an answer that a layer wants to replace, and may have to give after all.
///
/// The default of every layer is [`KeepReplaced`], for `http::Response` with a body that is
/// [`WrapBody`](crate::WrapBody). For other answers choose `.discard_replaced()` ([`DiscardReplaced`]).
#[diagnostic::on_unimplemented(
    message = "this layer can't keep `{Res}` while it looks for a better answer",
    label = "no way to keep this response",
    note = "by default a layer keeps `http::Response<B>` where `B` implements `WrapBody`: enable Backstop's feature `axum` \
            or `tonic` for their bodies",
    note = "for `hyper::body::Incoming` and other concrete bodies, map the response body below the layer, for example to \
            `axum::body::Body`",
    note = "or choose `.discard_replaced()`, which drops an answer that is to be replaced"
)]
pub trait KeepAnswer<Res> {
    /// Gives the answer back, or `None` where it isn't kept.
    type Keeping: Future<Output = Option<Res>>;

    /// Begins to keep `answer`, so that it holds nothing but memory any more: no connection, no permit.
    ///
    /// `until` is when the layer's time is up: nothing better comes any more, so the answer is given back as it is then,
    /// whatever it still holds.
    fn keep(&self, answer: Res, until: Instant) -> Self::Keeping;

    /// Adds a note of the layer to the answer that it returns, in types that have room for that.
    fn note<T: Clone + Send + Sync + 'static>(&self, _answer: &mut Res, _note: T) {}
}

/// Keeps an HTTP response by reading its body into memory. The default.
///
/// A small answer is read to its end, which gives its connection back (on HTTP/1.1 an unread body costs the connection),
/// and its permits. When the connection can be used again is for the client to say: hyper-util's takes it back in a task
/// of its own, a moment later. It comes out byte for byte as it was: status, headers, extensions, body,
/// trailers and size hint. An answer whose body is at its end passes at once.
///
/// One that is too long, too slow or fails is dropped: the layer then has no answer to fall back to. One whose body is
/// still coming when the layer's own time is up is given back with what was read, and with the rest as it comes.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct KeepReplaced {
    max_body: usize,
    /// `None` where it wasn't set, and so contradicts nothing.
    max_wait: Option<Duration>,
}

impl KeepReplaced {
    /// The longest body that is kept, in bytes: 32 KiB unless set, 0 to 1 GiB.
    ///
    /// # Errors
    /// [`ConfigError`] with the field `max_body` where it is over 1 GiB.
    pub fn max_body(mut self, bytes: usize) -> Result<Self, ConfigError> {
        self.max_body = ConfigError::in_range("max_body", bytes, ..=LARGEST_MAX_BODY, "0 to 1073741824 (1 GiB)")?;
        Ok(self)
    }

    /// The longest time that reading the body may take: 100 ms unless set, up to 60 s and to the total of the layer, not
    /// zero. Where less of the total or of the [scope](backstop_core::scope)'s deadline is left, that binds.
    ///
    /// # Errors
    /// [`ConfigError`] with the field `max_wait` where it is zero or over 60 s.
    pub fn max_wait(mut self, wait: Duration) -> Result<Self, ConfigError> {
        let range = Duration::from_nanos(1)..=LONGEST_MAX_WAIT;
        self.max_wait = Some(ConfigError::in_range("max_wait", wait, range, "more than 0 s, up to 60 s")?);
        Ok(self)
    }

    /// Checks that what was set fits into the `total` of a layer.
    ///
    /// # Errors
    /// [`ConfigError`] with the field `max_wait` where that was set, and is longer.
    pub fn check_within(&self, total: Duration) -> Result<(), ConfigError> {
        let wait = self.max_wait.unwrap_or_default();
        ConfigError::in_range("max_wait", wait, ..=total, "more than 0 s, up to the total").map(drop)
    }
}

impl Default for KeepReplaced {
    fn default() -> Self {
        Self { max_body: DEFAULT_MAX_BODY, max_wait: None }
    }
}

#[diagnostic::do_not_recommend]
impl<B: WrapBody> KeepAnswer<Response<B>> for KeepReplaced {
    type Keeping = Keeping<B>;

    fn keep(&self, answer: Response<B>, until: Instant) -> Keeping<B> {
        let state = if answer.body().is_end_stream() {
            State::Passing { answer }
        } else if answer.body().size_hint().lower() > self.max_body as u64 {
            State::Done
        } else {
            let (head, body) = answer.into_parts();
            State::Reading { head, body: ReadAhead::new(body, self.max_body) }
        };
        Keeping { state, config: *self, until, timer: None }
    }

    fn note<T: Clone + Send + Sync + 'static>(&self, answer: &mut Response<B>, note: T) {
        answer.extensions_mut().insert(note);
    }
}

pin_project! {
    /// The future of [`KeepReplaced`].
    ///
    /// # Cancellation
    /// Dropping it drops the answer, and with it the answer's connection and permits.
    #[must_use = "futures do nothing unless polled"]
    pub struct Keeping<B> {
        state: State<B>,
        config: KeepReplaced,
        until: Instant,
        // Made once something is pending.
        #[pin]
        timer: Option<Sleep>,
    }
}

enum State<B> {
    Passing { answer: Response<B> },
    Reading { head: response::Parts, body: ReadAhead<B> },
    Done,
}

impl<B> fmt::Debug for Keeping<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeping").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<B: WrapBody> Future for Keeping<B> {
    type Output = Option<Response<B>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let body = match this.state {
            State::Passing { .. } | State::Done => None,
            State::Reading { body, .. } => match Pin::new(&mut *body).poll(cx) {
                Poll::Ready(read) => read.ok().filter(|ahead| ahead.is_whole),
                Poll::Pending => {
                    let max_wait = this.config.max_wait.unwrap_or(DEFAULT_MAX_WAIT);
                    if this.timer.is_none() {
                        this.timer.set(Some(sleep_until((Instant::now() + max_wait).min(*this.until))));
                    }
                    let Some(timer) = this.timer.as_mut().as_pin_mut() else { polled_again("Keeping") };
                    let is_up = timer.deadline() == *this.until;
                    ready!(timer.poll(cx));
                    is_up.then(|| body.stop()).flatten()
                }
            },
        };
        // Taken out in any case, so that nothing of the answer outlives the decision.
        let state = std::mem::replace(this.state, State::Done);
        this.timer.set(None);
        Poll::Ready(match state {
            State::Passing { answer } => Some(answer),
            State::Reading { head, .. } => body.map(|ahead| Response::from_parts(head, ahead.body)),
            State::Done => None,
        })
    }
}

/// Keeps nothing: an answer that is to be replaced is dropped at once. For answers of any type.
///
/// When nothing better comes, the layer answers with a rejection or with what came last. On HTTP/1.1 the connection of a
/// dropped answer may be closed.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct DiscardReplaced;

#[diagnostic::do_not_recommend]
impl<Res> KeepAnswer<Res> for DiscardReplaced {
    type Keeping = future::Ready<Option<Res>>;

    fn keep(&self, answer: Res, _until: Instant) -> Self::Keeping {
        drop(answer);
        future::ready(None)
    }
}
