//! `GET /api/exchange-rates/{currency}`: each source in turn, with its label.

use std::time::Duration;

use http::StatusCode;
use recommendations::Simulated;
use serde_json::json;
use tokio::time::advance;

use crate::common::{Answer, App, TOTAL, until};

const BOTH: [&str; 2] = ["rates", "more_rates"];

/// Asserts a rate within the total, and how it is labelled.
#[track_caller]
fn assert_from(answer: &Answer, source: &str, freshness: Option<&str>, cache: &str) {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert!(answer.took <= TOTAL, "took {:?}", answer.took);
    let body = answer.json();
    assert_eq!((&body["base"], &body["currency"], &body["source"]), (&json!("EUR"), &json!("USD"), &json!(source)));
    assert!(body["rate"].as_f64().is_some_and(|rate| rate > 1.0), "{body}");
    let label = freshness.map(|_| source);
    assert_eq!([answer.header("x-fallback-source"), answer.header("x-data-freshness")], [label, freshness]);
    assert_eq!(answer.header("cache-control"), Some(cache), "{answer:?}");
}

const SHARED: &str = "public, max-age=60";

#[tokio::test(start_paused = true)]
async fn each_source_answers_when_those_before_it_fail() {
    let app = App::start().await;
    let usd = "/api/exchange-rates/USD";
    assert_from(&app.get(usd).await, "primary_rates", None, SHARED);
    app.fail("rates").await;
    assert_from(&app.get(usd).await, "secondary_rates", Some("fresh"), SHARED);
    advance(Duration::from_secs(30)).await;
    app.fail("more_rates").await;
    let stale = app.get(usd).await;
    assert_from(&stale, "last_known", Some("stale"), SHARED);
    assert!(stale.age().is_some_and(|age| age >= 30), "{stale:?}");

    // Nobody has asked for this one before.
    let answer = app.get("/api/exchange-rates/JPY").await;
    let body = answer.json();
    assert_eq!((&body["source"], &body["as_of"]), (&json!("built_in"), &json!("2026-01-02")));
    assert_eq!(answer.header("x-data-freshness"), Some("degraded"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));

    for upstream in BOTH {
        app.mend(upstream).await;
    }
    until("the primary answers again", || async {
        (app.get(usd).await.json()["source"] == "primary_rates").then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn apis_that_hang_are_waited_for_until_their_circuits_open() {
    let app = App::start().await;
    for upstream in BOTH {
        app.set_fault(upstream, json!({ "fault": "hang" })).await;
    }
    until("both circuits open", || async {
        assert_from(&app.get("/api/exchange-rates/USD").await, "built_in", Some("degraded"), "no-store");
        let states = [app.circuit("primary_rates").await, app.circuit("secondary_rates").await];
        states.iter().all(|circuit| circuit["state"] == "open").then_some(())
    })
    .await;
    let answer = app.get("/api/exchange-rates/USD").await;
    assert_from(&answer, "built_in", Some("degraded"), "no-store");
    assert!(answer.took < Duration::from_millis(20), "it was called: {answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_currency_that_the_shop_does_not_take_is_refused_before_anything_is_called() {
    let app = App::start().await;
    for unknown in ["XXX", "usd", "US", "%FF", "USD.", "EUR"] {
        let problem = app.get(&format!("/api/exchange-rates/{unknown}")).await.assert_problem(404);
        assert!(problem["allowed"].as_str().is_some_and(|known| known.contains("USD")), "{problem}");
    }
    let called: Vec<_> = app.running.chaos().all_simulated().map(Simulated::requests).collect();
    assert_eq!(called, [0; 6]);
}
