//! The deadline of a request: how long its caller waits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test may fail it, as the test itself may"
)]

use std::time::Duration;

use crate::common::{Answer, App, body};
use backstop::DeadlineHeader;
use http::Request;
use recommendations::Config;
use serde_json::json;

/// Asks like a proxy that sends how long its caller waits.
async fn ask_within(app: &App, millis: &str) -> Answer {
    let uri = format!("http://{}/api/recommendations/ada", app.running.app());
    let request = Request::get(uri).header("x-envoy-expected-rq-timeout-ms", millis);
    app.send(request.body(body("")).unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn a_caller_in_a_hurry_has_the_best_that_there_is_time_for_and_opens_no_circuit() {
    let trusted_deadline = Some(DeadlineHeader::EnvoyExpectedRqTimeoutMs);
    // An open circuit stays open until the test has checked it.
    let circuit_wait = Duration::from_secs(60);
    let app = App::with(Config { trusted_deadline, circuit_wait, ..Config::on_free_ports() }).await;
    for upstream in ["ml", "catalog"] {
        app.set_fault(upstream, json!({ "fault": "hang" })).await;
    }
    // Two attempts each: more failures than open a circuit.
    for _ in 0..8 {
        let answer = ask_within(&app, "40").await;
        answer.assert_from("static_bestsellers");
        assert!(answer.latency_ms() <= 40.0, "{answer:?}");
    }
    for circuit in ["ml_service", "popular_items"] {
        let circuit = app.circuit(circuit).await;
        assert_eq!((&circuit["state"], &circuit["counts"]["failures"]), (&json!("closed"), &json!(0)), "{circuit}");
    }
    // The same calls count if the caller has time, or doesn't say how much.
    for millis in ["15000", "0", "soon"] {
        app.act("ml_service", "reset").await;
        for _ in 0..5 {
            ask_within(&app, millis).await.assert_from("static_bestsellers");
        }
        assert_eq!(app.circuit("ml_service").await["state"], "open", "{millis}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_tells_a_time_is_not_believed_unless_the_operator_says_so() {
    let app = App::start().await;
    app.set_fault("ml", json!({ "fault": "hang" })).await;
    // If the app believed it, there would be no time for the second source, and no call would count as a failure.
    for _ in 0..3 {
        ask_within(&app, "1").await.assert_from("popular_items");
    }
    // Two attempts each.
    assert_eq!(app.circuit("ml_service").await["counts"]["failures"], 6);
}
