//! `Cache-Status` and `Proxy-Status`.

use backstop_core::{Outcome, Rejection, SetBy, grpc::GrpcCode};
use backstop_kit::{Elapsed, Progress, RequestFailure};
use http::StatusCode;

use super::*;

fn copy(reason: Reason, freshness: Freshness) -> Response<String> {
    let record = Degradation::new(name!("items"), name!("cached"), 1, reason, freshness);
    let mut copy = response(&[("cache-status", "\"CDN Company\"; hit")]);
    copy.extensions_mut().insert(record);
    copy
}

#[tokio::test]
async fn a_stored_copy_says_in_cache_status_whether_the_primary_was_asked() {
    let layer = DegradationHeaderLayer::builder().cache_status().build().unwrap();
    for (reason, expected) in [
        (Reason::CIRCUIT_OPEN, "cached; hit; detail=circuit-open"),
        (Reason::REVALIDATING, "cached; hit; detail=revalidating"),
        (Reason::TIMEOUT, "cached; fwd=stale; detail=timeout"),
        (Reason::status(StatusCode::BAD_GATEWAY), "cached; fwd=stale; fwd-status=502; detail=status-502"),
        (Reason::grpc(GrpcCode::UNAVAILABLE), "cached; fwd=stale; detail=grpc-14"),
    ] {
        let answer = answer(&layer, &[], copy(reason, stale(9))).await;
        assert_eq!(field(answer.headers(), "cache-status"), Some(format!("\"CDN Company\"; hit | {expected}")));
    }
}

#[tokio::test]
async fn what_is_no_stored_copy_or_has_no_public_name_is_not_in_cache_status() {
    let untouched = some("\"CDN Company\"; hit");
    let layer = DegradationHeaderLayer::builder().cache_status().build().unwrap();
    let hidden = DegradationHeaderLayer::builder().cache_status().public_names(|_| None).build().unwrap();
    let composed = [from(name!("cached"), stale(9))];
    for (layer, reports, response) in [
        (&layer, &[][..], copy(Reason::TIMEOUT, Freshness::Degraded)),
        (&layer, &composed, response(&[("cache-status", "\"CDN Company\"; hit")])),
        (&hidden, &[], copy(Reason::TIMEOUT, stale(9))),
        (&DegradationHeaderLayer::new(), &[], copy(Reason::TIMEOUT, stale(9))),
    ] {
        assert_eq!(field(answer(layer, reports, response).await.headers(), "cache-status"), untouched);
    }
}

#[tokio::test]
async fn a_gateway_says_in_proxy_status_why_it_answered_itself() {
    let quota = Rejection::refused(name!("quota"), Reason::new("quota-exceeded"));
    let failed = Rejection::new(name!("plugin"), Reason::ERROR, Outcome::failure());
    for (rejection, expected) in [
        (Rejection::refused(name!("ml"), Reason::CIRCUIT_OPEN), "destination_unavailable; details=\"circuit-open\""),
        (Rejection::refused(name!("ml"), Reason::BULKHEAD_FULL), "connection_limit_reached; details=\"bulkhead-full\""),
        (
            Elapsed::new(SetBy::Us, Progress::Called).rejection(name!("ml")),
            "http_response_timeout; details=\"timeout\"",
        ),
        (
            Elapsed::new(SetBy::Us, Progress::NotAsked).rejection(name!("ml")),
            "proxy_internal_response; details=\"timeout\"",
        ),
        (RequestFailure::TooLarge.rejection(name!("ml")), "http_request_error; details=\"request-body\""),
        (quota, "proxy_internal_response; details=\"quota-exceeded\""),
        (failed, "proxy_internal_error; details=\"error\""),
    ] {
        let mut rejected = response(&[("proxy-status", "origin-proxy")]);
        *rejected.status_mut() = rejection.status();
        rejected.extensions_mut().insert(rejection);
        let gateway = DegradationHeaderLayer::builder().proxy_status("gateway").build().unwrap();
        let answer = answer(&gateway, &[], rejected).await;
        let expected = format!("origin-proxy | gateway; error={expected}");
        assert_eq!(field(answer.headers(), "proxy-status"), Some(expected));
        assert_eq!(source(answer.headers()), None);
    }
}

#[tokio::test]
async fn an_answer_has_no_proxy_status_and_two_layers_write_one_member() {
    let gateway = || DegradationHeaderLayer::builder().proxy_status("gateway").cache_status().build().unwrap();
    let mut upstreams = response(&[]);
    *upstreams.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(field(answer(&gateway(), &[], upstreams).await.headers(), "proxy-status"), None);

    let twice = |response| async {
        let inner = service_fn(|response: Response<String>| async { Ok::<_, Infallible>(response) });
        gateway().layer(gateway().layer(inner)).oneshot(response).await.unwrap()
    };
    let mut rejected = response(&[]);
    *rejected.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    rejected.extensions_mut().insert(Rejection::refused(name!("ml"), Reason::CIRCUIT_OPEN));
    let expected = some("gateway; error=destination_unavailable; details=\"circuit-open\"");
    assert_eq!(field(twice(rejected).await.headers(), "proxy-status"), expected);
    let expected = some("\"CDN Company\"; hit | cached; hit; detail=circuit-open");
    assert_eq!(field(twice(copy(Reason::CIRCUIT_OPEN, stale(9))).await.headers(), "cache-status"), expected);
}

#[test]
fn the_gateways_name_is_checked() {
    let error = DegradationHeaderLayer::builder().proxy_status("my gateway").build().unwrap_err();
    assert_eq!(error.field, "proxy_status");
}
