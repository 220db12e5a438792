//! Lets scripts of other origins read the headers.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCESS_CONTROL_EXPOSE_HEADERS, AGE},
};

use crate::{
    settings::Settings,
    status::{CACHE_STATUS, PROXY_STATUS},
};

/// Adds those of our headers that are in `headers` to `Access-Control-Expose-Headers`.
///
/// Also where `*` is exposed: to a request with credentials, that is a header of this name
/// ([Fetch §4.10](https://fetch.spec.whatwg.org/#http-access-control-expose-headers)).
pub(crate) fn expose(settings: &Settings, headers: &mut HeaderMap) {
    let is_labelled = headers.contains_key(&settings.freshness_header) || headers.contains_key(&settings.source_header);
    let ours = [
        is_labelled.then_some(&settings.source_header),
        is_labelled.then_some(&settings.freshness_header),
        is_labelled.then_some(&AGE),
        Some(&CACHE_STATUS),
        Some(&PROXY_STATUS),
    ];
    let added: Vec<_> = ours
        .into_iter()
        .flatten()
        .filter(|name| headers.contains_key(*name) && !is_exposed(headers, name))
        .map(HeaderName::as_str)
        .collect();
    if let Ok(added) = HeaderValue::try_from(added.join(", "))
        && !added.is_empty()
    {
        headers.append(ACCESS_CONTROL_EXPOSE_HEADERS, added);
    }
}

fn is_exposed(headers: &HeaderMap, name: &HeaderName) -> bool {
    let lists = headers.get_all(ACCESS_CONTROL_EXPOSE_HEADERS).iter();
    lists
        .flat_map(|list| list.as_bytes().split(|byte| *byte == b','))
        .any(|exposed| exposed.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
}
