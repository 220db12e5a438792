//! What the circuit does with calls, in each of its states.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use backstop_circuit_breaker::{
    CircuitBreakerBuilder, CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, Rejection, name,
};
use backstop_core::Verdict;
use http::{HeaderMap, Request, Response, StatusCode, Version, header::CONTENT_TYPE};
use tokio::{sync::oneshot, time::advance};
use tower::{Layer, Service, ServiceExt, service_fn};

use CircuitState::{Closed, HalfOpen, Isolated, Open};

const WAIT: Duration = Duration::from_secs(60);

fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder("upstream")
}

/// A service that answers with the status it is asked for, and counts its calls.
#[derive(Clone, Default)]
struct Upstream(Arc<AtomicUsize>);

impl Upstream {
    fn calls(&self) -> usize {
        self.0.load(Relaxed)
    }

    fn behind(
        &self,
        layer: &CircuitBreakerLayer,
    ) -> impl Service<Request<StatusCode>, Response = Response<String>, Error = Infallible, Future: Send> + Clone + use<>
    {
        let calls = Arc::clone(&self.0);
        layer.layer(service_fn(move |request: Request<StatusCode>| {
            calls.fetch_add(1, Relaxed);
            async move {
                let mut response = Response::new("answer".to_owned());
                *response.status_mut() = request.into_body();
                Ok(response)
            }
        }))
    }
}

/// Calls a service that fails or not, and tells whether it was refused.
async fn call(layer: &CircuitBreakerLayer, status: StatusCode) -> Response<String> {
    Upstream::default().behind(layer).oneshot(Request::new(status)).await.unwrap()
}

async fn fail(layer: &CircuitBreakerLayer) -> Response<String> {
    call(layer, StatusCode::SERVICE_UNAVAILABLE).await
}

async fn succeed(layer: &CircuitBreakerLayer) -> Response<String> {
    call(layer, StatusCode::OK).await
}

fn rejection<B>(response: &Response<B>) -> Option<&Rejection> {
    response.extensions().get()
}

/// A layer whose circuit has just opened.
async fn opened(builder: CircuitBreakerBuilder) -> (CircuitBreakerLayer, CircuitBreakerHandle) {
    let layer = builder.consecutive_failures(1).build().unwrap();
    fail(&layer).await;
    let handle = layer.handle();
    assert_eq!(handle.state(), Open);
    (layer, handle)
}

