//! Writes the labels.

use std::{borrow::Cow, collections::HashSet, hash::Hash};

use backstop_core::{
    Degradation, Freshness, Name, Rejection,
    grpc::{self, GrpcCode},
};
use backstop_kit::caching;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::{
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
    /// What the reported sources were called.
    names: Vec<Name>,
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

/// Only what is an answer can be a fresh one; a 304 is labelled with nothing.
fn label_fresh<B>(settings: &Settings, response: &mut Response<B>) {
    let failed = response.status().is_server_error()
        || response.status() == StatusCode::NOT_MODIFIED
        || response.extensions().get::<Rejection>().is_some()
        || grpc::status_in_headers(response.headers()).is_some_and(|code| code != GrpcCode::OK);
    if !failed {
        response.headers_mut().insert(&settings.freshness_header, HeaderValue::from_static("fresh"));
    }
}

fn label_degraded<B>(settings: &Settings, reports: Vec<Degradation>, response: &mut Response<B>) {
    let labelled = response.extensions_mut().remove::<Labelled>();
    let elsewhere = labelled.iter().flat_map(|labelled| &labelled.reports);
    // The extension may be one that was reported in another task, where this scope doesn't reach.
    let elsewhere = elsewhere.chain(response.extensions().get::<Degradation>()).cloned();
    let reports = each_once(reports.into_iter().chain(elsewhere), Degradation::id);

    // A cache adds what a 304 holds to the copy that it has, and keeps it there (RFC 9111 §3.2).
    let takes_labels = response.status() != StatusCode::NOT_MODIFIED;
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
    // It is as old as the oldest thing known of it.
    let worst = match worst {
        Freshness::Stale { age: Some(age) } => {
            Freshness::stale(caching::age(headers).map_or(age, |known| known.max(age)))
        }
        other => other,
    };

    let names = names(settings, &reports);
    let source = sources(settings, &names, &word);
    let freshness = freshness(settings, worst);
    if takes_labels {
        if let Some(source) = &source {
            headers.insert(&settings.source_header, source.clone());
        }
        headers.insert(&settings.freshness_header, freshness.clone());
    }
    if settings.cache_safety == CacheSafety::Enforce || worst.age().is_some() {
        caching::tell(headers, worst);
    }
    let names = names.into_iter().map(|(name, _)| name).collect();
    response.extensions_mut().insert(Labelled { reports, word, names, source, freshness });
}

impl Word {
    /// What the headers say, without what a layer further in wrote of its own.
    fn read(settings: &Settings, headers: &HeaderMap, labelled: Option<&Labelled>) -> Self {
        let (source_header, freshness_header) = (&settings.source_header, &settings.freshness_header);
        let mut word = Self::default();
        match parse::list(&without(headers, freshness_header, labelled.map(|labelled| &labelled.freshness))) {
            None => {
                telemetry::unreadable(freshness_header);
                word.freshness = Some(Freshness::Degraded);
            }
            Some(words) => word.freshness = words.iter().map(|word| read_freshness(freshness_header, word)).max(),
        }
        if let Some(Freshness::Stale { age }) = &mut word.freshness {
            *age = age.or_else(|| caching::age(headers));
        }
        let sources =
            parse::list(&without(headers, source_header, labelled.and_then(|labelled| labelled.source.as_ref())));
        if sources.is_none() {
            telemetry::unreadable(source_header);
        }
        let are_others = sources.is_none();
        word.sources = sources.unwrap_or_default();
        if let Some(Labelled { names, .. }) = labelled {
            // Somebody added to what we wrote.
            word.sources.retain(|member| !names.iter().any(|name| name == member.token()));
        }
        // Somebody else than the primary answered, and nobody said that it is as good.
        if are_others || !word.sources.is_empty() {
            word.freshness.get_or_insert_default();
        }
        if let Some(Labelled { word: inner, .. }) = labelled {
            word.sources.extend(inner.sources.iter().cloned());
            word.freshness = word.freshness.max(inner.freshness);
        }
        word
    }
}

/// The fields of this name, without the one that a layer further in wrote.
fn without<'a>(headers: &'a HeaderMap, name: &HeaderName, written: Option<&HeaderValue>) -> Vec<&'a HeaderValue> {
    let mut written = written;
    headers.get_all(name).iter().filter(|field| written.take_if(|written| written == field).is_none()).collect()
}

