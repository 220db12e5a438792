//! Writes the labels.

use std::{fmt::Write as _, time::Duration};

use backstop_core::{
    Degradation, Freshness, Rejection,
    grpc::{self, GrpcCode},
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header::AGE};

use crate::{
    cache,
    config::{CacheSafety, Details, InnerHeaders, Report, Settings},
    parse::{self, Member},
    telemetry,
};

/// What a handler said of its answer itself.
#[derive(Clone, Debug, Default)]
struct Word {
    sources: Vec<Member>,
    freshness: Option<Freshness>,
}

/// Left on a labelled response for a layer of this kind further out, which then knows what of it is ours.
#[derive(Clone, Debug)]
struct Labelled {
    reports: Vec<Degradation>,
    word: Word,
    source: Option<HeaderValue>,
    freshness: HeaderValue,
}

/// Labels `response`, in whose making `reports` were made.
pub(crate) fn label<B>(settings: &Settings, reports: Vec<Degradation>, response: &mut Response<B>) {
    let (headers, extensions) = (response.headers(), response.extensions());
    let untouched = reports.is_empty()
        && extensions.get::<Degradation>().is_none()
        && extensions.get::<Labelled>().is_none()
        && !headers.contains_key(&settings.source_header)
        && !headers.contains_key(&settings.freshness_header);
    if !untouched {
        label_degraded(settings, reports, response);
    } else if settings.report == Report::Always {
        label_fresh(settings, response);
    }
}

/// Only what is an answer can be a fresh one.
fn label_fresh<B>(settings: &Settings, response: &mut Response<B>) {
    let failed = response.status().is_server_error()
        || response.extensions().get::<Rejection>().is_some()
        || grpc::status_in_headers(response.headers()).is_some_and(|code| code != GrpcCode::OK);
    if !failed {
        response.headers_mut().insert(&settings.freshness_header, HeaderValue::from_static("fresh"));
    }
}

fn label_degraded<B>(settings: &Settings, mut reports: Vec<Degradation>, response: &mut Response<B>) {
    let labelled = response.extensions_mut().remove::<Labelled>();
    let elsewhere = labelled.iter().flat_map(|labelled| &labelled.reports);
    // The extension may be one that was reported in another task, where this scope doesn't reach.
    for record in elsewhere.chain(response.extensions().get::<Degradation>()) {
        if !reports.iter().any(|report| report.is(record)) {
            reports.push(record.clone());
        }
    }

    let headers = response.headers_mut();
    let word = match settings.inner_headers {
        InnerHeaders::Keep => Word::read(settings, headers, labelled.as_ref()),
        InnerHeaders::Remove => Word::default(),
    };
    headers.remove(&settings.source_header);
    headers.remove(&settings.freshness_header);
    let Some(worst) = reports.iter().map(|report| Some(report.freshness())).fold(word.freshness, Ord::max) else {
        if settings.report == Report::Always {
            label_fresh(settings, response);
        }
        return;
    };

    let source = sources(settings, &reports, &word);
    if let Some(source) = &source {
        headers.insert(&settings.source_header, source.clone());
    }
    let freshness = freshness(settings, worst);
    headers.insert(&settings.freshness_header, freshness.clone());
    match worst {
        Freshness::Fresh => {}
        Freshness::Stale { age: Some(age) } => _ = headers.insert(AGE, whole_seconds(age).into()),
        Freshness::Stale { age: None } | Freshness::Degraded => {
            if settings.cache_safety == CacheSafety::Enforce {
                cache::forbid(headers);
            }
        }
    }
    response.extensions_mut().insert(Labelled { reports, word, source, freshness });
}

impl Word {
    /// What the headers say, without what a layer further in wrote of its own.
    fn read(settings: &Settings, headers: &HeaderMap, labelled: Option<&Labelled>) -> Self {
        let (source_header, freshness_header) = (&settings.source_header, &settings.freshness_header);
        let ours = |name: &HeaderName, written| parse::is_only(headers, name, written);
        let mut word = Self::default();
        if headers.contains_key(freshness_header)
            && !ours(freshness_header, labelled.map(|labelled| &labelled.freshness))
        {
            let words = parse::list(headers, freshness_header);
            word.freshness = words.as_deref().and_then(parse::freshness);
            match word.freshness {
                None => telemetry::unreadable(freshness_header),
                Some(Freshness::Stale { age: None }) => {
                    word.freshness = Some(Freshness::Stale { age: parse::age(headers) });
                }
                Some(_) => {}
            }
        }
        if headers.contains_key(source_header)
            && !ours(source_header, labelled.and_then(|labelled| labelled.source.as_ref()))
        {
            let sources = parse::list(headers, source_header);
            if sources.is_none() {
                telemetry::unreadable(source_header);
            }
            // Somebody else than the primary answered, and nobody said that it is as good.
            if sources.as_ref().is_none_or(|sources| !sources.is_empty()) {
                word.freshness.get_or_insert_default();
            }
            word.sources = sources.unwrap_or_default();
        }
        if let Some(Labelled { word: inner, .. }) = labelled {
            word.sources.extend(inner.sources.iter().cloned());
            word.freshness = word.freshness.max(inner.freshness);
        }
        word
    }
}

/// The list of sources, each once: what was reported, then what the handler said.
fn sources(settings: &Settings, reports: &[Degradation], word: &Word) -> Option<HeaderValue> {
    let names: Vec<_> =
        reports.iter().filter_map(|report| Some((settings.public_names.of(report.source())?, report))).collect();
    let mut listed: Vec<&str> = Vec::with_capacity(names.len() + word.sources.len());
    let mut list = String::new();
    for (name, report) in &names {
        if begin(&mut list, &mut listed, name.as_str()) {
            list.push_str(name.as_str());
            if settings.details == Details::Parameters {
                _ = write!(list, ";index={};reason={}", report.position(), report.reason());
            }
        }
    }
    for member in &word.sources {
        if begin(&mut list, &mut listed, member.token()) {
            list.push_str(member.text());
        }
    }
    // Tokens and their parameters are printable ASCII: this can't fail but on an empty list.
    HeaderValue::try_from(list).ok().filter(|list| !list.is_empty())
}

/// Begins another member of the list, unless its token is listed already.
fn begin<'a>(list: &mut String, listed: &mut Vec<&'a str>, token: &'a str) -> bool {
    if listed.contains(&token) {
        return false;
    }
    if !listed.is_empty() {
        list.push_str(", ");
    }
    listed.push(token);
    true
}

fn freshness(settings: &Settings, worst: Freshness) -> HeaderValue {
    let plain = HeaderValue::from_static(worst.as_str());
    match (settings.details, worst.age()) {
        (Details::Parameters, Some(age)) => {
            HeaderValue::try_from(format!("{worst};age={}", whole_seconds(age))).unwrap_or(plain)
        }
        _ => plain,
    }
}

/// Rounded down: an age counts seconds that have passed (RFC 9111 §5.1).
fn whole_seconds(age: Duration) -> u64 {
    age.as_secs().min(parse::MOST_SECONDS)
}
