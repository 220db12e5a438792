//! Labels responses.

use std::{borrow::Cow, collections::HashSet, hash::Hash};

use backstop_core::{
    Degradation, Freshness, Rejection,
    grpc::{self, GrpcCode},
};
use backstop_kit::caching;
use http::{HeaderValue, Response, StatusCode};

use crate::{
    expose,
    inner_labels::{InnerLabels, WrittenLabels},
    layer_state::LayerState,
    settings::{BrowserAccess, CacheSafety, CacheStatus, Details, InnerHeaders, PublicNames, Report, Settings},
    status,
};

/// Labels `response`. `reports` were made during its call.
pub(crate) fn label<B>(state: &LayerState, reports: Vec<Degradation>, response: &mut Response<B>) {
    let settings = &*state.settings.load();
    let (headers, extensions) = (response.headers(), response.extensions());
    let untouched = reports.is_empty()
        && extensions.get::<Degradation>().is_none()
        && extensions.get::<WrittenLabels>().is_none()
        && !headers.contains_key(&settings.source_header)
        && !headers.contains_key(&settings.freshness_header);
    if !untouched {
        label_degraded(state, settings, reports, response);
    } else if settings.report == Report::Always {
        label_fresh(settings, response);
    }
    if let Some(gateway) = &settings.proxy_status {
        status::write_proxy_status(gateway, response);
    }
    if settings.browsers == BrowserAccess::Expose {
        expose::expose(settings, response.headers_mut());
    }
}

/// Labels a response as fresh, unless it is a failure or a 304.
fn label_fresh<B>(settings: &Settings, response: &mut Response<B>) {
    let failed = response.status().is_server_error()
        || response.status() == StatusCode::NOT_MODIFIED
        || response.extensions().get::<Rejection>().is_some()
        || grpc::status_in_headers(response.headers()).is_some_and(|code| code != GrpcCode::OK);
    if !failed {
        response.headers_mut().insert(&settings.freshness_header, HeaderValue::from_static("fresh"));
    }
}

fn label_degraded<B>(state: &LayerState, settings: &Settings, reports: Vec<Degradation>, response: &mut Response<B>) {
    let public_names = &state.public_names;
    let written = response.extensions_mut().remove::<WrittenLabels>();
    let elsewhere = written.iter().flat_map(|written| &written.reports);
    // The extension may come from another task, whose reports don't reach this scope.
    let elsewhere = elsewhere.chain(response.extensions().get::<Degradation>()).cloned();
    let reports = dedup_by_key(reports.into_iter().chain(elsewhere), Degradation::id);

    if settings.cache_status == CacheStatus::Write {
        status::write_cache_status(public_names, response);
    }
    // A cache adds the fields of a 304 to its copy, and keeps them (RFC 9111 §3.2).
    let takes_labels = response.status() != StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    let inner = match settings.inner_headers {
        InnerHeaders::Keep => {
            let names = (&settings.source_header, &settings.freshness_header);
            InnerLabels::read(names, headers, written.as_ref())
        }
        InnerHeaders::Remove => InnerLabels::default(),
    };
    headers.remove(&settings.source_header);
    headers.remove(&settings.freshness_header);
    let Some(worst) = reports.iter().map(|report| Some(report.current_freshness())).fold(inner.freshness, Ord::max)
    else {
        if settings.report == Report::Always {
            label_fresh(settings, response);
        }
        return;
    };
    // The greater age counts.
    let worst = match worst {
        Freshness::Stale { age: Some(age) } => {
            Freshness::stale(caching::age(headers).map_or(age, |known| known.max(age)))
        }
        other => other,
    };

    let names = names(public_names, &reports);
    let source = sources(settings.details, public_names, &names, &inner);
    let freshness = freshness(settings, worst);
    if takes_labels {
        if let Some(source) = &source {
            headers.insert(&settings.source_header, source.clone());
        }
        headers.insert(&settings.freshness_header, freshness.clone());
        state.labelled.add(&reports);
    }
    if settings.cache_safety == CacheSafety::Enforce || worst.age().is_some() {
        caching::set_headers(headers, worst);
    }
    let names = names.into_iter().map(|(name, _)| name).collect();
    response.extensions_mut().insert(WrittenLabels { reports, inner, names, source, freshness });
}

/// The public paths of the reported sources, each once.
fn names<'a>(public_names: &PublicNames, reports: &'a [Degradation]) -> Vec<(String, &'a Degradation)> {
    let named = |report: &'a Degradation| Some((public_names.of_path(report.path())?, report));
    dedup_by_key(reports.iter().filter_map(named), |(name, _)| name.clone())
}

/// The list of sources, each once: reported sources first, then those of the handler.
fn sources(
    details: Details,
    public_names: &PublicNames,
    names: &[(String, &Degradation)],
    inner: &InnerLabels,
) -> Option<HeaderValue> {
    let reported = names.iter().map(|(name, report)| {
        let parameters = || format!("{name};index={};reason={}", report.position(), report.reason());
        let text = match details {
            Details::Plain => Cow::Borrowed(name.as_str()),
            Details::Parameters => Cow::Owned(parameters()),
        };
        (Cow::Borrowed(name.as_str()), text)
    });
    let labelled = inner.sources.iter().filter_map(|member| {
        if !public_names.are_mapped() {
            return Some((Cow::Borrowed(member.token()), Cow::Borrowed(member.text())));
        }
        let name = Cow::Owned(public_names.of_token(member.token())?);
        Some((Cow::clone(&name), name))
    });
    let texts: Vec<_> = dedup_by_key(reported.chain(labelled), |(token, _)| Cow::clone(token))
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    // Tokens and their parameters are printable ASCII, so only an empty list isn't a label.
    HeaderValue::try_from(texts.join(", ")).ok().filter(|list| !list.is_empty())
}

/// The items in order, each key once. Takes linear time, since the number of reports is unbounded.
fn dedup_by_key<T, K: Hash + Eq>(items: impl IntoIterator<Item = T>, key: impl Fn(&T) -> K) -> Vec<T> {
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
            let once = dedup_by_key(twice, |item| Counting(*item, &compared));
            assert!(once.into_iter().eq(0..n), "{times}");
            // One for each that comes again, and now and then one for hashes that are much alike.
            assert!((n..2 * n).contains(&compared.get()), "{times}: {}", compared.get());
        }
    }
}
