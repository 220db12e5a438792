//! `/chaos`: what it shows, sets and refuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test may fail it, as the test itself may"
)]

use crate::common::{Answer, App, body};
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use recommendations::{Config, FaultKind};
use serde_json::{Value, json};

#[tokio::test(start_paused = true)]
async fn all_upstreams_are_listed_with_their_faults() {
    let app = App::start().await;
    app.set_fault("catalog", json!({ "fault": "status", "status": 502, "rate": 0.25 })).await;
    let answer = app.admin(Method::GET, "/chaos", None).await;
    let list = answer.json();
    let url = |n: usize| format!("http://{}", app.running.chaos().all_simulated().nth(n).unwrap().address());
    let expected = json!({ "upstreams": [
        { "name": "ml", "url": url(0), "fault": "none", "rate": 1.0, "status": 503, "latency_ms": 300 },
        { "name": "catalog", "url": url(1), "fault": "status", "rate": 0.25, "status": 502, "latency_ms": 300 },
        { "name": "payment", "url": url(2), "fault": "none", "rate": 1.0, "status": 503, "latency_ms": 300 },
        { "name": "mail", "url": url(3), "fault": "none", "rate": 1.0, "status": 503, "latency_ms": 300 },
        { "name": "rates", "url": url(4), "fault": "none", "rate": 1.0, "status": 503, "latency_ms": 300 },
        { "name": "more_rates", "url": url(5), "fault": "none", "rate": 1.0, "status": 503, "latency_ms": 300 },
    ] });
    assert_eq!(list, expected);
}

