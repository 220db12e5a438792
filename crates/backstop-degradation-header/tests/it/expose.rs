//! What scripts of other origins may read.

use super::*;

fn exposing() -> DegradationHeaderLayer {
    DegradationHeaderLayer::builder().expose_to_browsers().build().unwrap()
}

async fn exposed(
    layer: &DegradationHeaderLayer,
    reports: &[Degradation],
    headers: &[(&'static str, &'static str)],
) -> Option<String> {
    field(answer(layer, reports, response(headers)).await.headers(), "access-control-expose-headers")
}

#[tokio::test]
async fn a_labelled_response_exposes_its_labels_beside_what_it_exposes_already() {
    let stale = [from(name!("cached"), stale(9))];
    let all = "x-fallback-source, x-data-freshness, age";
    for (headers, expected) in [
        (&[][..], all.to_owned()),
        (&[("access-control-allow-origin", "https://shop.example")], all.to_owned()),
        (&[("access-control-expose-headers", "etag, x-request-id")], format!("etag, x-request-id | {all}")),
        // To a request with credentials, `*` is a header of that name.
        (&[("access-control-expose-headers", "*"), ("access-control-allow-credentials", "true")], format!("* | {all}")),
        (
            &[("access-control-expose-headers", "AGE,x-data-freshness")],
            "AGE,x-data-freshness | x-fallback-source".into(),
        ),
        (
            &[
                ("access-control-expose-headers", "age"),
                ("access-control-expose-headers", "x-fallback-source , x-data-freshness"),
            ],
            "age | x-fallback-source , x-data-freshness".into(),
        ),
    ] {
        assert_eq!(exposed(&exposing(), &stale, headers).await, Some(expected), "{headers:?}");
    }
    let degraded = [from(name!("cached"), Freshness::Degraded)];
    assert_eq!(exposed(&exposing(), &degraded, &[]).await, some("x-fallback-source, x-data-freshness"));
    assert_eq!(exposed(&DegradationHeaderLayer::new(), &stale, &[]).await, None, "unless chosen");
}

#[tokio::test]
async fn an_answer_that_a_cache_may_keep_is_exposed_whatever_the_origin_of_its_request() {
    let service = exposing().layer(service_fn(async |_: Request<()>| {
        scope::report(from(name!("cached"), stale(9)));
        Ok::<_, Infallible>(response(&[("cache-control", "max-age=60")]))
    }));
    let plain = service.clone().oneshot(Request::new(())).await.unwrap();
    let crossing = Request::builder().header("origin", "https://shop.example").body(()).unwrap();
    let crossing = service.oneshot(crossing).await.unwrap();
    assert_eq!(plain.headers(), crossing.headers());
    assert!(plain.headers().contains_key("access-control-expose-headers"));
    assert!(!plain.headers().contains_key("vary"));
}

#[tokio::test]
async fn a_response_without_labels_exposes_nothing_more() {
    assert_eq!(exposed(&exposing(), &[], &[("age", "9")]).await, None);
    assert_eq!(exposed(&exposing(), &[], &[("access-control-expose-headers", "etag")]).await, some("etag"));
}

#[tokio::test]
async fn headers_of_other_names_and_statuses_are_exposed_too() {
    let layer = DegradationHeaderLayer::builder().source_header("x-from").freshness_header("x-quality");
    let layer = layer.expose_to_browsers().cache_status().build().unwrap();
    let mut copy = response(&[]);
    copy.extensions_mut().insert(from(name!("cached"), stale(9)));
    let answer = answer(&layer, &[], copy).await;
    let expected = some("x-from, x-quality, age, cache-status");
    assert_eq!(field(answer.headers(), "access-control-expose-headers"), expected);
}
