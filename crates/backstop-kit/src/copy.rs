//! Copies of requests, to send them again or to another source.

use std::{error::Error, fmt};

use crate::body::{NotReplayable, ReplayState};

mod clone_copy;
mod facts;
mod head;
mod http_copy;
mod left_out;
#[cfg(test)]
mod tests;

pub use clone_copy::CloneCopy;
pub use facts::RequestFacts;
pub use http_copy::{HttpCopy, HttpKept};
pub use left_out::LeftOut;

/// How a layer reads requests, and keeps them for copies.
///
/// The default of every layer is [`HttpCopy`], for `http::Request` with a [`ReplayableBody`](crate::ReplayableBody). For
/// other requests that are `Clone` there is [`CloneCopy`], by `.clone_requests()` on the layer.
#[diagnostic::on_unimplemented(
    message = "this layer can't copy `{Req}`",
    label = "no way to send this request again",
    note = "by default a layer copies `http::Request<B>` where `B` implements `ReplayableBody`: enable Backstop's feature \
            `axum`, `tonic`, or `tonic-transport` around a `Channel`, for their bodies, and map other bodies above the layer, for example to `ClientBody`",
    note = "a layer with `.clone_requests()` or `.plain()` copies requests that are `Clone`: derive it for your own",
    note = "or implement `CopyRequest` for a strategy of your own"
)]
pub trait CopyRequest<Req> {
    /// What copies are made from.
    type Kept: KeptRequest<Req>;

    /// What is known without reading the headers. That is enough if the request won't be sent again.
    fn facts(&self, request: &Req) -> RequestFacts;

    /// Keeps what copies are made from, before `request` is sent. Adds to `facts` what the headers say.
    ///
    /// It does both, because reading the headers is a large part of the cost of keeping them. `request` is then sent; only
    /// its body may have been wrapped.
    ///
    /// `None` with [`Keep::Nothing`], and for an [upgrade](RequestFacts::is_upgrade), which isn't changed.
    fn keep(&self, request: &mut Req, facts: &mut RequestFacts, keep: Keep) -> Option<Self::Kept>;
}

/// What [`CopyRequest::keep`] kept of a request.
///
/// Any request that is `Clone` implements it.
pub trait KeptRequest<Req> {
    /// Makes a copy.
    ///
    /// This may end an earlier copy that is still being sent: see [`replay_state`](Self::replay_state).
    ///
    /// # Errors
    /// [`NotCopied`] says why there is no copy.
    fn copy(&mut self, copy: CopyAs) -> Result<Req, NotCopied>;

    /// How much of the body can be copied now. All of it by default.
    fn replay_state(&self) -> ReplayState {
        ReplayState::Whole
    }
}

/// What to keep of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    /// Nothing: there will be no copies.
    Nothing,
    /// The head alone: copies are [`CopyAs::HeadOnly`].
    Head,
    /// The head, and the body as it is read.
    Whole,
}

/// What a copy of a request is for, which decides what it holds.
///
/// | field | `Same` | `ForAnotherSource` | `HeadOnly` |
/// |---|---|---|---|
/// | method, URI, version, extensions | yes | yes | yes |
/// | `Range`, `If-Range`, `If-Modified-Since` | yes | no | no |
/// | `If-Match`, `If-None-Match`, `If-Unmodified-Since` | yes | with an unsafe method | with an unsafe method |
/// | `Content-*`, `Transfer-Encoding`, `Trailer`, `Expect` | yes | yes | no |
/// | any other header | yes | yes | yes |
/// | body and trailers | yes | yes | no |
///
/// Ranges and validators (RFC 9110 §13 and §14) refer to a representation of the original source, which another source
/// doesn't know. With an unsafe method, preconditions guard against a lost update, so they stay.
///
/// A head-only copy has the extension [`LeftOut`] if the request had a body, or headers that describe one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyAs {
    /// The same request, to the same service.
    Same,
    /// For another source.
    ForAnotherSource,
    /// For another source that doesn't need the body.
    HeadOnly,
}

/// Why there is no copy of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotCopied {
    /// Only its head was kept ([`Keep::Head`]).
    HeadOnly,
    /// Its body can't be replayed.
    Body(NotReplayable),
    /// A header isn't valid in HTTP, because it was created without a check.
    InvalidHead,
}

impl From<NotReplayable> for NotCopied {
    fn from(reason: NotReplayable) -> Self {
        Self::Body(reason)
    }
}

impl fmt::Display for NotCopied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeadOnly => f.write_str("only the head of the request was kept"),
            Self::Body(reason) => reason.fmt(f),
            Self::InvalidHead => f.write_str("the request has a header that HTTP doesn't allow"),
        }
    }
}

impl Error for NotCopied {}
