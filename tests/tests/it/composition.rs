//! The whole stack over real sockets: what a caller sees while the service behind it fails in different ways.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    error_handling::HandleError,
    http::{StatusCode, request::Parts},
    response::IntoResponse,
};
use backstop::{
    Answer, CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, DegradationHeaderLayer, FallbackChain,
    FallbackLayer, Provider, RetryLayer, TimeoutLayer, name,
};
use backstop_tests::http::{Does, Nobody, PERSONAL, Server, Upstream, client, header, post};
use hyper_util::client::legacy::Error;
use tokio::time::{Instant, timeout};
use tower::ServiceBuilder;

const DOWN: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// The headers of every provider's answer.
const CACHEABLE: [(&str, &str); 2] = [("cache-control", "max-age=60"), ("etag", "\"1\"")];

/// A server whose client has the whole stack.
struct Gateway {
    server: Server,
    circuit: CircuitBreakerHandle,
}

impl Gateway {
    /// A gateway to `address`, with a stored answer for `/known`, and the bestsellers for all other paths.
    async fn start(address: SocketAddr) -> Self {
        Self::with_wait(address, Duration::from_secs(60)).await
    }

    /// As [`start`](Self::start), with a circuit that stays open for `wait`.
    async fn with_wait(address: SocketAddr, wait: Duration) -> Self {
        let stored = async |head: Parts| match head.uri.path() {
            "/known" => Ok(Answer::stale((CACHEABLE, "yours, of before").into_response(), Duration::from_secs(42))),
            _ => Err("nothing is stored"),
        };
        let chain = FallbackChain::builder("recommendations")
            .total(Duration::from_secs(10))
            .provider(Provider::head(name!("cached"), stored))
            .provider(Provider::handler(name!("bestsellers"), || async { (CACHEABLE, "the usual") }))
            .build()
            .unwrap();
        let retry = RetryLayer::builder("ml_service").backoff_base(Duration::from_millis(1)).build().unwrap();
        let breaker = CircuitBreakerLayer::builder("ml_service").wait(wait).build().unwrap();
        let circuit = breaker.handle();
        let stack = ServiceBuilder::new()
            .layer(DegradationHeaderLayer::new())
            .layer(FallbackLayer::new(name!("ml_service"), chain))
            .layer(retry)
            .layer(breaker)
            .layer(TimeoutLayer::builder("ml_service").limit(Duration::from_millis(300)).build().unwrap())
            .service(backstop::client(client(address)));
        let app = Router::new().fallback_service(HandleError::new(stack, async |_: Error| StatusCode::BAD_GATEWAY));
        Self { server: Server::start(app).await, circuit }
    }

    /// Sends a request without a stored answer, and checks that the answer is the bestsellers, labelled.
    async fn gives_the_usual(&self) {
        let (head, body) = self.server.get("/").await;
        assert_eq!((head.status, &*body), (StatusCode::OK, "the usual"));
        assert_eq!(header(&head, "x-fallback-source"), Some("bestsellers"));
        assert_eq!(header(&head, "x-data-freshness"), Some("degraded"));
        assert_eq!(header(&head, "cache-control"), Some("no-store"));
        assert_eq!(header(&head, "etag"), None, "nobody may take it for the real one later");
    }
}

#[tokio::test]
async fn a_fresh_answer_passes_unlabelled_and_costs_one_call() {
    let upstream = Upstream::start(Does::Well).await;
    let gateway = Gateway::start(upstream.address()).await;
    let (head, body) = gateway.server.get("/").await;
    assert_eq!((head.status, &*body), (StatusCode::OK, PERSONAL));
    for absent in ["x-fallback-source", "x-data-freshness", "age", "cache-control"] {
        assert_eq!(header(&head, absent), None, "{absent}");
    }
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test]
async fn a_failure_that_passes_is_not_seen() {
    let upstream = Upstream::start(Does::Well).await;
    let gateway = Gateway::start(upstream.address()).await;
    upstream.first([Does::Fail(DOWN), Does::Fail(StatusCode::BAD_GATEWAY)]);
    let (head, body) = gateway.server.get("/").await;
    assert_eq!((head.status, &*body), (StatusCode::OK, PERSONAL));
    assert_eq!(header(&head, "x-fallback-source"), None);
    assert_eq!(upstream.calls(), 3);
    assert_eq!(gateway.circuit.counts().failures, 0, "a success between failures starts over");
}

