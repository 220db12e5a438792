//! Orders, while the services that they need fail.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of a test may fail it")]

use std::time::Duration;

use http::{Method, Request, StatusCode};
use recommendations::Upstream;
use serde_json::{Value, json};
use tokio::task::yield_now;
use tokio::time::advance;

use crate::common::{Answer, App, TURNS, body};

const ORDER: &str = r#"{"user_id":"ada","product":"p001"}"#;

async fn order_of(app: &App, key: &str, order: &str) -> Answer {
    let request = Request::post(format!("http://{}/api/orders", app.running.app()));
    let request = request.header("content-type", "application/json").header("idempotency-key", key);
    app.send(request.body(body(order.to_owned())).unwrap()).await
}

async fn order(app: &App, key: &str) -> Answer {
    order_of(app, key, ORDER).await
}

/// How many charges were made, or e-mails sent.
async fn done(app: &App, upstream: Upstream, what: &str) -> Value {
    let address = app.running.chaos().simulated(upstream).unwrap().address();
    let request = Request::builder().method(Method::GET).uri(format!("http://{address}/v1/{what}"));
    app.send(request.body(body("")).unwrap()).await.json()[what].clone()
}

async fn charges(app: &App) -> Value {
    done(app, Upstream::Payment, "charges").await
}

async fn emails(app: &App) -> Value {
    done(app, Upstream::Mail, "emails").await
}

/// Waits for the workers, which pause longer after each failure.
async fn jobs_run() {
    for _ in 0..1_200 {
        for _ in 0..TURNS {
            yield_now().await;
        }
        advance(Duration::from_millis(10)).await;
    }
}

/// Waits for a job that may have failed several times, and returns its status.
async fn ended(app: &App, job: &str) -> Value {
    for _ in 0..10 {
        jobs_run().await;
        let status = app.get(job).await.json()["status"].clone();
        if status != "queued" && status != "running" {
            return status;
        }
    }
    panic!("never ended: {job}")
}