#[tokio::test(start_paused = true)]
async fn five_failures_in_a_row_open_the_circuit_by_default() {
    let layer = CircuitBreakerLayer::new(name!("upstream"));
    let handle = layer.handle();
    for status in [500, 502, 503, 504] {
        call(&layer, StatusCode::from_u16(status).unwrap()).await;
    }
    assert_eq!((handle.state(), handle.counts().failures), (Closed, 4));
    fail(&layer).await;
    assert_eq!((handle.state(), handle.remaining_wait()), (Open, Some(WAIT)));
    advance(WAIT).await;
    succeed(&layer).await;
    assert_eq!((handle.state(), handle.remaining_wait()), (HalfOpen, None));
    succeed(&layer).await;
    assert_eq!((handle.state(), handle.generation()), (Closed, 3));
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_refuses_without_touching_the_service() {
    let layer = builder().consecutive_failures(1).retry_after_jitter(0.0).build().unwrap();
    let upstream = Upstream::default();
    let service = upstream.behind(&layer);
    let bad = service.clone().oneshot(Request::new(StatusCode::BAD_GATEWAY)).await.unwrap();
    assert_eq!((bad.status(), bad.body().as_str()), (StatusCode::BAD_GATEWAY, "answer"));
    assert!(rejection(&bad).is_none());

    advance(Duration::from_millis(500)).await;
    let refused = service.oneshot(Request::new(StatusCode::OK)).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "60");
    assert_eq!(refused.headers()["cache-control"], "no-store");
    let rejection = rejection(&refused).unwrap();
    assert_eq!(rejection.by(), "upstream");
    assert_eq!(rejection.detail::<CircuitState>(), Some(&Open));
    assert_eq!(rejection.retry_after(), Some(Duration::from_millis(59_500)));
    assert_eq!(rejection.outcome().verdict, Verdict::Neutral);
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_nobodys_failure_is_not_counted_as_one() {
    let layer = builder().consecutive_failures(2).build().unwrap();
    let handle = layer.handle();
    for neutral in [408, 425, 429] {
        fail(&layer).await;
        call(&layer, StatusCode::from_u16(neutral).unwrap()).await;
        assert_eq!(handle.counts().failures, 1, "{neutral}");
        succeed(&layer).await;
    }
    for well in [200, 204, 304, 400, 404] {
        fail(&layer).await;
        call(&layer, StatusCode::from_u16(well).unwrap()).await;
        assert_eq!(handle.counts().failures, 0, "{well}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_another_layer_is_not_this_services_failure() {
    let (inner, _) = opened(builder()).await;
    let outer = CircuitBreakerLayer::builder("outer").consecutive_failures(1).build().unwrap();
    let service = outer.layer(Upstream::default().behind(&inner));
    let response = service.oneshot(Request::new(StatusCode::OK)).await.unwrap();
    assert_eq!(rejection(&response).unwrap().by(), "upstream");
    assert_eq!(outer.handle().state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn a_grpc_status_in_the_headers_is_judged_and_answered_in_kind() {
    let layer = builder().consecutive_failures(2).retry_after_jitter(0.0).build().unwrap();
    let service = layer.layer(service_fn(|request: Request<&'static str>| async move {
        let mut response = Response::new(String::new());
        response.headers_mut().insert(CONTENT_TYPE, "application/grpc".parse().unwrap());
        response.headers_mut().insert("grpc-status", request.into_body().parse().unwrap());
        Ok::<_, Infallible>(response)
    }));
    let call = async |status: &'static str| {
        let request =
            Request::post("/pkg.Service/Method").version(Version::HTTP_2).header(CONTENT_TYPE, "application/grpc");
        service.clone().oneshot(request.body(status).unwrap()).await.unwrap()
    };
    for (status, failures) in [("14", 1), ("0", 0), ("13", 1), ("8", 1), ("5", 0), ("14", 1)] {
        call(status).await;
        assert_eq!(layer.handle().counts().failures, failures, "{status}");
    }
    call("2").await;
    let refused = call("0").await;
    assert_eq!(refused.status(), StatusCode::OK);
    let header = |headers: &HeaderMap, name| headers[name].to_str().unwrap().to_owned();
    assert_eq!(header(refused.headers(), "grpc-status"), "14");
    assert_eq!(header(refused.headers(), "grpc-retry-pushback-ms"), "-1");
    assert_eq!(header(refused.headers(), "grpc-message"), "circuit upstream is open");

    advance(WAIT - Duration::from_millis(800)).await;
    assert_eq!(header(call("0").await.headers(), "grpc-retry-pushback-ms"), "800");
}

#[tokio::test(start_paused = true)]
async fn a_window_of_n_calls_means_the_last_n() {
    let layer = builder().failure_rate(0.5).window(10).build().unwrap();
    for _ in 0..1000 {
        succeed(&layer).await;
    }
    for _ in 0..4 {
        fail(&layer).await;
    }
    assert_eq!(layer.handle().state(), Closed);
    fail(&layer).await;
    assert_eq!(layer.handle().state(), Open);
}

#[tokio::test(start_paused = true)]
async fn min_calls_has_its_effect_below_the_windows_size() {
    let layer = builder().failure_rate(0.5).window(100).min_calls(4).build().unwrap();
    for closed in [true, true, true, false] {
        fail(&layer).await;
        assert_eq!(layer.handle().state() == Closed, closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_opens_for_another_wait() {
    let (layer, handle) = opened(builder()).await;
    advance(WAIT).await;
    fail(&layer).await;
    assert_eq!((handle.state(), handle.remaining_wait()), (Open, Some(WAIT)));
    advance(WAIT - Duration::from_millis(1)).await;
    assert!(rejection(&succeed(&layer).await).is_some());
}

#[tokio::test(start_paused = true)]
async fn successful_probes_give_their_permits_back() {
    let (layer, handle) = opened(builder().success_threshold(10)).await;
    advance(WAIT).await;
    for successes in 1..10 {
        succeed(&layer).await;
        assert_eq!(handle.counts().probe_successes, successes);
        advance(WAIT * 10).await;
    }
    succeed(&layer).await;
    assert_eq!(handle.state(), Closed);
}

/// Calls that end when told to.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<oneshot::Sender<StatusCode>>>>);

impl Calls {
    fn behind(
        &self,
        layer: &CircuitBreakerLayer,
    ) -> impl Service<Request<()>, Response = Response<String>, Error = Infallible, Future: Send + 'static> + Clone + use<>
    {
        let calls = self.clone();
        layer.layer(service_fn(move |_: Request<()>| {
            let (end, ended) = oneshot::channel();
            calls.0.lock().unwrap().push(end);
            async move {
                let mut response = Response::new(String::new());
                *response.status_mut() = ended.await.unwrap();
                Ok(response)
            }
        }))
    }

    fn running(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn end(&self, first: usize, status: StatusCode) {
        self.0.lock().unwrap().remove(first).send(status).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn racing_callers_at_the_end_of_the_wait_get_exactly_the_allowed_probes() {
    for allowed in [1, 3] {
        let (layer, handle) = opened(builder().max_concurrent_probes(allowed)).await;
        advance(WAIT).await;
        let calls = Calls::default();
        let service = calls.behind(&layer);
        let mut racing = Vec::new();
        for _ in 0..50 {
            let mut service = service.clone();
            // All of them ready, before the first is called.
            service.ready().await.unwrap();
            racing.push(service);
        }
        let mut futures: Vec<_> =
            racing.iter_mut().map(|service| tokio_test::task::spawn(service.call(Request::new(())))).collect();
        let refused = futures.iter_mut().filter_map(|future| match future.poll() {
            std::task::Poll::Ready(response) => response.ok(),
            std::task::Poll::Pending => None,
        });
        let refused: Vec<_> = refused.collect();
        assert_eq!((refused.len(), calls.running()), (50 - allowed as usize, allowed as usize));
        let rejection = rejection(&refused[0]).unwrap();
        assert_eq!(rejection.detail::<CircuitState>(), Some(&HalfOpen));
        assert_eq!(refused[0].headers()["retry-after"], "1");
        assert_eq!(handle.counts().probes, allowed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_result_never_counts_in_another_generation() {
    let layer = builder().consecutive_failures(1).success_threshold(1).build().unwrap();
    let handle = layer.handle();
    let calls = Calls::default();
    let mut late: Vec<_> =
        (0..3).map(|_| tokio_test::task::spawn(calls.behind(&layer).oneshot(Request::new(())))).collect();
    late.iter_mut().for_each(|late| tokio_test::assert_pending!(late.poll()));
    fail(&layer).await;
    advance(WAIT).await;
    let mut probe = tokio_test::task::spawn(calls.behind(&layer).oneshot(Request::new(())));
    tokio_test::assert_pending!(probe.poll());
    for status in [StatusCode::OK, StatusCode::BAD_GATEWAY] {
        calls.end(0, status);
        tokio_test::assert_ready!(late.remove(0).poll()).unwrap();
        assert_eq!((handle.state(), handle.counts().probe_successes), (HalfOpen, 0));
    }
    calls.end(1, StatusCode::OK);
    tokio_test::assert_ready!(probe.poll()).unwrap();
    assert_eq!(handle.state(), Closed);
    calls.end(0, StatusCode::BAD_GATEWAY);
    tokio_test::assert_ready!(late.remove(0).poll()).unwrap();
    assert_eq!((handle.state(), handle.counts().failures), (Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn every_route_and_every_connection_shares_the_circuit() {
    let layer = CircuitBreakerLayer::new(name!("upstream"));
    let bad = || async { StatusCode::SERVICE_UNAVAILABLE };
    let router = Router::new().route("/a", get(bad)).route("/b", get(bad)).layer(layer.clone());
    for path in ["/a", "/b", "/a", "/b", "/a"] {
        let response = router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        assert!(rejection(&response).is_none());
    }
    let response = router.oneshot(Request::get("/b").body(Body::empty()).unwrap()).await.unwrap();
    assert!(rejection(&response).is_some());
    assert_eq!(layer.handle().state(), Open);
}

#[tokio::test(start_paused = true)]
async fn an_operator_isolates_closes_and_resets() {
    let layer = builder().consecutive_failures(2).build().unwrap();
    let handle = layer.handle();
    handle.isolate();
    advance(WAIT * 1000).await;
    let refused = succeed(&layer).await;
    assert_eq!(rejection(&refused).unwrap().detail::<CircuitState>(), Some(&Isolated));
    assert!(!refused.headers().contains_key("retry-after"));
    assert_eq!((handle.state(), handle.remaining_wait()), (Isolated, None));

    handle.close();
    fail(&layer).await;
    handle.close();
    assert_eq!((handle.state(), handle.counts().failures), (Closed, 1));
    handle.reset();
    assert_eq!((handle.state(), handle.counts().failures), (Closed, 0));
    fail(&layer).await;
    fail(&layer).await;
    assert_eq!(handle.state(), Open);
    handle.reset();
    assert!(rejection(&succeed(&layer).await).is_none());
}
