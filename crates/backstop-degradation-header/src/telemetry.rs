//! Events. Degradations have none here, since the chains that report them log them.

use http::HeaderName;

pub(crate) fn unreadable(header: &HeaderName) {
    tracing::debug!(target: "backstop::degradation_header", %header, "removed a label that doesn't parse");
}

pub(crate) fn unknown(header: &HeaderName) {
    tracing::debug!(target: "backstop::degradation_header", %header, "took a freshness that isn't known for `degraded`");
}

pub(crate) fn unnamed(header: &HeaderName) {
    tracing::debug!(target: "backstop::degradation_header", %header, "left out an upstream's source that isn't a name");
}
