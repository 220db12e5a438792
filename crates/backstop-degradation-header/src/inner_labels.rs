//! Labels that are in a response already.

use backstop_core::{Degradation, Freshness};
use backstop_kit::caching;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    parse::{self, Member},
    telemetry,
};

/// Labels that a handler or an upstream set.
#[derive(Clone, Debug, Default)]
pub(crate) struct InnerLabels {
    pub(crate) sources: Vec<Member>,
    pub(crate) freshness: Option<Freshness>,
}

/// An extension of a labelled response. It shows an outer layer of this kind which labels are ours.
#[derive(Clone, Debug)]
pub(crate) struct WrittenLabels {
    pub(crate) reports: Vec<Degradation>,
    pub(crate) inner: InnerLabels,
    /// The public paths of the reported sources.
    pub(crate) names: Vec<String>,
    pub(crate) source: Option<HeaderValue>,
    pub(crate) freshness: HeaderValue,
}

impl InnerLabels {
    /// Reads the labels in `headers`, except those that an inner layer of this kind wrote.
    pub(crate) fn read(
        (source_header, freshness_header): (&HeaderName, &HeaderName),
        headers: &HeaderMap,
        written: Option<&WrittenLabels>,
    ) -> Self {
        let mut labels = Self::default();
        match parse::list(&without(headers, freshness_header, written.map(|written| &written.freshness))) {
            None => {
                telemetry::unreadable(freshness_header);
                labels.freshness = Some(Freshness::Degraded);
            }
            Some(members) => {
                labels.freshness = members.iter().map(|member| read_freshness(freshness_header, member)).max();
            }
        }
        if let Some(Freshness::Stale { age }) = &mut labels.freshness {
            *age = (*age).max(caching::age(headers));
        }
        let sources =
            parse::list(&without(headers, source_header, written.and_then(|written| written.source.as_ref())));
        if sources.is_none() {
            telemetry::unreadable(source_header);
        }
        let is_unreadable = sources.is_none();
        labels.sources = sources.unwrap_or_default();
        if let Some(WrittenLabels { names, .. }) = written {
            // Somebody appended to a label that we wrote.
            labels.sources.retain(|member| !names.iter().any(|name| name == member.token()));
        }
        // A source other than the primary, without a freshness, counts as degraded.
        if is_unreadable || !labels.sources.is_empty() {
            labels.freshness.get_or_insert_default();
        }
        if let Some(WrittenLabels { inner: inner_labels, .. }) = written {
            labels.sources.extend(inner_labels.sources.iter().cloned());
            labels.freshness = labels.freshness.max(inner_labels.freshness);
        }
        labels
    }
}

/// The fields with this name, except the one that an inner layer of this kind wrote.
fn without<'a>(headers: &'a HeaderMap, name: &HeaderName, written: Option<&HeaderValue>) -> Vec<&'a HeaderValue> {
    let mut written = written;
    headers.get_all(name).iter().filter(|field| written.take_if(|written| written == field).is_none()).collect()
}

/// An unknown word counts as degraded: whoever set it didn't mean that all is well.
fn read_freshness(header: &HeaderName, member: &Member) -> Freshness {
    parse::freshness(member).unwrap_or_else(|| {
        telemetry::unknown(header);
        Freshness::Degraded
    })
}
