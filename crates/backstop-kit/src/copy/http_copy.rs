//! Copies of HTTP requests.

use std::{fmt, mem};

use backstop_core::{
    ConfigError,
    grpc::{self, GRPC_PREVIOUS_RPC_ATTEMPTS},
};
use http::{HeaderName, Method, Request};

use super::{CopyAs, CopyRequest, Keep, LeftOut, NotCopied, RequestFacts, facts::Fields, head::HeadSnapshot};
use crate::body::{Held, Replay, ReplayableBody, has_content};

const DEFAULT_MAX_BODY: usize = 64 * 1024;
const LARGEST_MAX_BODY: usize = 1024 * 1024 * 1024;

/// Copies `http::Request`s: the head at once, the body as it is read. The default.
///
/// Copies hold the same method, URI, version, headers (in order, repeated ones too, with their sensitive flags) and
/// extensions, but for the extension that stands for the live connection: hyper's `OnUpgrade` (feature `hyper-util`).
///
/// Keeping a request whose body is at its end and that has no extensions costs one allocation: of as many bytes as its
/// method, target and headers have, and eight for each header.
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
        // Of other methods most have content, and polling a body lets its sender begin.
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let had_body = !reads || has_content(request);
        // Each is made where it is returned: moved into its place once more it would cost as much again.
        match keep {
            Keep::Head => HttpKept { head, body: None, had_body },
            Keep::Whole => {
                let (body, replay) = mem::take(request.body_mut()).split(self.max_body);
                *request.body_mut() = body;
                HttpKept { head, body: Some(replay), had_body }
            }
        }
    }

    /// The most that is buffered of a body, in bytes: 64 KiB unless set, 0 to 1 GiB.
    ///
    /// A request with a longer body is sent all the same, but not again. With 0, only requests without a body are.
    ///
    /// # Errors
    /// [`ConfigError`] with the field `max_body` where it is over 1 GiB.
    pub fn max_body(mut self, bytes: usize) -> Result<Self, ConfigError> {
        if bytes > LARGEST_MAX_BODY {
            return Err(ConfigError::new("max_body", bytes.to_string(), "0 to 1073741824 (1 GiB)"));
        }
        self.max_body = bytes;
        Ok(self)
    }
}

impl Default for HttpCopy {
    fn default() -> Self {
        Self { max_body: DEFAULT_MAX_BODY }
    }
}

/// What [`HttpCopy`] keeps of a request. Dropping it ends the buffering of the body.
pub struct HttpKept<B> {
    head: HeadSnapshot,
    /// `None` where the head alone was to be kept.
    body: Option<Replay<B>>,
    had_body: bool,
}

impl<B> fmt::Debug for HttpKept<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the head: it holds what may not be logged.
        f.debug_struct("HttpKept").field("body", &self.body).finish_non_exhaustive()
    }
}

#[diagnostic::do_not_recommend]
impl<B: ReplayableBody> CopyRequest<Request<B>> for HttpCopy {
    type Kept = HttpKept<B>;

    fn facts(&self, request: &Request<B>) -> RequestFacts {
        RequestFacts::of(request)
    }

    fn glance(&self, request: &Request<B>) -> RequestFacts {
        RequestFacts::at_a_glance(request)
    }

    fn keep(&self, request: &mut Request<B>, keep: Keep) -> Self::Kept {
        let head = HeadSnapshot::of(request, |_, _| ());
        self.keep_body(head, request, keep)
    }

    #[inline]
    fn keep_and_note(&self, request: &mut Request<B>, keep: Keep, facts: &mut RequestFacts) -> Self::Kept {
        let (mut fields, mut noted) = (Fields::of(request), *facts);
        let head = HeadSnapshot::of(request, |name, value| noted = fields.tell(noted, name, value));
        *facts = noted;
        self.keep_body(head, request, if noted.is_upgrade() { Keep::Head } else { keep })
    }

    fn copy(&self, kept: &mut Self::Kept, copy: CopyAs) -> Result<Request<B>, NotCopied> {
        let body = match (copy, &mut kept.body) {
            (CopyAs::HeadOnly, _) => B::default(),
            (CopyAs::Same | CopyAs::ForProvider, Some(body)) => body.copy()?,
            (CopyAs::Same | CopyAs::ForProvider, None) => return Err(NotCopied::HeadOnly),
        };
        let (mut request, left_out) = kept.head.request(copy, body)?;
        if copy == CopyAs::HeadOnly
            && let Some(left_out) = LeftOut::of(left_out, kept.had_body)
        {
            request.extensions_mut().insert(left_out);
        }
        Ok(request)
    }

    fn held(&self, kept: &Self::Kept) -> Held {
        // Of a head nothing more is wanted than there is.
        kept.body.as_ref().map_or(Held::Whole, Replay::held)
    }

    fn tell_attempts(&self, request: &mut Request<B>, before: u32, header: Option<&HeaderName>) {
        if grpc::is_grpc_request(request) {
            request.headers_mut().insert(GRPC_PREVIOUS_RPC_ATTEMPTS, before.into());
        }
        if let Some(header) = header {
            request.headers_mut().insert(header, before.into());
        }
    }

    fn tells_of_attempts(&self, request: &Request<B>, header: &HeaderName) -> bool {
        // What can't be read was meant to say something.
        request.headers().get_all(header).iter().any(|before| before.as_bytes() != b"0")
    }
}
