//! What the layer tells an operator: only what the chains, which report each degradation, don't.

use http::HeaderName;

pub(crate) fn unreadable(header: &HeaderName) {
    tracing::debug!(target: "backstop::degradation_header", %header, "removed a label that doesn't parse");
}

pub(crate) fn unknown(header: &HeaderName) {
    tracing::debug!(target: "backstop::degradation_header", %header, "took a freshness that isn't known for `degraded`");
}