/// A word that we don't know says that something is wrong: else there would be none.
fn read_freshness(header: &HeaderName, word: &Member) -> Freshness {
    parse::freshness(word).unwrap_or_else(|| {
        telemetry::unknown(header);
        Freshness::Degraded
    })
}

/// What the reported sources are called.
fn names<'a>(settings: &Settings, reports: &'a [Degradation]) -> Vec<(Name, &'a Degradation)> {
    let named = |report: &'a Degradation| Some((settings.public_names.of(report.source())?, report));
    each_once(reports.iter().filter_map(named), |(name, _)| name.clone())
}

/// The list of sources, each once: what was reported, then what the handler said.
fn sources(settings: &Settings, names: &[(Name, &Degradation)], word: &Word) -> Option<HeaderValue> {
    let reported = names.iter().map(|(name, report)| {
        let parameters = || format!("{name};index={};reason={}", report.position(), report.reason());
        let text = match settings.details {
            Details::Plain => Cow::Borrowed(name.as_str()),
            Details::Parameters => Cow::Owned(parameters()),
        };
        (Cow::Borrowed(name.as_str()), text)
    });
    let said = word.sources.iter().filter_map(|member| {
        if !settings.public_names.are_mapped() {
            return Some((Cow::Borrowed(member.token()), Cow::Borrowed(member.text())));
        }
        let name = Cow::Owned(settings.public_names.of_token(member.token())?);
        Some((Cow::clone(&name), name))
    });
    let texts: Vec<_> =
        each_once(reported.chain(said), |(token, _)| Cow::clone(token)).into_iter().map(|(_, text)| text).collect();
    // Tokens and their parameters are printable ASCII: this can't fail but on an empty list.
    HeaderValue::try_from(texts.join(", ")).ok().filter(|list| !list.is_empty())
}

/// The items in order, each once: in linear time, since nobody bounds how many there are.
fn each_once<T, K: Hash + Eq>(items: impl IntoIterator<Item = T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = HashSet::new();
    items.into_iter().filter(|item| seen.insert(key(item))).collect()
}

fn freshness(settings: &Settings, worst: Freshness) -> HeaderValue {
    let plain = HeaderValue::from_static(worst.as_str());
    match (settings.details, worst.age()) {
        (Details::Parameters, Some(age)) => {
            HeaderValue::try_from(format!("{worst};age={}", caching::whole_seconds(age))).unwrap_or(plain)
        }
        _ => plain,
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, hash::Hasher};

    use super::*;

    /// A key that counts how often it is compared.
    #[derive(Clone, Copy)]
    struct Counting<'a>(usize, &'a Cell<usize>);

    impl Hash for Counting<'_> {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }

    impl PartialEq for Counting<'_> {
        fn eq(&self, other: &Self) -> bool {
            self.1.set(self.1.get() + 1);
            self.0 == other.0
        }
    }

    impl Eq for Counting<'_> {}

    #[test]
    fn reports_that_come_twice_are_merged_in_linear_time() {
        for times in [1, 2, 4] {
            let (n, compared) = (1_000 * times, Cell::new(0));
            let twice = (0..n).chain(0..n);
            let once = each_once(twice, |item| Counting(*item, &compared));
            assert!(once.into_iter().eq(0..n), "{times}");
            // One for each that comes again, and now and then one for hashes that are much alike.
            assert!((n..2 * n).contains(&compared.get()), "{times}: {}", compared.get());
        }
    }
}
