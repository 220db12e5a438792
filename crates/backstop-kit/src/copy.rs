//! The one way requests are copied: to be sent again, or to be sent somewhere else.

use std::{error::Error, fmt};

use http::HeaderName;

use crate::body::{Held, NotReplayable};

mod clone_copy;
mod facts;
mod head;
mod http_copy;
mod left_out;
#[cfg(test)]
mod tests;

pub use clone_copy::CloneCopy;
pub use facts::{Repeat, RequestFacts};
pub use http_copy::{HttpCopy, HttpKept};
pub use left_out::LeftOut;

/// How a layer makes copies of requests.
///
/// The default of every layer is [`HttpCopy`], for `http::Request` with a [`ReplayableBody`](crate::ReplayableBody). For
/// other requests that are `Clone` there is [`CloneCopy`], by `.clone_requests()` on the layer.
#[diagnostic::on_unimplemented(
    message = "this layer can't copy `{Req}`",
    label = "no way to send this request again",
    note = "by default a layer copies `http::Request<B>` where `B` implements `ReplayableBody`: enable Backstop's feature \
            `axum` or `tonic` for their bodies, and map `hyper::body::Incoming` to one of them above the layer",
    note = "for any other request that is `Clone`, choose `.clone_requests()`",
    note = "or implement `CopyRequest` for a strategy of your own"
)]
pub trait CopyRequest<Req> {
    /// What copies are made from.
    type Kept;

    /// What must be known of a request before it is given away.
    fn facts(&self, request: &Req) -> RequestFacts;

    /// The facts that are known without reading the headers: where nothing will be repeated, nobody
    /// needs to know more.
    fn glance(&self, request: &Req) -> RequestFacts {
        self.facts(request)
    }

    /// Keeps what copies can be made from, before `request` is sent.
    ///
    /// In place, since moving a request costs as much as a good part of keeping it. `request` stays the request to send:
    /// only its body may have been wrapped.
    fn keep(&self, request: &mut Req, keep: Keep) -> Self::Kept;

    /// The same, and [what must be known](Self::facts), in case both together cost less: adds to `facts`, which holds what
    /// was seen [at one look](Self::glance).
    ///
    /// If that tells of an [upgrade](RequestFacts::is_upgrade), the request is untouched, and there won't be copies.
    fn keep_and_note(&self, request: &mut Req, keep: Keep, facts: &mut RequestFacts) -> Self::Kept {
        *facts = self.facts(request);
        self.keep(request, if facts.is_upgrade() { Keep::Head } else { keep })
    }

    /// Makes a copy.
    ///
    /// An earlier copy of the request that is still being sent may fail by that: see [`held`](Self::held).
    ///
    /// # Errors
    /// [`NotCopied`] says why there is no copy.
    fn copy(&self, kept: &mut Self::Kept, copy: CopyAs) -> Result<Req, NotCopied>;

    /// How much of the request's body could be copied now, without disturbing whoever is still sending it.
    ///
    /// All of it, unless a strategy says otherwise.
    fn held(&self, kept: &Self::Kept) -> Held {
        let _ = kept;
        Held::Whole
    }

    /// Tells in a copy how many attempts were made before it: in `header`, if there is one, and as the protocol has it.
    ///
    /// Nothing is told, unless a strategy does.
    fn tell_attempts(&self, _request: &mut Req, _before: u32, _header: Option<&HeaderName>) {}

    /// Whether a request tells in `header` that somebody further out has sent it before.
    ///
    /// It doesn't, unless a strategy says otherwise.
    fn tells_of_attempts(&self, _request: &Req, _header: &HeaderName) -> bool {
        false
    }
}

/// What is kept of a request that is given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The head alone: copies are [`CopyAs::HeadOnly`].
    Head,
    /// The head, and the body as it is read.
    Whole,
}

/// What a copy of a request is for, and so what it holds.
///
/// | field | `Same` | `ForProvider` | `HeadOnly` |
/// |---|---|---|---|
/// | method, URI, version, extensions | yes | yes | yes |
/// | `Range`, `If-Range`, `If-Modified-Since` | yes | no | no |
/// | `If-Match`, `If-None-Match`, `If-Unmodified-Since` | yes | of unsafe methods | of unsafe methods |
/// | `Content-*`, `Transfer-Encoding`, `Trailer`, `Expect` | yes | yes | no |
/// | any other header | yes | yes | yes |
/// | body and trailers | yes | yes | no |
///
/// Ranges and validators (RFC 9110 §13 and §14) name a representation of the source that the caller had in mind. Another
/// source knows nothing of them. On a method that changes something they guard against a lost update, and stay.
///
/// A head-only copy tells by the extension [`LeftOut`] what of a body it leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyAs {
    /// As it was: the same request to the same service.
    Same,
    /// For another source of the same thing.
    ForProvider,
    /// For another source that needs no body.
    HeadOnly,
}

/// Why there is no copy of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotCopied {
    /// Its head alone was kept ([`Keep::Head`]).
    HeadOnly,
    /// Its body can't be replayed.
    Body(NotReplayable),
    /// Its head holds a header that HTTP doesn't allow, made by unchecked means.
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
            Self::InvalidHead => f.write_str("the request's head holds a header that HTTP doesn't allow"),
        }
    }
}

impl Error for NotCopied {}
