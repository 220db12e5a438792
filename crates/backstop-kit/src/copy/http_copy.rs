//! Copies of HTTP requests.

use std::{fmt, mem};

use backstop_core::ConfigError;
use http::{Method, Request};

use super::{
    CopyAs, CopyRequest, Keep, KeptRequest, LeftOut, NotCopied, RequestFacts, facts::HeaderFacts, head::HeadSnapshot,
};
use crate::body::{Replay, ReplayState, ReplayableBody, has_content};

const DEFAULT_MAX_BODY: usize = 64 * 1024;
const LARGEST_MAX_BODY: usize = 1024 * 1024 * 1024;

/// Copies `http::Request`s: the head at once, the body as it is read. The default.
///
/// Copies have the same method, URI, version, headers (in order, repeated ones too, with their sensitive flags) and
/// extensions. Only hyper's `OnUpgrade` is left out (feature `hyper-util`), because it belongs to the connection.
///
/// Keeping a request without a body and without extensions costs one allocation: the bytes of its method, target and
/// headers, and eight more for each header.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct HttpCopy {
    max_body: usize,
}

impl HttpCopy {
    #[inline]
    fn keep_body<B: ReplayableBody>(self, head: HeadSnapshot, request: &mut Request<B>, keep: Keep) -> HttpKept<B> {
        // The common case, without taking the body out.
        if request.body().is_end_stream() {
            let body = (keep == Keep::Whole).then(Replay::ended);
            return HttpKept { head, body, had_body: false };
        }
        // Most requests with other methods have content, and polling a body tells its sender to begin.
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let had_body = !reads || has_content(request);
        // Each is created where it is returned: a move would double the cost.
        match keep {
            Keep::Nothing | Keep::Head => HttpKept { head, body: None, had_body },
            Keep::Whole => {
                let (body, replay) = mem::take(request.body_mut()).split(self.max_body);
                *request.body_mut() = body;
                HttpKept { head, body: Some(replay), had_body }
            }
        }
    }

    /// The longest body that is buffered, in bytes: 64 KiB unless set, 0 to 1 GiB.
    ///
    /// A request with a longer body is sent, but can't be copied. With 0, only requests without a body can be copied.
    ///
    /// # Errors
    /// [`ConfigError`] with the field `max_body` if it is over 1 GiB.
    pub fn max_body(mut self, bytes: usize) -> Result<Self, ConfigError> {
        self.max_body = ConfigError::check_range("max_body", bytes, ..=LARGEST_MAX_BODY, "0 to 1073741824 (1 GiB)")?;
        Ok(self)
    }
}

impl Default for HttpCopy {
    fn default() -> Self {
        Self { max_body: DEFAULT_MAX_BODY }
    }
}

impl AsMut<Self> for HttpCopy {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

/// What [`HttpCopy`] keeps of a request. Dropping it stops buffering the body.
pub struct HttpKept<B> {
    head: HeadSnapshot,
    /// `None` with [`Keep::Head`].
    body: Option<Replay<B>>,
    had_body: bool,
}

impl<B> fmt::Debug for HttpKept<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the head, which must not be logged.
        f.debug_struct("HttpKept").field("body", &self.body).finish_non_exhaustive()
    }
}

#[diagnostic::do_not_recommend]
impl<B: ReplayableBody> CopyRequest<Request<B>> for HttpCopy {
    type Kept = HttpKept<B>;

    fn facts(&self, request: &Request<B>) -> RequestFacts {
        RequestFacts::without_headers(request)
    }

    #[inline]
    fn keep(&self, request: &mut Request<B>, facts: &mut RequestFacts, keep: Keep) -> Option<Self::Kept> {
        if keep == Keep::Nothing || facts.is_upgrade() {
            *facts = facts.with_headers(request);
            return None;
        }
        let (mut headers, mut known) = (HeaderFacts::of(request), *facts);
        let head = HeadSnapshot::of(request, |name, value| known = headers.read(known, name, value));
        *facts = known;
        if known.is_upgrade() { None } else { Some(self.keep_body(head, request, keep)) }
    }
}

impl<B: ReplayableBody> KeptRequest<Request<B>> for HttpKept<B> {
    fn copy(&mut self, copy: CopyAs) -> Result<Request<B>, NotCopied> {
        let body = match (copy, &mut self.body) {
            (CopyAs::HeadOnly, _) => B::default(),
            (CopyAs::Same | CopyAs::ForAnotherSource, Some(body)) => body.copy()?,
            (CopyAs::Same | CopyAs::ForAnotherSource, None) => return Err(NotCopied::HeadOnly),
        };
        let (mut request, left_out) = self.head.request(copy, body)?;
        if copy == CopyAs::HeadOnly
            && let Some(left_out) = LeftOut::of(left_out, self.had_body)
        {
            request.extensions_mut().insert(left_out);
        }
        Ok(request)
    }

    fn replay_state(&self) -> ReplayState {
        // With `Keep::Head` there is nothing more to copy.
        self.body.as_ref().map_or(ReplayState::Whole, Replay::state)
    }
}
