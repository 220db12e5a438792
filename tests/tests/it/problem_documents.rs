//! Each layer that rejects says why in a problem document, if it is asked to, so that a caller can tell its 503 from an
//! upstream's.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{convert::Infallible, future::pending, time::Duration};

use axum::{
    extract::Request,
    http::{StatusCode, Version, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use backstop::{
    BulkheadLayer, CircuitBreakerLayer, DeadlineLayer, FallbackChain, FallbackLayer, PropagateDeadlineLayer, Provider,
    TimeoutLayer, name,
};
use backstop_tests::http::{get, header, post, read, status};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};

type Stack = BoxCloneSyncService<Request, Response, Infallible>;

fn stack<L>(layer: L, inner: Stack) -> Stack
where
    L: Layer<Stack>,
    L::Service: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
{
    Stack::new(layer.layer(inner))
}

fn hangs() -> Stack {
    Stack::new(service_fn(|_: Request| pending()))
}

fn fails() -> Stack {
    Stack::new(service_fn(|_: Request| async { Ok(status(StatusCode::SERVICE_UNAVAILABLE)) }))
}

const LIMIT: Duration = Duration::from_millis(100);

/// Each layer around a service on which it rejects, and what it says.
fn rejecting() -> Vec<(Stack, u16, &'static str)> {
    let breaker = CircuitBreakerLayer::builder("one").problem_details().build().unwrap();
    breaker.handle().isolate();
    let keyed = CircuitBreakerLayer::builder("each").consecutive_failures(1).problem_details();
    let keyed = keyed.build_keyed(9, |request: &Request| request.uri().clone()).unwrap();
    let bulkhead = BulkheadLayer::builder("pool").max_concurrent(1).max_waiting(0).problem_details().build().unwrap();
    let timeout = TimeoutLayer::builder("ml").limit(LIMIT).problem_details().build().unwrap();
    let deadline = DeadlineLayer::builder("edge").limit(LIMIT).problem_details().build().unwrap();
    let narrow = DeadlineLayer::builder("edge").limit(Duration::from_millis(5)).build().unwrap();
    let propagate = PropagateDeadlineLayer::builder("ml").problem_details().build().unwrap();
    let chain = FallbackChain::builder("prices")
        .total(LIMIT)
        .provider(Provider::from_fn(name!("none"), |_: Request| async { Err::<Response, _>("nothing") }))
        .build()
        .unwrap();
    let fallback = FallbackLayer::builder("live", chain).problem_details().build().unwrap();
    vec![
        (stack(breaker, fails()), 503, "circuit-open"),
        (stack(keyed, fails()), 503, "circuit-open"),
        (stack(bulkhead, hangs()), 503, "bulkhead-full"),
        (stack(timeout, hangs()), 504, "timeout"),
        (stack(deadline, hangs()), 504, "timeout"),
        (stack(narrow, stack(propagate, fails())), 504, "timeout"),
        (stack(fallback, hangs()), 503, "all-providers-failed"),
    ]
}

#[tokio::test(start_paused = true)]
async fn each_layer_that_rejects_says_why_in_a_problem_document_where_it_is_asked_to() {
    for (stack, status, reason) in rejecting() {
        // What trips a circuit, or takes the only permit.
        _ = tokio::time::timeout(LIMIT * 2, stack.clone().oneshot(get("/"))).await;
        let running = stack.clone().oneshot(get("/"));
        let (head, body) = tokio::select! {
            biased;
            _ = running, if reason == "bulkhead-full" => unreachable!("it hangs"),
            answer = stack.clone().oneshot(get("/")) => read(answer.unwrap()).await,
        };
        assert_eq!(head.status.as_u16(), status, "{reason}");
        assert_eq!(header(&head, "content-type"), Some("application/problem+json"), "{reason}");
        assert_eq!(header(&head, "cache-control"), Some("no-store"));
        assert!(body.contains(&format!(r#""status":{status},"#)), "{body}");
        assert!(body.contains(&format!(r#""reason":"{reason}""#)), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstreams_own_503_passes_without_a_document() {
    let stack = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::builder("ml").problem_details().build().unwrap())
        .layer(BulkheadLayer::builder("ml").problem_details().build().unwrap())
        .layer(TimeoutLayer::builder("ml").problem_details().build().unwrap())
        .service(service_fn(|_: Request| async {
            Ok::<_, BoxError>((StatusCode::SERVICE_UNAVAILABLE, "down for repairs").into_response())
        }));
    let (head, body) = read(stack.oneshot(get("/")).await.unwrap()).await;
    assert_eq!((head.status, &*body), (StatusCode::SERVICE_UNAVAILABLE, "down for repairs"));
    assert_eq!(header(&head, "content-type"), Some("text/plain; charset=utf-8"));
}

#[tokio::test(start_paused = true)]
async fn a_grpc_call_gets_a_status_and_no_document() {
    let mut call = post("/", "");
    *call.version_mut() = Version::HTTP_2;
    call.headers_mut().insert(CONTENT_TYPE, "application/grpc".parse().unwrap());
    let layer = TimeoutLayer::builder("ml").limit(LIMIT).problem_details().build().unwrap();
    let (head, body) = read(stack(layer, hangs()).oneshot(call).await.unwrap()).await;
    assert_eq!((header(&head, "content-type"), header(&head, "grpc-status")), (Some("application/grpc"), Some("4")));
    assert_eq!(body, "");
}
