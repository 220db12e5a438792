//! The circuit around the ML service: when it opens and closes, and how the app shows it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test may fail it, as the test itself may"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{App, WAIT, until, upstream};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http::{Method, StatusCode};
use recommendations::Config;
use serde_json::{Value, json};

/// An ML service that counts its calls, and can fail.
#[derive(Clone, Default)]
struct Ml(Arc<Shared>);

#[derive(Default)]
struct Shared {
    calls: AtomicUsize,
    fails: AtomicBool,
}

impl Ml {
    fn calls(&self) -> usize {
        self.0.calls.load(Ordering::Relaxed)
    }

    fn fail(&self, fails: bool) {
        self.0.fails.store(fails, Ordering::Relaxed);
    }

    async fn answer(State(Self(shared)): State<Self>) -> Response {
        shared.calls.fetch_add(1, Ordering::Relaxed);
        if shared.fails.load(Ordering::Relaxed) {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        Json(json!({ "items": [{ "id": "p1", "name": "thing", "score": 0.5 }] })).into_response()
    }

    /// Starts the app with this ML service.
    async fn app(&self, circuit_wait: Duration) -> App {
        let url = upstream(Router::new().fallback(Self::answer).with_state(self.clone())).await;
        App::with(Config { ml_url: Some(url.parse().unwrap()), circuit_wait, ..Config::on_free_ports() }).await
    }

    /// The same, whose circuit recovers as it does in production.
    async fn app_that_ramps(&self, circuit_wait: Duration) -> App {
        let url = upstream(Router::new().fallback(Self::answer).with_state(self.clone())).await;
        let ml_recovery = Config::default().ml_recovery;
        let ml_url = Some(url.parse().unwrap());
        App::with(Config { ml_url, circuit_wait, ml_recovery, ..Config::on_free_ports() }).await
    }

    /// The same, with a circuit that failures have opened.
    async fn app_with_open_circuit(&self, circuit_wait: Duration) -> App {
        let app = self.app(circuit_wait).await;
        self.fail(true);
        while app.circuit("ml_service").await["state"] == "closed" {
            app.recommend("ada").await.assert_from("popular_items");
        }
        app
    }
}

const LONG: Duration = Duration::from_secs(600);

#[tokio::test(start_paused = true)]
async fn the_circuit_opens_when_half_of_ten_calls_or_more_failed_and_lets_nothing_through() {
    let ml = Ml::default();
    let app = ml.app(LONG).await;
    ml.fail(true);
    // Two attempts each.
    for failures in [2, 4, 6, 8] {
        app.recommend("ada").await.assert_from("popular_items");
        let circuit = app.circuit("ml_service").await;
        assert_eq!([&circuit["state"], &circuit["counts"]["failures"]], [&json!("closed"), &json!(failures)]);
    }
    app.recommend("ada").await.assert_from("popular_items");
    assert_eq!(app.circuit("ml_service").await["state"], "open");
    assert_eq!(ml.calls(), 10);

    for _ in 0..20 {
        app.recommend("ada").await.assert_from("popular_items");
    }
    assert_eq!(ml.calls(), 10);
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_among_many_good_answers_leave_the_circuit_closed() {
    let ml = Ml::default();
    let app = ml.app(LONG).await;
    for _ in 0..20 {
        app.recommend("ada").await.assert_from("ml_service");
    }
    ml.fail(true);
    for _ in 0..5 {
        app.recommend("ada").await.assert_honest();
    }
    // Two attempts each.
    let circuit = app.circuit("ml_service").await;
    assert_eq!([&circuit["state"], &circuit["counts"]["failures"]], [&json!("closed"), &json!(10)]);
}

#[tokio::test(start_paused = true)]
async fn after_two_good_probes_the_ml_service_gets_a_growing_share_and_others_answer_the_rest() {
    let ml = Ml::default();
    let app = ml.app_that_ramps(WAIT).await;
    ml.fail(true);
    while app.circuit("ml_service").await["state"] == "closed" {
        app.recommend("ada").await.assert_from("popular_items");
    }
    ml.fail(false);
    until("the wait is over", || async { (app.circuit("ml_service").await["remaining_wait_ms"] == 0).then_some(()) })
        .await;
    for _ in 0..2 {
        app.recommend("ada").await.assert_from("ml_service");
    }
    assert_eq!(app.circuit("ml_service").await["state"], "recovering");
    let before = ml.calls();
    for _ in 0..100 {
        app.recommend("ada").await.assert_honest();
    }
    assert_eq!(ml.calls(), before + 25, "a quarter of the first hundred");
}

#[tokio::test(start_paused = true)]
async fn two_good_probes_close_the_circuit() {
    let ml = Ml::default();
    let app = ml.app_with_open_circuit(WAIT).await;
    ml.fail(false);
    until("the wait is over", || async { (app.circuit("ml_service").await["remaining_wait_ms"] == 0).then_some(()) })
        .await;
    let before = ml.calls();
    app.recommend("ada").await.assert_from("ml_service");
    let circuit = app.circuit("ml_service").await;
    assert_eq!([&circuit["state"], &circuit["counts"]["probe_successes"]], [&json!("half-open"), &json!(1)]);
    assert_eq!(circuit["remaining_wait_ms"], Value::Null);
    assert_eq!(app.health().await["status"], "degraded");

    app.recommend("ada").await.assert_from("ml_service");
    assert_eq!(app.circuit("ml_service").await["state"], "closed");
    assert_eq!(app.health().await["status"], "healthy");
    assert_eq!(ml.calls(), before + 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_opens_the_circuit_again() {
    let ml = Ml::default();
    let app = ml.app_with_open_circuit(WAIT).await;
    let before = ml.calls();
    until("a probe", || async {
        app.recommend("ada").await.assert_from("popular_items");
        (ml.calls() > before).then_some(())
    })
    .await;
    let circuit = app.circuit("ml_service").await;
    assert_eq!(circuit["state"], "open");
    // One probe, without a second attempt.
    assert_eq!(ml.calls(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_makes_the_app_degraded_and_never_not_ready() {
    let ml = Ml::default();
    let app = ml.app(LONG).await;
    assert_eq!(app.health().await, json!({ "status": "healthy" }));

    let app = ml.app_with_open_circuit(LONG).await;
    assert_eq!(app.health().await, json!({ "status": "degraded" }));
    // After damping, the level follows. The catalog is no more than a fallback.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let health = app.get("/health").await;
    assert_eq!((health.status, health.header("x-service-level")), (StatusCode::OK, Some("degraded")));
    let details = app.admin(Method::GET, "/health", None).await.json();
    assert_eq!(details["level"], "degraded");
    let component =
        |name: &str| ["status", "essential", "message"].map(|field| details["components"][name][field].clone());
    assert_eq!(component("ml_service"), [json!("degraded"), json!(true), json!("circuit ml_service is open")]);
    assert_eq!(component("popular_items"), [json!("healthy"), json!(false), Value::Null]);
    for path in ["/livez", "/readyz"] {
        assert_eq!(app.get(path).await.status, StatusCode::OK, "{path}");
    }

    app.act("ml_service", "reset").await;
    assert_eq!(app.health().await["status"], "healthy");
}

#[tokio::test(start_paused = true)]
async fn the_admin_listener_shows_every_circuit() {
    let ml = Ml::default();
    let app = ml.app(LONG).await;
    let closed = |name: &str| {
        let counts = json!({ "calls": 0, "failures": 0, "probes": 0, "probe_successes": 0 });
        json!({ "name": name, "state": "closed", "counts": counts, "remaining_wait_ms": null })
    };
    let list = app.admin(Method::GET, "/circuits", None).await;
    assert_eq!(list.status, StatusCode::OK);
    let all = ["ml_service", "popular_items", "payment_service", "mail_service", "primary_rates", "secondary_rates"]
        .map(closed);
    assert_eq!(list.json(), json!({ "circuits": all }));

    let app = ml.app_with_open_circuit(LONG).await;
    let circuit = app.circuit("ml_service").await;
    assert_eq!(circuit["state"], "open");
    let wait = circuit["remaining_wait_ms"].as_u64().unwrap();
    assert!((500_000..=600_000).contains(&wait), "{wait}");
    let other = app.circuit("popular_items").await;
    assert_eq!([&other["state"], &other["counts"]["failures"]], [&json!("closed"), &json!(0)]);
}

#[tokio::test(start_paused = true)]
async fn an_isolated_circuit_stays_open_until_it_is_closed_by_hand() {
    let ml = Ml::default();
    let app = ml.app(Duration::from_millis(1)).await;
    let answer = app.admin(Method::POST, "/circuits/ml_service", Some(json!({ "do": "isolate" }))).await;
    assert_eq!([&answer.json()["state"], &answer.json()["remaining_wait_ms"]], [&json!("isolated"), &Value::Null]);
    for _ in 0..10 {
        app.recommend("ada").await.assert_from("popular_items");
    }
    assert_eq!(ml.calls(), 0);
    assert_eq!(app.health().await["status"], "degraded");

    app.act("ml_service", "close").await;
    app.recommend("ada").await.assert_from("ml_service");
    assert_eq!(app.health().await["status"], "healthy");
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_can_be_closed_and_reset_by_hand() {
    for action in ["close", "reset"] {
        let ml = Ml::default();
        let app = ml.app_with_open_circuit(LONG).await;
        ml.fail(false);
        app.act("ml_service", action).await;
        app.recommend("ada").await.assert_from("ml_service");
        assert_eq!(app.circuit("ml_service").await["state"], "closed");
    }
}

#[tokio::test(start_paused = true)]
async fn reset_clears_the_counts_of_a_closed_circuit_and_close_keeps_them() {
    let ml = Ml::default();
    let app = ml.app(LONG).await;
    ml.fail(true);
    app.recommend("ada").await.assert_honest();
    app.act("ml_service", "close").await;
    assert_eq!(app.circuit("ml_service").await["counts"]["failures"], 2);
    app.act("ml_service", "reset").await;
    assert_eq!(app.circuit("ml_service").await["counts"]["failures"], 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_to_a_circuit_is_refused() {
    let app = App::start().await;
    let reset = Some(json!({ "do": "reset" }));
    for unknown in ["ml", "ML_SERVICE", "recommendations", "%FF"] {
        let answer = app.admin(Method::POST, &format!("/circuits/{unknown}"), reset.clone()).await;
        let problem = answer.assert_problem(404);
        assert!(problem["detail"].as_str().unwrap().contains("ml_service, popular_items"), "{problem}");
    }
    for (body, field, value) in [
        (json!({ "do": "open" }), "do", json!("open")),
        (json!({ "do": 1 }), "do", json!(1)),
        (json!({ "do": null }), "do", Value::Null),
        (json!({}), "do", Value::Null),
        (json!({ "do": "reset", "why": "x" }), "why", json!("x")),
        (json!(["reset"]), "body", json!(["reset"])),
    ] {
        let answer = app.admin(Method::POST, "/circuits/ml_service", Some(body.clone())).await;
        let problem = answer.assert_problem(422);
        assert_eq!([&problem["field"], &problem["value"]], [&json!(field), &value], "{body}");
        assert!(problem["allowed"].is_string(), "{problem}");
    }
    assert_eq!(app.circuit("ml_service").await["state"], "closed");
}
