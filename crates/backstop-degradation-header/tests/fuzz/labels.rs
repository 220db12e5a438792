//! An upstream's labels, as a client reads them, and as they leave at the edge.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
};

use backstop_degradation_header::{DegradationHeaderLayer, Name, PropagateDegradationLayer, name};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tower::{Layer, Service, service_fn};

const NAMES: [&str; 3] = ["x-fallback-source", "x-data-freshness", "age"];

/// The input: values of the three headers, each after a line feed. A further line is a second value of the first header.
pub(crate) fn holds_for(input: &[u8]) {
    let mut upstream = HeaderMap::new();
    for (value, name) in input.split(|byte| *byte == b'\n').zip(NAMES.into_iter().cycle()).take(6) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            upstream.append(HeaderName::from_static(name), value);
        }
    }
    upstream.insert("cache-control", HeaderValue::from_static("max-age=60"));
    upstream.insert("etag", HeaderValue::from_static("\"1\""));

    let read = leaves(PropagateDegradationLayer::new(name!("up")), &upstream);
    for member in members(&read, NAMES[0]).filter(|_| read != upstream) {
        let names: Vec<_> = member.split('/').collect();
        assert!(names[0] == "up" && names.len() <= 3, "{member}");
        assert!(names.iter().all(|name| Name::new((*name).to_owned()).is_ok()), "{member}");
    }
    if read != upstream {
        assert!(members(&read, NAMES[0]).count() <= 8);
        assert!(read.get(NAMES[0]).is_none_or(|list| list.len() <= 256 + 8 * "up/, ".len()));
    }

    for labels in [upstream, read] {
        let left = leaves(DegradationHeaderLayer::new(), &labels);
        let freshness: Vec<_> = members(&left, NAMES[1]).collect();
        let is_labelled = NAMES[..2].iter().any(|name| labels.get_all(*name).iter().any(|value| !value.is_empty()));
        match freshness[..] {
            [] => assert!(!is_labelled || says_nothing(&labels), "{labels:?} left as {left:?}"),
            ["fresh"] => assert!(!claims_worse(&labels), "{labels:?} left as {left:?}"),
            ["stale"] if left.contains_key("age") => assert_eq!(left["cache-control"], "max-age=60"),
            ["stale" | "degraded"] => {
                assert_eq!(left["cache-control"], "no-store");
                assert!(!left.contains_key("etag") && !left.contains_key("age"));
            }
            _ => unreachable!("{left:?}"),
        }
        assert_eq!(leaves(DegradationHeaderLayer::new(), &left), left, "what was labelled is left as it is");
    }
}

/// Whether its lists are empty.
fn says_nothing(labels: &HeaderMap) -> bool {
    let values = NAMES[..2].iter().flat_map(|name| labels.get_all(*name));
    values.into_iter().all(|value| value.as_bytes().iter().all(|byte| *byte == b' '))
}

/// Whether a word of the freshness isn't `fresh`.
fn claims_worse(labels: &HeaderMap) -> bool {
    let mut words = labels.get_all(NAMES[1]).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    words.any(|word| {
        let word = word.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        !word.is_empty() && !word.eq_ignore_ascii_case(b"fresh")
    })
}

fn members<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a str> {
    let fields = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    fields.flat_map(|list| list.split(',')).map(str::trim).filter(|member| !member.is_empty())
}

/// A service that answers at once.
type Answering = tower::util::ServiceFn<fn(HeaderMap) -> Ready<Result<Response<()>, Infallible>>>;

/// The headers that leave `layer` where these come in.
fn leaves<L>(layer: L, headers: &HeaderMap) -> HeaderMap
where
    L: Layer<Answering, Service: Service<HeaderMap, Response = Response<()>, Error = Infallible>>,
{
    fn answer(headers: HeaderMap) -> Ready<Result<Response<()>, Infallible>> {
        let mut response = Response::new(());
        *response.headers_mut() = headers;
        ready(Ok(response))
    }

    let mut service = layer.layer(service_fn(answer as fn(_) -> _));
    let call = pin!(service.call(headers.clone()));
    match call.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(response)) => response.into_parts().0.headers,
        _ => unreachable!("it answers at once"),
    }
}
