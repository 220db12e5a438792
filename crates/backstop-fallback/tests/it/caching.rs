//! What caches are told of a fallback's answers, where nothing further out tells them.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::time::Duration;

use crate::common::*;
use axum::{body::Body, response::Response};
use backstop_core::{Degradation, Freshness, Rejection, name};
use backstop_fallback::{Answer, FallbackChain, FallbackLayer, Provider};
use http::HeaderMap;
use tower::{Layer, Service, ServiceExt, service_fn};

const UNKNOWN: Freshness = Freshness::Stale { age: None };

fn chain(freshness: Freshness) -> FallbackChain<Req, Response> {
    let provider = Provider::value(name!("cached"), move || async move {
        let answer = Response::builder()
            .header("age", "500")
            .header("cache-control", "public, max-age=600")
            .header("cdn-cache-control", "max-age=600")
            .header("etag", "\"1\"")
            .header("last-modified", "Fri, 20 Nov 2026 19:00:00 GMT");
        Answer::new(answer.body(Body::empty()).unwrap(), freshness)
    });
    FallbackChain::builder("items").total(TOTAL).provider(provider).build().unwrap()
}

/// The headers of the answer that stands in for a primary that is down.
async fn leaves<L>(layer: L) -> HeaderMap
where
    L: Layer<Down, Service: Service<Req, Response = Response, Error = BoxError>>,
{
    let fails: Down = service_fn(|_| std::future::ready(Ok(status(503))));
    let response = layer.layer(fails).oneshot(get()).await.unwrap();
    assert!(response.extensions().get::<Degradation>().is_some(), "for whoever labels it further out");
    response.into_parts().0.headers
}

type Down = tower::util::ServiceFn<fn(Req) -> std::future::Ready<Result<Response, BoxError>>>;

fn is_kept_out_of_caches(headers: &HeaderMap) -> bool {
    let fields = ["age", "cdn-cache-control", "etag", "last-modified"];
    headers["cache-control"] == "no-store" && !fields.iter().any(|field| headers.contains_key(*field))
}

#[tokio::test(start_paused = true)]
async fn a_degraded_answer_is_kept_out_of_every_cache_by_the_layer_itself() {
    for freshness in [Freshness::Degraded, UNKNOWN] {
        let layer = FallbackLayer::new(name!("primary"), chain(freshness));
        assert!(is_kept_out_of_caches(&leaves(layer).await), "{freshness:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_it_does_when_nobody_answers() {
    let builder = || FallbackLayer::builder("primary", chain(Freshness::Degraded));
    assert!(is_kept_out_of_caches(&leaves(builder().problem_details().build().unwrap()).await));
    assert!(is_kept_out_of_caches(&leaves(builder().reject_as_error().build().unwrap()).await));
    let with = builder().reject_with(|rejection: Rejection| Err::<Response, _>(rejection.into()));
    assert!(is_kept_out_of_caches(&leaves(with.build().unwrap()).await));
    assert!(is_kept_out_of_caches(&leaves(builder().discard_replaced().build().unwrap()).await));
}

#[tokio::test(start_paused = true)]
async fn a_forced_providers_answer_too() {
    let layer = FallbackLayer::new(name!("primary"), chain(Freshness::Degraded));
    layer.handle().force("cached", 1.0).unwrap();
    assert!(is_kept_out_of_caches(&leaves(layer).await));
}

#[tokio::test(start_paused = true)]
async fn an_answer_as_good_is_left_alone_and_a_stale_one_tells_its_age() {
    for (freshness, age) in [
        (Freshness::Fresh, "500"),
        (Freshness::stale(Duration::from_secs(10)), "500"),
        (Freshness::stale(Duration::from_secs(912)), "912"),
    ] {
        let headers = leaves(FallbackLayer::new(name!("primary"), chain(freshness))).await;
        assert_eq!(headers["age"], age, "{freshness:?}");
        assert_eq!(headers["cache-control"], "public, max-age=600");
        assert_eq!(headers["etag"], "\"1\"");
    }
}
