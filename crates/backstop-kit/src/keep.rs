//! Keeping an answer while a layer looks for a better one.

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

/// What happens to an answer that a layer wants to replace, and returns if nothing better comes.
///
/// The default of every layer is [`KeepReplaced`], for `http::Response` with a body that is
/// [`WrapBody`](crate::WrapBody). For other answers choose `.discard_replaced()` ([`DiscardReplaced`]).
#[diagnostic::on_unimplemented(
    message = "this layer can't keep `{Res}` while it looks for a better answer",
    label = "no way to keep this response",
    note = "by default a layer keeps `http::Response<B>` where `B` implements `WrapBody`: enable Backstop's feature \
            `axum`, `tonic`, or `tonic-transport` around a `Channel`, for their bodies",
    note = "for `hyper::body::Incoming`, enable Backstop's feature `hyper-util` and put `backstop::http_client(…)` \
            around the client; for other concrete bodies, map the response body below the layer, for example to `backstop::ClientBody`",
    note = "or choose `.discard_replaced()`, which drops an answer that is to be replaced"
)]
pub trait KeepAnswer<Res> {
    /// Returns the answer, or `None` if it isn't kept.
    type Keeping: Future<Output = Option<Res>>;

    /// Begins to keep `answer` in memory, so that it no longer holds a connection or a permit.
    ///
    /// `until` is when the layer's time is up. Nothing better comes then, so the answer is returned as it is, whatever it
    /// still holds.
    fn keep(&self, answer: Res, until: Instant) -> Self::Keeping;

    /// Adds the layer's note to an answer that it returns. By default, notes are dropped.
    fn note<T: Clone + Send + Sync + 'static>(&self, _answer: &mut Res, _note: T) {}
}

/// Keeps an HTTP response by reading its body into memory. The default.
///
/// The body is read to its end, which releases the answer's permits and its connection. (On HTTP/1.1 an unread body costs
/// the connection. When the connection can be used again is up to the client: hyper-util's takes it back in its own task, a
/// moment later.) The kept answer has the same status, headers, extensions, body, trailers and size hint. An answer whose
/// body is at its end is returned at once.
///
/// An answer whose body is too long, too slow or fails is dropped. If the layer's time is up while the body is being read,
/// the answer is returned with what was read, and the rest as it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct KeepReplaced {
    max_body: usize,
    /// `None` if it wasn't set: the default may be longer than the layer's total.
    max_wait: Option<Duration>,
}

impl KeepReplaced {
    /// The longest body that is kept, in bytes: 32 KiB unless set, 0 to 1 GiB.
    ///
    /// # Errors
    /// [`ConfigError`] with the field `max_body` if it is over 1 GiB.
    pub fn max_body(mut self, bytes: usize) -> Result<Self, ConfigError> {
        self.max_body = ConfigError::check_range("max_body", bytes, ..=LARGEST_MAX_BODY, "0 to 1073741824 (1 GiB)")?;
        Ok(self)
    }

    /// The longest time that reading the body may take: 100 ms unless set, more than zero, at most 60 s and the layer's
    /// total. The layer's total and the deadline of the [scope](backstop_core::scope) limit it, too.
    ///
    /// # Errors
    /// [`ConfigError`] with the field `max_wait` if it is zero or over 60 s.
    pub fn max_wait(mut self, wait: Duration) -> Result<Self, ConfigError> {
        let range = Duration::from_nanos(1)..=LONGEST_MAX_WAIT;
        self.max_wait = Some(ConfigError::check_range("max_wait", wait, range, "more than 0 s, up to 60 s")?);
        Ok(self)
    }

    /// Checks that `max_wait`, if it was set, isn't longer than a layer's `total`.
    ///
    /// # Errors
    /// [`ConfigError`] with the field `max_wait` if it is.
    pub fn check_within(&self, total: Duration) -> Result<(), ConfigError> {
        let wait = self.max_wait.unwrap_or_default();
        ConfigError::check_range("max_wait", wait, ..=total, "more than 0 s, up to the total").map(drop)
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
        // Created when the body is first pending.
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
        // Taken out in any case, so that what isn't returned is dropped now.
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
/// If nothing better comes, the layer returns a rejection, or the last answer. On HTTP/1.1 the connection of a dropped
/// answer may be closed.
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
