//! Every kind of fault, on one or both upstreams: each request is answered in time and labelled correctly, and the app recovers
//! when the fault is cleared.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test may fail it, as the test itself may"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{ATTEMPT, App, WAIT, body, passing_time, until};
use http::Request;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, interval};

/// The time between two requests. An answer itself may take no time.
const PAUSE: Duration = Duration::from_millis(5);

const BOTH: [&str; 2] = ["ml", "catalog"];

/// A new user.
fn somebody_new() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("new-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The expected source for a new user, and for one served before.
fn best_left(failing: &[&str]) -> [&'static str; 2] {
    match (failing.contains(&"ml"), failing.contains(&"catalog")) {
        (false, _) => ["ml_service", "ml_service"],
        (true, false) => ["popular_items", "cached"],
        (true, true) => ["static_bestsellers", "cached"],
    }
}

/// Makes every request to these upstreams fail, and checks all answers, during the fault and afterwards.
#[expect(clippy::print_stdout, reason = "`--nocapture` shows how fast it was")]
async fn withstands(fault: Value) {
    for failing in [&["ml"][..], &["catalog"], &BOTH] {
        let app = App::start().await;
        until("it is remembered", || async { (app.recommend("known").await.source() == "ml_service").then_some(()) })
            .await;
        for upstream in failing {
            app.set_fault(upstream, fault.clone()).await;
        }

        // While the circuits are closed, while they are open, and while their probes fail.
        let [new, known] = best_left(failing);
        let mut slowest = Duration::ZERO;
        let until_probed_twice = Instant::now() + 2 * (WAIT + ATTEMPT);
        while Instant::now() < until_probed_twice {
            for (user, source) in [(somebody_new().as_str(), new), ("known", known)] {
                let answer = app.recommend(user).await;
                answer.assert_from(source);
                slowest = slowest.max(answer.took);
            }
            advance(PAUSE).await;
        }
        println!("{fault} on {failing:?}: the slowest answer took {slowest:?}");

        // The catalog first, so that its recovery shows.
        if failing == BOTH {
            app.mend("catalog").await;
            recovers(&app, "popular_items").await;
        }
        for upstream in failing {
            app.mend(upstream).await;
        }
        recovers(&app, "ml_service").await;
    }
}

/// Asserts that traffic alone makes `source` answer again: after the circuit's wait and an attempt, at the second probe at the
/// latest.
async fn recovers(app: &App, source: &str) {
    let latest = Instant::now() + ATTEMPT + WAIT;
    let mut misses = 0;
    loop {
        let begun = Instant::now();
        let answer = app.recommend(&somebody_new()).await;
        answer.assert_honest();
        if answer.source() == source {
            break;
        }
        misses += usize::from(begun > latest);
        assert!(misses < 2, "not back {:?} after it should have been", latest.elapsed());
        advance(PAUSE).await;
    }
    // It stays, with a closed circuit.
    until("the circuit closes", || async {
        app.recommend(&somebody_new()).await.assert_honest();
        (app.circuit(source).await["state"] == "closed").then_some(())
    })
    .await;
    app.recommend(&somebody_new()).await.assert_from(source);
}

#[tokio::test(start_paused = true)]
async fn an_error_status_is_withstood() {
    withstands(json!({ "fault": "status" })).await;
    withstands(json!({ "fault": "status", "status": 500 })).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_error_status_is_withstood() {
    withstands(json!({ "fault": "status", "status": 404 })).await;
}

#[tokio::test(start_paused = true)]
async fn latency_is_withstood() {
    withstands(json!({ "fault": "latency" })).await;
    withstands(json!({ "fault": "latency", "latency_ms": 5000 })).await;
}

#[tokio::test(start_paused = true)]
async fn latency_that_an_attempt_has_time_for_is_no_fault() {
    let app = App::start().await;
    app.set_fault("ml", json!({ "fault": "latency", "latency_ms": 20 })).await;
    let answer = app.recommend("ada").await;
    answer.assert_from("ml_service");
    assert!(answer.took >= Duration::from_millis(20));
}

#[tokio::test(start_paused = true)]
async fn a_hang_is_withstood() {
    withstands(json!({ "fault": "hang" })).await;
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_withstood() {
    withstands(json!({ "fault": "reset" })).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_withstood() {
    withstands(json!({ "fault": "refuse" })).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_is_withstood() {
    withstands(json!({ "fault": "truncate" })).await;
}

/// Only a share of the requests fail, so each answer can have any source. It must be in time and labelled correctly.
#[tokio::test(start_paused = true)]
async fn faults_that_come_and_go_are_withstood() {
    for fault in ["status", "latency", "hang", "reset", "refuse", "truncate"] {
        let app = App::start().await;
        for upstream in BOTH {
            app.set_fault(upstream, json!({ "fault": fault, "rate": 0.5 })).await;
        }
        for _ in 0..20 {
            app.recommend(&somebody_new()).await.assert_honest();
            app.recommend("known").await.assert_honest();
        }
        for upstream in BOTH {
            app.mend(upstream).await;
        }
        recovers(&app, "ml_service").await;
    }
}

/// Many concurrent callers wait no longer than one caller, and exhaust nothing.
#[tokio::test(start_paused = true)]
async fn a_crowd_is_served_in_time_while_both_upstreams_hang() {
    let app = std::sync::Arc::new(App::start().await);
    for upstream in BOTH {
        app.set_fault(upstream, json!({ "fault": "hang" })).await;
    }
    let mut crowd = JoinSet::new();
    for _ in 0..50 {
        let app = app.clone();
        let uri = format!("http://{}/api/recommendations/{}", app.running.app(), somebody_new());
        crowd.spawn(async move { app.answer(Request::get(uri).body(body("")).unwrap()).await });
    }
    for answer in passing_time(crowd.join_all()).await {
        answer.assert_from("static_bestsellers");
    }
    for upstream in BOTH {
        app.mend(upstream).await;
    }
    recovers(&app, "ml_service").await;
}

/// Callers who leave while an upstream hangs don't keep the app from recovering.
#[tokio::test(start_paused = true)]
async fn callers_who_give_up_wedge_nothing() {
    let app = App::start().await;
    app.set_fault("ml", json!({ "fault": "hang" })).await;
    let began = Instant::now();
    let mut pace = interval(Duration::from_millis(10));
    while began.elapsed() < 2 * WAIT {
        // Shorter than an attempt, also if the call is a probe.
        let patience = Duration::from_millis(30);
        let _ = tokio::time::timeout(patience, app.recommend(&somebody_new())).await;
        pace.tick().await;
    }
    app.mend("ml").await;
    recovers(&app, "ml_service").await;
}

#[tokio::test(start_paused = true)]
async fn a_catalog_that_nobody_asks_is_found_well_again() {
    let app = App::start().await;
    for upstream in BOTH {
        app.fail(upstream).await;
    }
    until("both circuits open", || async {
        app.recommend(&somebody_new()).await.assert_from("static_bestsellers");
        let states = [app.circuit("ml_service").await, app.circuit("popular_items").await];
        states.iter().all(|circuit| circuit["state"] != "closed").then_some(())
    })
    .await;
    for upstream in BOTH {
        app.mend(upstream).await;
    }
    // All traffic goes to `ml`, but both become healthy.
    until("healthy", || async {
        app.recommend(&somebody_new()).await.assert_honest();
        (app.health().await["status"] == "healthy").then_some(())
    })
    .await;
}
