//! What a dashboard shows.

#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use backstop_last_known_good::{LastKnownGoodLayer, name};
use backstop_test::Metrics;

use crate::support::{self, get, request, response, send, stored};

#[tokio::test(start_paused = true)]
async fn each_answer_that_is_served_counts_also_in_a_recorder_that_comes_later() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    send(&layer, get("/", &[]), response(200, &[], "x")).await;
    stored(&layer, get("/", &[])).await.unwrap();

    let metrics = Metrics::new();
    let _guard = metrics.listen();
    stored(&layer, get("/", &[])).await.unwrap();
    stored(&layer, get("/none", &[])).await.unwrap_err();
    send(&layer, get("/", &[]), response(200, &[], "x")).await;
    assert_eq!(
        metrics.lines(),
        [
            "stale_not_served_total{name=shop,reason=missing} 1",
            "stale_served_total{name=shop} 1",
            "stale_store_total{name=shop,result=stored} 1",
        ]
    );
}

/// What isn't stored is never passed over in silence, and its reasons are those that the docs list.
#[tokio::test(start_paused = true)]
async fn each_answer_that_is_not_stored_counts_by_its_reason() {
    let by_user = LastKnownGoodLayer::builder("shop").principal(|head| head.headers.get("x-user").cloned());
    let layer = by_user.max_body(8).build().unwrap();
    let (none, etag) = (&[][..], ("etag", "\"a\""));
    let control = |control| [("cache-control", control)];
    let many = (0..40).map(|i| format!("x-{i}")).collect::<Vec<_>>().join(",");
    let large = "x".repeat(70_000);
    let by_ann = &[("x-user", "ann")][..];
    type Fields<'a> = &'a [(&'static str, &'a str)];
    #[rustfmt::skip]
    let table: &[(&str, &str, Fields<'_>, u16, Fields<'_>)] = &[
        ("stored", "GET", none, 200, none),
        ("content", "GET", &[("content-length", "2")], 200, none),
        ("range", "GET", &[("range", "bytes=0-1")], 200, none),
        ("request-no-store", "GET", &control("no-store"), 200, none),
        ("method", "HEAD", none, 200, none),
        ("status", "GET", none, 503, none),
        ("status", "GET", none, 304, none),
        ("credentials", "GET", &[("cookie", "s=1")], 200, none),
        ("degraded", "GET", none, 200, &[("x-data-freshness", "degraded")]),
        ("set-cookie", "GET", none, 200, &[("set-cookie", "s=1")]),
        ("no-store", "GET", none, 200, &control("no-store")),
        ("no-cache", "GET", none, 200, &control("no-cache")),
        ("private", "GET", none, 200, &control("private")),
        ("never-stale", "GET", none, 200, &control("s-maxage=0")),
        ("vary", "GET", none, 200, &[("vary", "*")]),
        ("vary", "GET", none, 200, &[("vary", &many)]),
        ("gone", "GET", none, 404, none),
        ("forbidden", "GET", by_ann, 403, none),
        ("moved", "GET", by_ann, 302, none),
        ("length", "GET", none, 200, &[("content-length", "x")]),
        ("incomplete", "GET", none, 200, &[("content-length", "3")]),
        ("too-long", "GET", none, 200, &[("content-length", "9")]),
        ("head", "GET", none, 200, &[("x-large", &large)]),
        ("write", "POST", none, 200, none),
        ("stored", "GET", none, 200, &[etag, ("age", "5")]),
        ("older", "GET", none, 200, &[("age", "100")]),
        ("updated", "GET", &[("if-none-match", "\"a\"")], 304, none),
        ("changed", "HEAD", none, 200, &[("etag", "\"b\"")]),
    ];
    for (result, method, asks, status, told) in table {
        let metrics = Metrics::new();
        let _guard = metrics.listen();
        send(&layer, request(method, "/", asks), response(*status, told, "x")).await;
        let expected = format!("stale_store_total{{name=shop,result={result}}} 1");
        assert_eq!(metrics.lines(), [expected], "{method} {asks:?} {status} {told:?}");
        let docs = include_str!("../../src/lib.rs");
        assert!(docs.contains(&format!("`{result}`")), "`{result}` is listed");
    }
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    drop(support::begin(&layer, get("/", &[]), response(200, &[], "never")).await);
    layer.handle().invalidate(&"/".parse().unwrap()).await;
    let results = ["asked", "incomplete"].map(|result| format!("stale_store_total{{name=shop,result={result}}} 1"));
    assert_eq!(metrics.lines(), results);
}