#[tokio::test(start_paused = true)]
async fn every_fault_can_be_set_and_is_what_the_answer_and_the_list_show() {
    let app = App::start().await;
    for upstream in ["ml", "catalog", "payment", "mail", "rates", "more_rates"] {
        for kind in FaultKind::all() {
            let fault = json!({ "fault": kind, "rate": 0.5, "status": 418, "latency_ms": 7 });
            let answer = app.admin(Method::PUT, &format!("/chaos/{upstream}"), Some(fault.clone())).await;
            let set = answer.json();
            for field in ["fault", "rate", "status", "latency_ms"] {
                assert_eq!(set[field], fault[field]);
            }
            let list = app.admin(Method::GET, "/chaos", None).await.json();
            assert!(list["upstreams"].as_array().unwrap().contains(&set), "{list}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_left_out_has_its_default_and_not_what_was_set_before() {
    let app = App::start().await;
    app.set_fault("ml", json!({ "fault": "status", "rate": 0.5, "status": 418, "latency_ms": 7 })).await;
    let set = app.admin(Method::PUT, "/chaos/ml", Some(json!({ "fault": "latency" }))).await.json();
    assert_eq!([&set["rate"], &set["status"], &set["latency_ms"]], [&json!(1.0), &json!(503), &json!(300)]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_upstream_is_a_404_that_names_those_there_are() {
    let app = App::start().await;
    for unknown in ["Ml", "ml_service", "x", "%FF"] {
        let path = format!("/chaos/{unknown}");
        let problem = app.admin(Method::PUT, &path, Some(json!({ "fault": "none" }))).await.assert_problem(404);
        assert!(problem["detail"].as_str().unwrap().contains("ml, catalog"), "{problem}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_not_simulated_cannot_be_broken() {
    let real = "http://127.0.0.1:9".parse().unwrap();
    let app = App::with(Config { ml_url: Some(real), ..Config::on_free_ports() }).await;
    let list = app.admin(Method::GET, "/chaos", None).await.json();
    assert_eq!(list["upstreams"].as_array().unwrap().len(), 5);
    let answer = app.admin(Method::PUT, "/chaos/ml", Some(json!({ "fault": "hang" }))).await;
    let problem = answer.assert_problem(404);
    assert!(problem["detail"].as_str().unwrap().contains("http://127.0.0.1:9"), "{problem}");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_field_is_a_422_that_names_it_and_changes_nothing() {
    let app = App::start().await;
    let number = "a number from 0 to 1";
    let kinds = "one of none, status, latency, hang, late, reset, refuse, truncate";
    let status = "an error status from 400 to 599";
    let latency = "a whole number of milliseconds from 0 to 60000";
    for (sent, field, allowed) in [
        (json!({ "fault": "Status" }), "fault", kinds),
        (json!({ "fault": 5 }), "fault", kinds),
        (json!({ "fault": null }), "fault", kinds),
        (json!({ "fault": "status", "rate": -0.1 }), "rate", number),
        (json!({ "fault": "status", "rate": 1.1 }), "rate", number),
        (json!({ "fault": "status", "rate": "1" }), "rate", number),
        (json!({ "fault": "status", "rate": null }), "rate", number),
        (json!({ "fault": "status", "status": 200 }), "status", status),
        (json!({ "fault": "status", "status": 399 }), "status", status),
        (json!({ "fault": "status", "status": 600 }), "status", status),
        (json!({ "fault": "status", "status": 503.5 }), "status", status),
        (json!({ "fault": "status", "status": 66039 }), "status", status),
        (json!({ "fault": "status", "status": "503" }), "status", status),
        (json!({ "fault": "latency", "latency_ms": -1 }), "latency_ms", latency),
        (json!({ "fault": "latency", "latency_ms": 1.5 }), "latency_ms", latency),
        (json!({ "fault": "latency", "latency_ms": 60_001 }), "latency_ms", latency),
        (json!({ "fault": "latency", "latency_ms": "5" }), "latency_ms", latency),
        (json!({ "fault": "status", "latency": 5 }), "latency", "only the fields fault, rate, status and latency_ms"),
    ] {
        let answer = app.admin(Method::PUT, "/chaos/ml", Some(sent.clone())).await;
        let problem = answer.assert_problem(422);
        assert_eq!([&problem["field"], &problem["allowed"]], [field, allowed], "{sent}");
        assert_eq!(problem["value"], sent[field], "{sent}");
    }
    let missing = app.admin(Method::PUT, "/chaos/ml", Some(json!({ "rate": 1 }))).await.assert_problem(422);
    assert_eq!([&missing["field"], &missing["value"]], [&json!("fault"), &Value::Null]);
    for sent in [json!([]), json!("status"), json!(null)] {
        let problem = app.admin(Method::PUT, "/chaos/ml", Some(sent)).await.assert_problem(422);
        assert_eq!(problem["field"], "body");
    }
    app.recommend("ada").await.assert_from("ml_service");
}

async fn put(app: &App, content_type: Option<&str>, text: impl Into<bytes::Bytes>) -> Answer {
    let mut request = Request::put(format!("http://{}/chaos/ml", app.running.admin()));
    if let Some(content_type) = content_type {
        request = request.header(CONTENT_TYPE, content_type);
    }
    app.send(request.body(body(text)).unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_json_is_a_400() {
    let app = App::start().await;
    for text in ["", "fault=hang", "{\"fault\":\"hang\"", "{\"fault\":\"hang\"} x", "{'fault':'hang'}"] {
        put(&app, Some("application/json"), text).await.assert_problem(400);
    }
    put(&app, Some("application/json"), &b"{\"fault\":\"\xff\"}"[..]).await.assert_problem(400);
    app.recommend("ada").await.assert_from("ml_service");
}

#[tokio::test(start_paused = true)]
async fn what_a_page_may_send_without_asking_is_a_415() {
    let app = App::start().await;
    let hang = "{\"fault\":\"hang\"}";
    for simple in [
        None,
        Some("text/plain"),
        Some("text/plain;application/json"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("application/jsonp"),
    ] {
        put(&app, simple, hang).await.assert_problem(415);
    }
    app.recommend("ada").await.assert_from("ml_service");
    for json in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        assert_eq!(put(&app, Some(json), "{\"fault\":\"none\"}").await.status, 200, "{json}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_is_a_413() {
    let app = App::start().await;
    let padded = |len: usize| format!("{{\"fault\":\"none\"}}{}", " ".repeat(len - 16));
    assert_eq!(put(&app, Some("application/json"), padded(16 * 1024)).await.status, 200);
    put(&app, Some("application/json"), padded(16 * 1024 + 1)).await.assert_problem(413);
}
