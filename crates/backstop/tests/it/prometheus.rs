//! What Prometheus's own `promtool` says of our metrics, and of the alerts in the guide to telemetry.
//!
//! `promtool` is a part of Prometheus (Debian's package `prometheus`). Without it these tests are skipped, or fail if the
//! variable `BACKSTOP_PROMTOOL` is `required`.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a helper of a test may fail it, or say that it is skipped, as the test itself may"
)]

use std::{
    convert::Infallible,
    env,
    io::{ErrorKind, Write},
    process::{Command, Stdio},
};

use axum::{
    body::Body,
    extract::Request,
    http::{Response, StatusCode},
};
use backstop::{FallbackChain, FallbackLayer, Provider, name, standard};
use backstop_test::Metrics;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tower::{ServiceBuilder, ServiceExt, service_fn};

/// Fails the test if `promtool` objects to `input`, or to the files among `arguments`.
#[track_caller]
fn promtool(arguments: &[&str], input: &str) {
    let started = Command::new("promtool")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut process = match started {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert_ne!(env::var("BACKSTOP_PROMTOOL").as_deref(), Ok("required"), "there is no promtool");
            return eprintln!("skipped: promtool isn't installed");
        }
        started => started.unwrap(),
    };
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{said}\n{input}");
}

#[test]
fn the_alerts_of_the_guide_are_valid() {
    promtool(&["check", "rules", "src/guides/alerts.yml"], "");
}

#[test]
fn the_queries_of_the_guide_are_valid() {
    let queries = include_str!("../../src/guides/telemetry.md").lines().filter_map(|line| {
        let (_question, query) = line.strip_prefix("| ")?.strip_suffix("` |")?.split_once(" | `")?;
        Some(format!("\n      - record: query\n        expr: {query:?}"))
    });
    let rules: Vec<_> = queries.enumerate().map(|(n, rule)| rule.replace("query\n", &format!("query:{n}\n"))).collect();
    assert!(rules.len() > 5, "{rules:?}");
    promtool(&["check", "rules", "/dev/stdin"], &format!("groups:\n  - name: guide\n    rules:{}\n", rules.concat()));
}

#[test]
fn the_alerts_of_the_guide_see_an_outage_and_only_an_outage() {
    promtool(&["test", "rules", "tests/alerts.yml"], "");
}

/// Requests to a dependency that always answers 503, with a fallback and without one.
async fn outage() {
    let chains = [
        FallbackChain::builder("recs")
            .provider(Provider::value(name!("usual"), || async { Response::new(Body::from("the usual")) })),
        FallbackChain::builder("ads")
            .provider(Provider::from_fn(name!("none"), |_: Request| async { Err::<Response<Body>, _>("none") })),
    ];
    for chain in chains {
        let stack = ServiceBuilder::new()
            .layer(FallbackLayer::new(name!("live"), chain.build().unwrap()))
            .layer(standard("ml").build().unwrap())
            .service(service_fn(async |_: Request| {
                let answer = Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(Body::empty());
                Ok::<_, Infallible>(answer.unwrap())
            }));
        for _ in 0..10 {
            stack.clone().oneshot(Request::new(Body::empty())).await.unwrap();
        }
    }
}

/// A sample of each described metric that has none yet: some take hours to come.
fn touch_others() {
    let described = Metrics::new();
    metrics::with_local_recorder(&described, backstop::describe_metrics);
    for (name, description) in described.descriptions() {
        match description.split_once(' ').unwrap().0 {
            "counter" => metrics::counter!(name).increment(0),
            "gauge" => metrics::gauge!(name).increment(0.0),
            _ => metrics::histogram!(name).record(0.0),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_scrape_has_metrics_as_prometheus_wants_them() {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &backstop::DURATION_BUCKETS)
        .unwrap()
        .build_recorder();
    let scrape = recorder.handle();
    {
        let _guard = metrics::set_default_local_recorder(&recorder);
        backstop::describe_metrics();
        outage().await;
        touch_others();
    }
    let text = scrape.render();
    promtool(&["check", "metrics"], &text);
    for line in [
        "# TYPE call_duration_seconds histogram",
        "call_duration_seconds_bucket{name=\"ml\",outcome=\"failure\",le=\"0.0005\"} ",
        "circuit_breaker_state{name=\"ml\",state=\"open\"} 1",
        "fallback_activations_total{chain_name=\"recs\",provider_name=\"usual\"} 10",
        "fallback_exhausted_total{chain_name=\"ads\"} 10",
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
}