#[track_caller]
fn assert_queued(answer: &Answer, source: &str) -> String {
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert_eq!((answer.header("x-fallback-source"), answer.header("cache-control")), (Some(source), Some("no-store")));
    // If the order is repeated, a worker may have the job already.
    assert!(matches!(answer.json()["status"].as_str(), Some("queued" | "running")), "{answer:?}");
    answer.header("location").unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn an_order_is_charged_once_however_often_it_is_repeated() {
    let app = App::start().await;
    for _ in 0..2 {
        let answer = order(&app, "\"17\"").await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        assert_eq!(answer.json(), json!({ "status": "charged", "product": "p001", "email": "sent" }));
        assert_eq!(answer.header("x-fallback-source"), None);
    }
    assert_eq!((charges(&app).await, emails(&app).await), (json!(1), json!(1)));
}

#[tokio::test(start_paused = true)]
async fn what_was_certainly_not_charged_is_charged_later() {
    let app = App::start().await;
    app.set_fault("payment", json!({ "fault": "refuse" })).await;
    let job = assert_queued(&order(&app, "\"17\"").await, "charge_later");
    assert!(job.starts_with("/jobs/charges/"));
    assert_eq!(assert_queued(&order(&app, "\"17\"").await, "charge_later"), job, "the same order");
    let other = order_of(&app, "\"17\"", r#"{"user_id":"ada","product":"p002"}"#).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY, "{other:?}");
    assert!(matches!(app.get(&job).await.json()["status"].as_str(), Some("queued" | "running")));
    app.mend("payment").await;
    jobs_run().await;
    assert_eq!(app.get(&job).await.json()["status"], "done");
    assert_eq!((charges(&app).await, emails(&app).await), (json!(1), json!(1)));
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_charged_is_looked_up_and_not_charged() {
    for (fault, charged) in [("reset", 1), ("hang", 0), ("status", 0)] {
        let app = App::start().await;
        app.set_fault("payment", json!({ "fault": fault })).await;
        let job = assert_queued(&order(&app, "\"17\"").await, "find_out");
        assert!(job.starts_with("/jobs/checks/"), "{fault}");
        app.mend("payment").await;
        jobs_run().await;
        assert_eq!(app.get(&job).await.json()["status"], "done", "{fault}");
        assert_eq!((charges(&app).await, emails(&app).await), (json!(charged), json!(1)), "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_charge_is_refused_once_its_order_has_failed() {
    let app = App::start().await;
    app.set_fault("payment", json!({ "fault": "late", "latency_ms": 8_000 })).await;
    assert_queued(&order(&app, "\"17\"").await, "find_out");
    app.mend("payment").await;
    jobs_run().await;
    assert_eq!((charges(&app).await, emails(&app).await), (json!(0), json!(1)));
    order(&app, "\"17\"").await.assert_problem(410);
    assert_eq!(order(&app, "\"18\"").await.status, StatusCode::CREATED);
    assert_eq!((charges(&app).await, emails(&app).await), (json!(1), json!(2)));
}

#[tokio::test(start_paused = true)]
async fn a_queued_charge_does_nothing_once_its_order_has_failed() {
    let app = App::start().await;
    app.set_fault("payment", json!({ "fault": "refuse" })).await;
    let charge = assert_queued(&order(&app, "\"17\"").await, "charge_later");
    app.set_fault("payment", json!({ "fault": "hang" })).await;
    let check = assert_queued(&order(&app, "\"17\"").await, "find_out");
    app.mend("payment").await;
    jobs_run().await;
    assert_eq!(
        [app.get(&charge).await.json()["status"].clone(), app.get(&check).await.json()["status"].clone()],
        ["done", "done"]
    );
    assert_eq!(emails(&app).await, json!(1), "one of both, whichever was first");
}

#[tokio::test(start_paused = true)]
async fn only_a_declined_charge_fails_for_good() {
    for (status, state, charged) in [(402, "failed", 0), (429, "done", 1), (409, "done", 1)] {
        let app = App::start().await;
        app.set_fault("payment", json!({ "fault": "refuse" })).await;
        let job = assert_queued(&order(&app, "\"17\"").await, "charge_later");
        app.set_fault("payment", json!({ "fault": "status", "status": status })).await;
        jobs_run().await;
        app.mend("payment").await;
        assert_eq!(ended(&app, &job).await, state, "{status}");
        assert_eq!(charges(&app).await, json!(charged), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_payment_service_says_is_not_taken_for_the_queue() {
    let app = App::start().await;
    for (status, answer) in [(402, 402), (403, 503), (409, 503), (422, 503)] {
        app.set_fault("payment", json!({ "fault": "status", "status": status })).await;
        order(&app, "\"17\"").await.assert_problem(answer);
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_queues_charges_at_once() {
    let app = App::start().await;
    app.act("payment_service", "isolate").await;
    let answer = order(&app, "\"17\"").await;
    assert_queued(&answer, "charge_later");
    assert!(answer.took < Duration::from_millis(100), "{:?}", answer.took);
    app.act("payment_service", "reset").await;
    jobs_run().await;
    assert_eq!(charges(&app).await, json!(1));
}

#[tokio::test(start_paused = true)]
async fn without_the_mail_service_an_order_is_charged_and_its_e_mail_queued() {
    let app = App::start().await;
    app.fail("mail").await;
    let answer = order(&app, "\"17\"").await;
    assert_eq!(answer.json(), json!({ "status": "charged", "product": "p001", "email": "queued" }));
    assert_eq!(answer.header("x-fallback-source"), Some("email_later"));
    assert_eq!(emails(&app).await, Value::Null, "it answers 503");
    app.mend("mail").await;
    jobs_run().await;
    assert_eq!((charges(&app).await, emails(&app).await), (json!(1), json!(1)));
}

#[tokio::test(start_paused = true)]
async fn a_malformed_order_is_refused_before_anything_is_charged() {
    let app = App::start().await;
    for key in ["17", "\"\"", "\"a/b\""] {
        assert_eq!(order(&app, key).await.assert_problem(400)["field"], "Idempotency-Key");
    }
    for (order, field) in
        [(r#"{"user_id":"a b","product":"p001"}"#, "user_id"), (r#"{"user_id":"a","product":""}"#, "product")]
    {
        assert_eq!(order_of(&app, "\"17\"", order).await.assert_problem(400)["field"], field);
    }
    order_of(&app, "\"17\"", r#"{"user_id":"ada","product":"p001","price":0}"#).await.assert_problem(422);
    assert_eq!(charges(&app).await, json!(0));
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_30_s_uses_up_no_attempts_of_queued_jobs() {
    let app = App::start().await;
    app.act("payment_service", "isolate").await;
    app.act("mail_service", "isolate").await;
    let job = assert_queued(&order(&app, "\"17\"").await, "charge_later");
    for _ in 0..3 {
        // 12 s: more than the first waits between attempts.
        jobs_run().await;
    }
    assert_eq!(app.get(&job).await.json()["status"], "queued");
    app.act("payment_service", "reset").await;
    jobs_run().await;
    assert_eq!(app.get(&job).await.json()["status"], "done", "it hasn't waited longer after each attempt");
    assert_eq!((charges(&app).await, emails(&app).await), (json!(1), json!(0)), "the mail service is still away");
    app.act("mail_service", "reset").await;
    jobs_run().await;
    assert_eq!(emails(&app).await, json!(1));
}
