//! How good an answer is, by what is said of it.

use backstop_core::{
    Degradation, Freshness, Rejection, Scope, X_DATA_FRESHNESS, X_FALLBACK_SOURCE, scope as reporting,
};
use http::{Extensions, HeaderMap};

use crate::headers::IndexedHeaders;

/// How good an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quality {
    /// As good as its source can make it.
    Good,
    /// Made of less: stale, degraded, or no answer at all.
    Degraded,
}

impl Quality {
    /// By what was reported in this scope since this was asked last, which moves on to the scope around it.
    pub(crate) fn reported_in(scope: &mut Scope) -> Self {
        let reports = scope.take_reports();
        let quality = if reports.iter().any(is_less) { Self::Degraded } else { Self::Good };
        reporting::pass_on(reports);
        quality
    }

    /// By its trailers.
    pub(crate) fn told_by_trailers(trailers: &HeaderMap) -> Self {
        if is_labelled_as_less(&IndexedHeaders::new(trailers)) { Self::Degraded } else { Self::Good }
    }

    /// This, or less, by what the answer says of itself.
    pub(crate) fn and_told_by(self, extensions: &Extensions, headers: &IndexedHeaders<'_>) -> Self {
        let is_degraded = extensions.get().is_some_and(is_less)
            || extensions.get::<Rejection>().is_some()
            || is_labelled_as_less(headers);
        if is_degraded { Self::Degraded } else { self }
    }
}

fn is_less(record: &Degradation) -> bool {
    record.freshness() != Freshness::Fresh
}

/// By the labels of a service further in, which come over the network. What is neither `fresh` nor readable is less, and so
/// is what comes from elsewhere and doesn't say that it is as good.
fn is_labelled_as_less<'a>(headers: &IndexedHeaders<'a>) -> bool {
    if !headers.contains(&X_DATA_FRESHNESS) {
        return headers.contains(&X_FALLBACK_SOURCE);
    }
    let mut labels = headers.get_all(&X_DATA_FRESHNESS).flat_map(|label| label.as_bytes().split(|byte| *byte == b','));
    let word = |label: &'a [u8]| label.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    labels.any(|label| !word(label).eq_ignore_ascii_case(b"fresh"))
}
