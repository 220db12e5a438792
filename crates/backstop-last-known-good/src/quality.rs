//! Whether an answer is good or degraded, by reports and labels.

use backstop_core::{
    Degradation, Freshness, Rejection, Scope, X_DATA_FRESHNESS, X_FALLBACK_SOURCE, scope as reporting,
};
use http::{Extensions, HeaderMap};

use crate::headers::IndexedHeaders;

/// How good an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quality {
    /// Fresh from its source.
    Good,
    /// Stale, degraded, or a rejection.
    Degraded,
}

impl Quality {
    /// By the reports in this scope since the last call, and by whether an injected fault has hit it. The reports are passed on to
    /// the outer scope.
    pub(crate) fn reported_in(scope: &mut Scope) -> Self {
        let reports = scope.take_reports();
        let is_degraded = scope.has_injected_fault() || reports.iter().any(is_degraded_record);
        let quality = if is_degraded { Self::Degraded } else { Self::Good };
        reporting::pass_on(reports);
        quality
    }

    /// By the labels in trailers.
    pub(crate) fn of_trailers(trailers: &HeaderMap) -> Self {
        if has_degraded_label(&IndexedHeaders::new(trailers)) { Self::Degraded } else { Self::Good }
    }

    /// The worse of `self` and what the response says about itself.
    pub(crate) fn and_of_response(self, extensions: &Extensions, headers: &IndexedHeaders<'_>) -> Self {
        let is_degraded = extensions.get().is_some_and(is_degraded_record)
            || extensions.get::<Rejection>().is_some()
            || has_degraded_label(headers);
        if is_degraded { Self::Degraded } else { self }
    }
}

fn is_degraded_record(record: &Degradation) -> bool {
    record.freshness() != Freshness::Fresh
}

/// By the labels of an upstream service. Anything but `fresh` counts as degraded, and so does a source without a freshness.
fn has_degraded_label<'a>(headers: &IndexedHeaders<'a>) -> bool {
    if !headers.contains(&X_DATA_FRESHNESS) {
        return headers.contains(&X_FALLBACK_SOURCE);
    }
    let mut labels = headers.get_all(&X_DATA_FRESHNESS).flat_map(|label| label.as_bytes().split(|byte| *byte == b','));
    let token = |label: &'a [u8]| label.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    labels.any(|label| !token(label).eq_ignore_ascii_case(b"fresh"))
}
