//! What a head-only copy leaves out.

use std::fmt;

use http::HeaderMap;

/// What a [head-only](crate::CopyAs::HeadOnly) copy of an HTTP request leaves out. An extension of the copy, if anything was
/// left out.
///
/// For sources that don't need the body, but must know whether there was one: the stored answer to a `GET` without content
/// is no answer to one with content.
#[derive(Clone)]
#[must_use]
pub struct LeftOut {
    headers: HeaderMap,
    has_body: bool,
}

impl LeftOut {
    /// `None` if nothing is left out.
    pub(super) fn of(headers: HeaderMap, has_body: bool) -> Option<Self> {
        (has_body || !headers.is_empty()).then_some(Self { headers, has_body })
    }

    /// The fields that describe the body, in order: `Content-*`, `Transfer-Encoding`, `Trailer` and `Expect`.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Whether there was a body. In HTTP/2 and later, no header has to say so. For GET and HEAD,
    /// [`has_content`](crate::has_content) decides. For other methods, any body counts that doesn't know that it is empty.
    #[must_use]
    pub const fn has_body(&self) -> bool {
        self.has_body
    }
}

impl fmt::Debug for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the headers, which must not be logged.
        f.debug_struct("LeftOut").field("has_body", &self.has_body).finish_non_exhaustive()
    }
}
