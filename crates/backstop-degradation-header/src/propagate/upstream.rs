//! An upstream service, and what its responses say about themselves.

use backstop_core::{Degradation, Freshness, Name, Reason, scope};
use backstop_kit::caching;
use http::{HeaderName, HeaderValue, Response};

use crate::{
    inner_labels::{InnerLabels, WrittenLabels},
    parse::Member,
    telemetry,
};

/// The reason in the reports of [`PropagateDegradationLayer`](crate::PropagateDegradationLayer): the upstream labelled its
/// answer as degraded, stale, or from another source.
pub const UPSTREAM_DEGRADED: Reason = Reason::new("upstream-degraded");

/// The most sources that are reported, and their maximum length in total.
const MAX_SOURCES: usize = 8;
const MAX_BYTES: usize = 256;

/// An upstream service, and the headers in which it labels its responses.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    pub(super) name: Name,
    pub(super) source_header: HeaderName,
    pub(super) freshness_header: HeaderName,
}

impl Upstream {
    /// Reports what `response` says about itself, and rewrites its labels accordingly.
    #[inline]
    pub(super) fn report<B>(&self, response: &mut Response<B>) {
        let headers = response.headers();
        if headers.contains_key(&self.source_header) || headers.contains_key(&self.freshness_header) {
            self.report_labels(response);
        }
    }

    #[cold]
    fn report_labels<B>(&self, response: &mut Response<B>) {
        if response.extensions().get::<WrittenLabels>().is_some() {
            return;
        }
        let labels = InnerLabels::read((&self.source_header, &self.freshness_header), response.headers(), None);
        let Some(freshness) = labels.freshness else { return };
        if freshness == Freshness::Fresh && labels.sources.is_empty() {
            return;
        }
        let record = |source: Name| Degradation::new(self.name.clone(), source, 1, UPSTREAM_DEGRADED, freshness);
        let mut reports: Vec<_> = self.paths(&labels.sources).map(|path| self.inside(path, record)).collect();
        if reports.is_empty() {
            reports.push(record(self.name.clone()));
        }
        reports.iter().cloned().for_each(scope::report);
        self.rewrite(response, reports, freshness);
    }

    /// The paths of the sources that are within the limits.
    fn paths<'a>(&'a self, sources: &'a [Member]) -> impl Iterator<Item = Vec<Name>> + 'a {
        let (mut seen, mut left) = (Vec::new(), MAX_BYTES);
        let path = move |source: &'a Member| {
            let token = source.token();
            let Some(path) = path(token) else {
                telemetry::unnamed(&self.source_header);
                return None;
            };
            // As it is cut: two that differ further in are one.
            if seen.contains(&path) {
                return None;
            }
            seen.push(path.clone());
            left = left.checked_sub(token.len())?;
            Some(path)
        };
        sources.iter().filter_map(path).take(MAX_SOURCES)
    }

    /// The record of the last name of `path`, inside the others, inside this service.
    fn inside(&self, mut path: Vec<Name>, record: impl Fn(Name) -> Degradation) -> Degradation {
        let source = path.pop().unwrap_or_else(|| self.name.clone());
        let record = path.into_iter().rev().fold(record(source), |record, name| record.inside(name));
        record.inside(self.name.clone())
    }

    /// Writes the labels as they are reported, and marks them as written by this crate.
    fn rewrite<B>(&self, response: &mut Response<B>, reports: Vec<Degradation>, freshness: Freshness) {
        let names: Vec<_> = reports.iter().map(|report| report.path().to_string()).collect();
        // Names are printable ASCII.
        let source = HeaderValue::try_from(names.join(", ")).ok();
        let headers = response.headers_mut();
        if freshness.age().is_some() {
            caching::set_headers(headers, freshness);
        }
        let freshness = HeaderValue::from_static(freshness.as_str());
        headers.remove(&self.source_header);
        if let Some(source) = &source {
            headers.insert(&self.source_header, source.clone());
        }
        headers.insert(&self.freshness_header, freshness.clone());
        let written = WrittenLabels { reports, inner: InnerLabels::default(), names, source, freshness };
        response.extensions_mut().insert(written);
    }
}

/// The names of a source, as many as a path has beside the upstream's own. `None` if one isn't a name.
fn path(token: &str) -> Option<Vec<Name>> {
    let names = token.split('/').take(Degradation::MAX_PATH - 1);
    names.map(|name| Name::new(name.to_owned()).ok()).collect()
}
