//! What an operator sees.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{convert::Infallible, future::pending, time::Duration};

use backstop_last_known_good::{LastKnownGoodLayer, StaleWhileRevalidateLayer};
use backstop_test::Logs;
use tower::{Layer, Service, service_fn};

use crate::support::{Behaves, TestStore, get, request, response, send, stored};

/// What was logged since this was asked last.
fn lines(logs: &Logs) -> Vec<String> {
    logs.take().lines().into_iter().map(|line| line.replace("backstop::last_known_good: ", "")).collect()
}

#[tokio::test(start_paused = true)]
async fn each_decision_is_one_event_without_data_of_the_request() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let store = TestStore::new(Behaves::Well);
    let layer = LastKnownGoodLayer::builder("shop").store(store.clone()).build().unwrap();
    let secret = || get("/secret", &[("x-note", "secret")]);
    let answer = |status, control| response(status, &[("cache-control", control), ("etag", "secret")], "secret");

    send(&layer, secret(), answer(200, "vary")).await;
    assert_eq!(lines(&logs), ["DEBUG an answer was stored name=shop body_bytes=6"]);
    tokio::time::advance(Duration::from_secs(7)).await;
    stored(&layer, secret()).await.unwrap();
    assert_eq!(lines(&logs), ["DEBUG a stored answer is served name=shop age_ms=7000.0"]);
    stored(&layer, get("/secret/other", &[])).await.unwrap_err();
    let missing = "DEBUG no stored answer is served name=shop reason=no answer is stored for this request";
    assert_eq!(lines(&logs), [missing]);

    send(&layer, secret(), answer(503, "")).await;
    assert_eq!(lines(&logs), ["DEBUG an answer isn't stored name=shop reason=\"status\""]);
    send(&layer, secret(), answer(200, "no-store")).await;
    assert_eq!(lines(&logs), ["DEBUG what was stored is removed name=shop reason=\"no-store\""]);
    send(&layer, request("POST", "/secret", &[]), answer(200, "")).await;
    assert_eq!(lines(&logs), ["DEBUG what was stored is removed name=shop reason=\"write\""]);
    send(&layer, get("/secret", &[("x-api-key", "secret")]), answer(200, "")).await;
    assert_eq!(lines(&logs), ["DEBUG an answer isn't stored name=shop reason=\"credentials\""]);
    for method in ["GET", "HEAD"] {
        send(&layer, request(method, "/secret", &[("host", "secret@secret")]), answer(404, "")).await;
        assert_eq!(lines(&logs), ["DEBUG an answer isn't stored name=shop reason=\"host\""], "{method}");
    }
    send(&layer, request("OPTIONS", "/secret", &[]), answer(200, "")).await;
    assert_eq!(lines(&logs), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_that_passes_by_what_is_stored_is_an_event() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let known = LastKnownGoodLayer::builder("shop").store(TestStore::new(Behaves::Well)).build().unwrap();
    let refreshing = StaleWhileRevalidateLayer::new(known.handle(), drop);
    let mut service = refreshing.layer(service_fn(|_| async { Ok::<_, Infallible>(response(101, &[], "")) }));
    service.call(get("/", &[("connection", "upgrade"), ("upgrade", "websocket")])).await.unwrap();
    assert_eq!(lines(&logs), ["DEBUG a request passes by what is stored name=shop reason=upgrade"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_one_warning_and_one_line_when_it_works_again() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let store = TestStore::new(Behaves::Well);
    let layer = LastKnownGoodLayer::builder("shop").store(store.clone()).build().unwrap();
    send(&layer, get("/", &[]), response(200, &[], "x")).await;
    _ = logs.take();
    for (event, behaves, error) in [
        ("WARN the store fails", Behaves::Fails, "the store is down"),
        ("DEBUG the store failed", Behaves::Hangs, "it took too long"),
        ("DEBUG the store failed", Behaves::Corrupts, "it gave back what isn't ours, or of another version"),
    ] {
        store.now(behaves);
        stored(&layer, get("/", &[])).await.unwrap_err();
        assert_eq!(lines(&logs)[0], format!("{event} name=shop operation=\"get\" error={error}"));
    }
    store.now(Behaves::Fails);
    send(&layer, get("/", &[]), response(200, &[], "x")).await;
    assert!(lines(&logs)[0].contains("operation=\"put\""));
    send(&layer, get("/", &[]), response(404, &[], "")).await;
    assert!(lines(&logs)[0].contains("operation=\"remove\""));

    store.now(Behaves::Well);
    send(&layer, get("/", &[]), response(200, &[], "x")).await;
    assert_eq!(lines(&logs), ["DEBUG an answer was stored name=shop body_bytes=1"]);
    tokio::time::advance(Duration::from_secs(60)).await;
    send(&layer, get("/", &[]), response(200, &[], "x")).await;
    let expected = ["INFO the store works again name=shop", "DEBUG an answer was stored name=shop body_bytes=1"];
    assert_eq!(lines(&logs), expected);
    store.now(Behaves::Fails);
    stored(&layer, get("/", &[])).await.unwrap_err();
    assert!(lines(&logs)[0].starts_with("WARN "));
}

#[tokio::test]
async fn nothing_of_a_request_is_in_what_debug_shows() {
    let layer = LastKnownGoodLayer::builder("shop").principal(|_| Some("secret")).build().unwrap();
    let asked = get("/secret?secret", &[("x-secret", "secret"), ("host", "secret")]);
    let primary = service_fn(|_| pending::<Result<http::Response<axum::body::Body>, ()>>());
    let call = layer.layer(primary).call(asked);
    let shown = format!("{layer:?} {:?} {:?}", layer.handle(), call);
    assert!(!shown.contains("secret"), "{shown}");
}
