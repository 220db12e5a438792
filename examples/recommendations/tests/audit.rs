//! Every dependency of the app is protected, and the app is seen to work without it.
//!
//! A test binary of its own: the audit counts the reports that nobody read in the whole process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of a test may fail it")]

#[expect(dead_code, reason = "other tests need more of it")]
#[path = "it/common.rs"]
mod common;

use backstop::{Check, CheckStatus, Inventory, assert_protected, name};
use http::{Request, StatusCode};
use serde_json::json;

use crate::common::{App, body};

async fn order(app: &App, key: &str) -> common::Answer {
    let request = Request::post(format!("http://{}/api/orders", app.running.app()));
    let request = request.header("content-type", "application/json").header("idempotency-key", format!("\"{key}\""));
    app.send(request.body(body(r#"{"user_id":"ada","product":"p001"}"#)).unwrap()).await
}

/// Breaks each dependency in each way that another provider is for, and sees the app answer.
async fn prove(app: &App) {
    app.recommend("ada").await.assert_from("ml_service");
    app.fail("ml").await;
    app.recommend("ada").await.assert_from("cached");
    app.recommend("grace").await.assert_from("popular_items");
    app.fail("catalog").await;
    app.recommend("grace").await.assert_from("static_bestsellers");
    app.mend("ml").await;
    app.mend("catalog").await;

    app.fail("mail").await;
    assert_eq!(order(app, "1").await.json()["email"], "queued");
    app.mend("mail").await;
    // It may have been charged.
    app.fail("payment").await;
    assert_eq!(order(app, "2").await.header("x-fallback-source"), Some("find_out"));
    // It certainly wasn't.
    app.set_fault("payment", json!({ "fault": "refuse" })).await;
    let answer = order(app, "3").await;
    assert_eq!((answer.status, answer.header("x-fallback-source")), (StatusCode::ACCEPTED, Some("charge_later")));
    app.mend("payment").await;

    let rate = async |currency: &str, source: &str| {
        let answer = app.get(&format!("/api/exchange-rates/{currency}")).await;
        assert_eq!(answer.json()["source"], source, "{answer:?}");
    };
    app.fail("rates").await;
    rate("USD", "secondary_rates").await;
    app.fail("more_rates").await;
    rate("USD", "last_known").await;
    rate("JPY", "built_in").await;
    app.mend("rates").await;
    app.mend("more_rates").await;
}

#[tokio::test(start_paused = true)]
async fn every_dependency_is_protected_and_the_app_was_seen_to_work_without_it() {
    let app = App::start().await;
    let names = app.running.inventory().audit().dependencies.into_iter().map(|audited| audited.name.to_string());
    assert!(names.eq([
        "mail_service",
        "ml_service",
        "payment_service",
        "popular_items",
        "primary_rates",
        "secondary_rates"
    ]));
    let gaps = |inventory: &Inventory| {
        let audit = inventory.audit();
        audit.gaps().map(|gap| format!("{} {}", gap.dependency, gap.check)).collect::<Vec<_>>()
    };
    // Nothing has happened yet.
    let unproven: Vec<_> = gaps(app.running.inventory());
    assert!(unproven.iter().all(|gap| gap.ends_with(" labels") || gap.ends_with(" proof")), "{unproven:?}");
    assert!(unproven.iter().any(|gap| gap == "ml_service labels"), "{unproven:?}");

    prove(&app).await;
    assert_protected!(app.running.inventory());

    // A dependency that somebody adds, and protects in no way.
    let with_another = app.running.inventory().clone().depends_on(name!("reviews"));
    let expected = ["timeout", "circuit-breaker", "bulkhead", "fallback", "proof"];
    assert_eq!(gaps(&with_another), expected.map(|check| format!("reviews {check}")));
}

#[tokio::test(start_paused = true)]
async fn the_audit_says_by_what_each_dependency_is_protected() {
    let app = App::start().await;
    let audit = app.running.inventory().audit();
    assert_eq!(audit.warnings, [""; 0]);
    let by = |dependency, check| match audit.status(dependency, check) {
        Some(CheckStatus::Present { by, .. }) => by.join(", "),
        other => panic!("{dependency} {check}: {other:?}"),
    };
    for (dependency, chain) in [
        ("ml_service", "recommendations"),
        ("popular_items", "recommendations"),
        ("payment_service", "orders"),
        ("mail_service", "confirmations"),
        ("primary_rates", "exchange_rates"),
        ("secondary_rates", "exchange_rates"),
    ] {
        assert_eq!(by(dependency, Check::Timeout), format!("timeout {dependency}"));
        assert_eq!(by(dependency, Check::CircuitBreaker), format!("circuit-breaker {dependency}"));
        assert_eq!(by(dependency, Check::Bulkhead), format!("bulkhead {dependency}"));
        assert_eq!(by(dependency, Check::Fallback), format!("fallback {chain}"));
        assert_eq!(by(dependency, Check::Metrics), "the installed recorder");
    }
    assert_eq!(by("ml_service", Check::FallbackEnd), "fallback recommendations");
    assert_eq!(by("ml_service", Check::StalenessBound), "last-known-values cached");
    for dependency in ["primary_rates", "secondary_rates"] {
        assert_eq!(by(dependency, Check::StalenessBound), "last-known-values last_known");
    }
}
