//! The standard stack around a client that answers at once, and the same stack made of each peer's layers.

use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use backstop::{Standard, name, standard};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, layer::util::Identity};

use crate::{
    http::{Upstream, calls_of, calls_through, cloned},
    measure::{Contender, Section, Table},
};

pub(crate) const SECTION: Section = Section {
    name: "standard",
    tables: &[Table::new("Retry, circuit breaker, bulkhead and timeout, GET with 10 headers", contenders)],
    others: &[],
};

fn contenders() -> Vec<Contender> {
    vec![
        Contender::new("bare", || calls_through(Identity::new())),
        Contender::new("ours", || calls_through(Standard::new(name!("bench")))).target("350 ns, 4 allocations"),
        Contender::new("ours, until the headers", || calls_through(Standard::new(name!("bench")).until_headers())),
        Contender::new("ours, without a retry", || {
            calls_through(standard("bench").without_retry().build().expect("a configuration"))
        }),
        Contender::new("tower-resilience", || calls_of(tower_resilience)).target("at least 4 × ours"),
        Contender::new("seatbelt, without a bulkhead", || calls_of(seatbelt)).target("at least 4 × ours"),
    ]
}

/// Its requests must be cloneable, so that it can't have axum's body.
fn tower_resilience(
    upstream: Upstream<Full<Bytes>>,
) -> impl Service<Request<Full<Bytes>>, Response = Response<Full<Bytes>>> + Send {
    let retry = tower_resilience_retry::RetryLayer::builder()
        .retry_on_response(|response: &Response<Full<Bytes>>| response.status().is_server_error())
        .build();
    let breaker = tower_resilience_circuitbreaker::CircuitBreakerLayer::builder().build().expect("a configuration");
    let bulkhead = tower_resilience_bulkhead::BulkheadLayer::builder()
        .max_concurrent_calls(100)
        .max_wait_duration(Duration::from_secs(1))
        .build()
        .expect("a configuration");
    let timeout =
        tower_resilience_timelimiter::TimeLimiterLayer::builder().timeout_duration(Duration::from_secs(1)).build();
    let attempt = breaker.layer(bulkhead.layer(timeout.layer(upstream)));
    ServiceBuilder::new().layer(retry).service(attempt.map_err(|error| BoxError::from(error.to_string())))
}

fn seatbelt(upstream: Upstream<Body>) -> impl Service<Request<Body>, Response = Response<Body>> + Send {
    type Answer = Result<Response<Body>, Infallible>;

    let recovery = |answer: &Answer| match answer {
        Ok(response) if response.status().is_server_error() => seatbelt::RecoveryInfo::retry(),
        _ => seatbelt::RecoveryInfo::never(),
    };
    let failed = || {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        Ok(response)
    };
    let context = seatbelt::ResilienceContext::<Request<Body>, Answer>::new(tick::Clock::new_tokio());
    let retry = seatbelt::retry::Retry::layer("bench", &context)
        .clone_input_with(|request, _| Some(cloned(request)))
        .recovery_with(move |answer: &Answer, _| recovery(answer));
    let breaker = seatbelt::breaker::Breaker::layer("bench", &context)
        .recovery_with(move |answer: &Answer, _| recovery(answer))
        .rejected_input(move |_, _| failed());
    let timeout = seatbelt::timeout::Timeout::layer("bench", &context)
        .timeout_output(move |_| failed())
        .timeout(Duration::from_secs(1));
    retry.layer(breaker.layer(timeout.layer(upstream)))
}
