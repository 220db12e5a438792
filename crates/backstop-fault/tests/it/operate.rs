//! What operators do through `Inspect` alone.

use std::time::Duration;

use backstop_core::{Inspect, Level, OperationRequest, Reach, Value};
use backstop_fault::FaultLayer;
use http::StatusCode;
use tokio::time::advance;

use crate::support::{armed, get, is_hit, status};

fn request(name: &str) -> OperationRequest {
    OperationRequest::new(name, "ada", "a game day")
}

fn start(fault: &'static str) -> OperationRequest {
    request("start").with("fault", fault).with("share", 1.0).lasting(Duration::from_secs(300))
}

fn state(of: &dyn Inspect, run_field: &str) -> Option<Value> {
    let run = of.state().into_iter().find_map(|(name, value)| (name == "run").then_some(value))?;
    let Value::Map(run) = run else { return None };
    run.into_iter().find_map(|(name, value)| (name == run_field).then_some(value))
}

#[tokio::test(start_paused = true)]
async fn a_run_is_started_kept_alive_and_stopped() {
    let layer = armed().build().unwrap();
    let handle = layer.handle();
    let of: &dyn Inspect = &handle;
    let run = start("status")
        .with("status", 502_u64)
        .with("headers", Value::List(vec!["retry-after: 2".into()]))
        .with("body", "slow down")
        .with("seed", u64::MAX)
        .with("method", "GET")
        .with("path_prefix", "/api");
    assert_eq!(of.operate(&run).await, Ok(Reach::Instance));
    assert_eq!(status(&layer, "/api/users").await, StatusCode::BAD_GATEWAY);
    assert_eq!(status(&layer, "/other").await, StatusCode::OK);
    assert_eq!(state(of, "seed"), Some(Value::Integer(u64::MAX)), "to the last bit");
    assert_eq!(state(of, "who"), Some("ada".into()));

    for _ in 0..3 {
        advance(Duration::from_secs(50)).await;
        assert_eq!(of.operate(&request("heartbeat").with("run", 1_u64)).await, Ok(Reach::Instance));
    }
    assert_eq!(status(&layer, "/api/users").await, StatusCode::BAD_GATEWAY, "it outlives 60 s");
    assert_eq!(of.operate(&request("stop")).await, Ok(Reach::Instance));
    assert_eq!(status(&layer, "/api/users").await, StatusCode::OK);
    let late = of.operate(&request("heartbeat").with("run", 1_u64)).await.unwrap_err();
    assert_eq!(late.to_string(), "run is 1, allowed is: the number of the run that runs");
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_fault_can_be_started() {
    for (run, what) in [
        (start("error"), "error"),
        (start("status").with("status", 503_u64), "status 503"),
        (start("delay").with("delay_ms", 20_u64), "delay 20ms..=20ms"),
        (start("delay").with("delay_ms", 20_u64).with("max_delay_ms", 1_500_u64), "delay 20ms..=1.5s"),
        (start("hang"), "hang"),
        (start("reset"), "reset"),
        (start("truncated-body").with("after", 7_u64), "truncated-body after 7"),
        (start("panic"), "panic"),
        (start("error").with("header", "x-tenant: test"), "error, with x-tenant"),
        (start("error").with("by_principal", "x-user"), "error, by x-user"),
    ] {
        let handle = armed().build().unwrap().handle();
        assert_eq!(handle.operate(&run).await, Ok(Reach::Instance), "{what}");
        assert_eq!(state(&handle, "what"), Some(what.to_owned().into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_wrong_is_refused_and_injects_nothing() {
    let layer = armed().build().unwrap();
    let handle = layer.handle();
    let of: &dyn Inspect = &handle;
    for (run, text) in [
        (request("start").with("share", 1.0), "fault is missing"),
        (start("boom"), "fault is boom"),
        (request("start").with("fault", "error"), "share is missing"),
        (start("error").with("share", 1.0).with("verb", "GET"), "arguments is verb"),
        (start("status"), "status is missing"),
        (start("status").with("status", 99_999_u64), "status is 99999"),
        (start("status").with("status", 200_u64), "status is 200"),
        (start("status").with("status", 503_u64).with("headers", "retry-after: 2"), "headers is"),
        (start("status").with("status", 503_u64).with("headers", Value::List(vec!["nonsense".into()])), "headers is"),
        (start("delay"), "delay_ms is missing"),
        (start("delay").with("delay_ms", 20.5), "delay_ms is"),
        (start("delay").with("delay_ms", 20_u64).with("max_delay_ms", 10_u64), "delay is"),
        (start("hang").with("delay_ms", 20_u64), "delay_ms is"),
        (start("truncated-body"), "after is missing"),
        (start("error").with("seed", -1.0), "seed is"),
        (start("error").with("method", "GE T"), "method is"),
        (start("error").with("method", "POST"), "method is POST"),
        (start("error").with("path_prefix", "/health"), "path_prefix is /health"),
        (start("error").with("header", "x-tenant"), "header is x-tenant"),
        (start("error").with("by_principal", "x user"), "by_principal is"),
        (start("error").lasting(Duration::from_secs(3_600)), "until is 3600s"),
        (request("heartbeat"), "run is missing"),
        (OperationRequest::new("stop", "", "a game day"), "who"),
    ] {
        let error = of.operate(&run).await.unwrap_err().to_string();
        assert!(error.starts_with(text), "{error}");
        assert!(!is_hit(&layer, get("/users")).await, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_reads_what_keeps_a_run_from_starting() {
    let refused = async |layer: FaultLayer| layer.handle().operate(&start("error")).await.unwrap_err().to_string();
    let layer = || FaultLayer::builder("edge").max_share(1.0);
    assert!(refused(layer().build().unwrap()).await.starts_with("armed is false"));
    let sick = layer().arm().level(|| Level::Degraded).build().unwrap();
    assert_eq!(refused(sick).await, "level is degraded, allowed is: healthy");
    let draining = layer().arm().without_health().draining(|| true).build().unwrap();
    assert_eq!(refused(draining).await, "draining is true, allowed is: false");
    let running = layer().arm().without_health().build().unwrap();
    running.handle().operate(&start("error")).await.unwrap();
    assert_eq!(refused(running).await, "run is 1, allowed is: none that runs: stop it first");
}