#[tokio::test]
async fn a_503_is_a_failure_and_the_degraded_answer_leaves_uncacheable() {
    let upstream = Upstream::start(Does::Fail(DOWN)).await;
    let gateway = Gateway::start(upstream.address()).await;
    gateway.gives_the_usual().await;
    assert_eq!(upstream.calls(), 3);
    assert_eq!(gateway.circuit.counts().failures, 3, "a 503 in an `Ok` counts, each attempt of it");

    gateway.gives_the_usual().await;
    assert_eq!(gateway.circuit.state(), CircuitState::Open);
    assert_eq!(upstream.calls(), 5, "the third attempt was refused");
}

#[tokio::test]
async fn a_stored_answer_leaves_with_its_true_age_and_its_own_caching() {
    let upstream = Upstream::start(Does::Fail(DOWN)).await;
    let gateway = Gateway::start(upstream.address()).await;
    let (head, body) = gateway.server.get("/known").await;
    assert_eq!((head.status, &*body), (StatusCode::OK, "yours, of before"));
    assert_eq!(header(&head, "x-fallback-source"), Some("cached"));
    assert_eq!(header(&head, "x-data-freshness"), Some("stale"));
    assert_eq!(header(&head, "age"), Some("42"));
    assert_eq!(header(&head, "cache-control"), Some("max-age=60"));
    assert_eq!(header(&head, "etag"), Some("\"1\""));
}

#[tokio::test]
async fn a_hung_service_is_answered_for_and_its_circuit_opens() {
    let upstream = Upstream::start(Does::Hang).await;
    let gateway = Gateway::start(upstream.address()).await;
    let started = Instant::now();
    gateway.gives_the_usual().await;
    assert!(started.elapsed() < Duration::from_secs(3), "three attempts of 300 ms: {:?}", started.elapsed());
    assert_eq!(gateway.circuit.counts().failures, upstream.calls() as u32, "what hung was counted");

    gateway.gives_the_usual().await;
    assert_eq!(gateway.circuit.state(), CircuitState::Open);
    assert_eq!(upstream.calls(), 5);
}

#[tokio::test]
async fn where_nobody_listens_others_answer_even_a_post() {
    let nobody = Nobody::new();
    let gateway = Gateway::start(nobody.address()).await;
    gateway.gives_the_usual().await;
    assert_eq!(gateway.circuit.counts().failures, 3);
    let (head, body) = gateway.server.send(post("/known", "buy")).await;
    assert_eq!((head.status, &*body), (StatusCode::OK, "yours, of before"), "a refused connection processed nothing");
    assert_eq!(gateway.circuit.counts().failures, 0, "cleared, since the circuit opened");
    assert_eq!(gateway.circuit.state(), CircuitState::Open);
    let (head, body) = gateway.server.send(post("/known", "buy")).await;
    assert_eq!((head.status, &*body), (StatusCode::OK, "yours, of before"), "nor did an open circuit");
}

#[tokio::test]
async fn a_post_that_was_perhaps_processed_is_made_once_and_nowhere_else() {
    let upstream = Upstream::start(Does::Well).await;
    let gateway = Gateway::start(upstream.address()).await;
    for (does, status) in [
        (Does::Fail(DOWN), DOWN),
        (Does::Fail(StatusCode::INTERNAL_SERVER_ERROR), StatusCode::INTERNAL_SERVER_ERROR),
        (Does::Hang, StatusCode::GATEWAY_TIMEOUT),
    ] {
        let before = upstream.calls();
        upstream.first([does]);
        let (head, _) = gateway.server.send(post("/", "buy")).await;
        assert_eq!(head.status, status, "{does:?}");
        assert_eq!(header(&head, "x-fallback-source"), None, "{does:?}");
        assert_eq!(upstream.calls(), before + 1, "{does:?}");
    }
}

#[tokio::test]
async fn it_recovers_by_itself_from_every_fault() {
    for fault in [Does::Fail(DOWN), Does::Hang] {
        let upstream = Upstream::start(fault).await;
        let gateway = Gateway::with_wait(upstream.address(), Duration::from_millis(50)).await;
        while gateway.circuit.state() != CircuitState::Open {
            gateway.gives_the_usual().await;
        }
        upstream.now(Does::Well);
        let fresh = async {
            while gateway.circuit.state() != CircuitState::Closed {
                let (head, body) = gateway.server.get("/").await;
                assert_eq!(head.status, StatusCode::OK);
                let is_fresh = header(&head, "x-data-freshness").is_none();
                assert_eq!(body, if is_fresh { PERSONAL } else { "the usual" });
            }
        };
        timeout(Duration::from_secs(10), fresh).await.unwrap();
        assert_eq!(gateway.server.get("/").await.1, PERSONAL, "{fault:?}");
    }
}
