//! What of a request a head-only copy doesn't hold.

use std::fmt;

use http::HeaderMap;

/// What a [head-only](crate::CopyAs::HeadOnly) copy of an HTTP request leaves out: an extension of the copy, where there
/// was anything.
///
/// For sources that need no body, and must know all the same whether there was one: a stored answer to a `GET` without
/// content doesn't answer one with content.
#[derive(Clone)]
#[must_use]
pub struct LeftOut {
    headers: HeaderMap,
    has_body: bool,
}

impl LeftOut {
    /// `None` where nothing is left out.
    pub(super) fn of(headers: HeaderMap, has_body: bool) -> Option<Self> {
        (has_body || !headers.is_empty()).then_some(Self { headers, has_body })
    }

    /// The fields that tell of the body, in order: `Content-*`, `Transfer-Encoding`, `Trailer` and `Expect`.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Whether there was a body: on HTTP/2 and later no field need tell. One that is empty counts unless it says so; of GET
    /// and HEAD it is found out by [`has_content`](crate::has_content).
    #[must_use]
    pub const fn has_body(&self) -> bool {
        self.has_body
    }
}

impl fmt::Debug for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the fields: they hold what may not be logged.
        f.debug_struct("LeftOut").field("has_body", &self.has_body).finish_non_exhaustive()
    }
}
