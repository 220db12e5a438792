//! `ml_recommendations` as a feature: what an answer is while it is off, and `/features`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test may fail it, as the test itself may"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{App, WAIT, body, passing_time, upstream};
use axum::{Json, Router};
use http::header::HOST;
use http::{Method, Request};
use recommendations::Config;
use serde_json::{Value, json};
use tokio::time::sleep;

const PATH: &str = "/features/ml_recommendations";

/// Sets the flag, as an operator does, and returns the feature.
async fn set(app: &App, state: &str, until: Option<u64>) -> Value {
    let mut change = json!({ "state": state, "who": "ada", "reason": "odd items" });
    if let Some(until) = until {
        change["until"] = until.into();
    }
    let answer = app.admin(Method::PUT, PATH, Some(change)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The feature in the answer to `GET /features`.
async fn feature(app: &App) -> Value {
    let list = app.admin(Method::GET, "/features", None).await.json();
    let [feature] = list["features"].as_array().unwrap().as_slice() else { panic!("{list}") };
    feature.clone()
}

fn on() -> Value {
    json!({ "name": "ml_recommendations", "tier": "standard", "state": "enabled", "cause": "none", "flag": null })
}

/// The app with an ML service that counts its calls.
async fn app_and_calls() -> (App, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let ml = Router::new().fallback(async move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Json(json!({ "items": [{ "id": "p1", "name": "thing", "score": 0.5 }] }))
    });
    let ml_url = Some(upstream(ml).await.parse().unwrap());
    (App::with(Config { ml_url, circuit_wait: WAIT, ..Config::on_free_ports() }).await, calls)
}

#[tokio::test(start_paused = true)]
async fn while_the_feature_is_off_the_next_source_answers_and_the_ml_service_is_not_called() {
    for state in ["disabled", "degraded"] {
        let (app, calls) = app_and_calls().await;
        app.recommend("ada").await.assert_from("ml_service");
        set(&app, state, None).await;
        for _ in 0..20 {
            app.recommend("ada").await.assert_from("cached");
            app.recommend("grace").await.assert_from("popular_items");
        }
        // An operator's decision isn't probed either.
        passing_time(sleep(Duration::from_secs(15))).await;
        app.recommend("grace").await.assert_from("popular_items");
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        let circuit = app.circuit("ml_service").await;
        assert_eq!([&circuit["state"], &circuit["counts"]["failures"]], [&json!("closed"), &json!(0)]);
        assert_eq!(app.health().await, json!({ "status": "healthy" }));

        assert_eq!(set(&app, "auto", None).await, on());
        app.recommend("grace").await.assert_from("ml_service");
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flag_with_an_end_ends_by_itself() {
    let (app, calls) = app_and_calls().await;
    set(&app, "disabled", Some(10)).await;
    passing_time(sleep(Duration::from_secs(9))).await;
    app.recommend("ada").await.assert_from("popular_items");
    assert_eq!(calls.load(Ordering::Relaxed), 0);

    passing_time(sleep(Duration::from_secs(1))).await;
    app.recommend("ada").await.assert_from("ml_service");
    assert_eq!(feature(&app).await, on());
}

#[tokio::test(start_paused = true)]
async fn a_degraded_app_keeps_the_feature_so_that_it_is_back_as_soon_as_the_circuit_is() {
    let app = App::start().await;
    app.fail("ml").await;
    while app.circuit("ml_service").await["state"] == "closed" {
        app.recommend("ada").await.assert_from("popular_items");
    }
    // Damping, twice over.
    passing_time(sleep(Duration::from_secs(5))).await;
    assert_eq!(app.get("/health").await.header("x-service-level"), Some("degraded"));
    assert_eq!(feature(&app).await, on());

    app.mend("ml").await;
    for _ in 0..3 {
        app.recommend("ada").await.assert_from("ml_service");
    }
    assert_eq!(app.circuit("ml_service").await["state"], "closed");
}

#[tokio::test(start_paused = true)]
async fn the_list_shows_who_decided_why_and_for_how_long() {
    let app = App::start().await;
    assert_eq!(feature(&app).await, on());

    let forever = set(&app, "disabled", None).await;
    assert_eq!(feature(&app).await, forever);
    assert_eq!([&forever["state"], &forever["cause"]], [&json!("disabled"), &json!("operator")]);
    assert_eq!(forever["flag"], json!({ "who": "ada", "reason": "odd items", "remaining_ms": null }));

    let for_an_hour = set(&app, "enabled", Some(3_600)).await;
    assert_eq!([&for_an_hour["state"], &for_an_hour["cause"]], [&json!("enabled"), &json!("operator")]);
    let remaining = for_an_hour["flag"]["remaining_ms"].as_u64().unwrap();
    assert!((3_590_000..=3_600_000).contains(&remaining), "{remaining}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decided_is_refused_and_changes_nothing() {
    let app = App::start().await;
    let off = json!({ "state": "disabled", "who": "ada", "reason": "odd items" });
    for unknown in ["ml_service", "ML_RECOMMENDATIONS", "recommendations", "%FF"] {
        let answer = app.admin(Method::PUT, &format!("/features/{unknown}"), Some(off.clone())).await;
        let problem = answer.assert_problem(404);
        assert!(problem["detail"].as_str().unwrap().contains("ml_recommendations"), "{problem}");
    }
    let but = |field: &str, value: Value| {
        let mut change = off.clone();
        change[field] = value;
        change
    };
    let without = |field: &str| {
        let mut change = off.clone();
        change.as_object_mut().unwrap().remove(field);
        change
    };
    for (sent, field) in [
        (but("state", json!("off")), "state"),
        (but("state", json!(false)), "state"),
        (without("state"), "state"),
        (but("who", json!(" ")), "who"),
        (but("who", json!(7)), "who"),
        (but("who", json!("a".repeat(129))), "who"),
        (without("who"), "who"),
        (but("reason", json!("two\nlines")), "reason"),
        (without("reason"), "reason"),
        (but("until", json!("1h")), "until"),
        (but("until", json!(0)), "until"),
        (but("until", json!(1.5)), "until"),
        (but("until", json!(u64::MAX)), "until"),
        (but("until", Value::Null), "until"),
        // Forced on, it needs an end, within a day.
        (but("state", json!("enabled")), "until"),
        (json!({ "state": "enabled", "who": "ada", "reason": "x", "until": 86_401 }), "until"),
        // A flag that is removed has no end.
        (json!({ "state": "auto", "who": "ada", "reason": "x", "until": 60 }), "until"),
        (json!({ "state": "auto", "who": "", "reason": "x" }), "who"),
        (but("ttl", json!(5)), "ttl"),
        (json!("disabled"), "body"),
    ] {
        let problem = app.admin(Method::PUT, PATH, Some(sent.clone())).await.assert_problem(422);
        let value = if field == "body" { Some(&sent) } else { sent.get(field) };
        assert_eq!((&problem["field"], problem.get("value")), (&json!(field), value), "{sent}");
        assert!(problem["allowed"].is_string(), "{problem}");
        assert!(problem["detail"].as_str().unwrap().starts_with(&format!("`{field}` is ")), "{problem}");
    }
    assert_eq!(feature(&app).await, on());
}

#[tokio::test(start_paused = true)]
async fn the_guard_stands_before_the_features() {
    let app = App::start().await;
    let uri = format!("http://{}{PATH}", app.running.admin());
    let off = || body(json!({ "state": "disabled", "who": "ada", "reason": "odd items" }).to_string());
    app.send(Request::put(&uri).body(off()).unwrap()).await.assert_problem(415);
    let json = || Request::put(&uri).header("content-type", "application/json");
    app.send(json().header(HOST, "evil.example").body(off()).unwrap()).await.assert_problem(403);
    assert_eq!(feature(&app).await, on());
    app.recommend("ada").await.assert_from("ml_service");
}
