//! The denominators: how many calls ended how, and how long they took.

#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    convert::Infallible,
    future::{Ready, pending},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::body::Body;
use backstop_circuit_breaker::{CircuitBreakerLayer, OnDrop, UntilBodyEnd};
use backstop_test::Metrics;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::time::{advance, sleep};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// How many calls of `upstream` had each outcome, and how long they took, in seconds.
fn calls(metrics: &Metrics) -> [(u64, Vec<f64>); 3] {
    ["success", "failure", "neutral"].map(|outcome| {
        let labels = [("name", "upstream"), ("outcome", outcome)];
        (metrics.counter("calls_total", &labels), metrics.histogram("call_duration_seconds", &labels))
    })
}

async fn answer(layer: &CircuitBreakerLayer, status: StatusCode, after: Duration) {
    let answers = service_fn(async |_: Request<()>| {
        if !after.is_zero() {
            sleep(after).await;
        }
        Ok::<_, Infallible>(Response::builder().status(status).body(()).unwrap())
    });
    layer.layer(answers).oneshot(Request::new(())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_admitted_call_counts_once_by_its_outcome_with_the_time_since_it_was_first_pending() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let layer = CircuitBreakerLayer::builder("upstream").on_drop(OnDrop::FailureAfter(5 * SECOND)).build().unwrap();
    assert!(metrics.lines().iter().all(|line| !line.starts_with("call")), "{metrics}");

    answer(&layer, StatusCode::OK, Duration::ZERO).await;
    answer(&layer, StatusCode::NOT_FOUND, 2 * SECOND).await;
    answer(&layer, StatusCode::BAD_GATEWAY, Duration::ZERO).await;
    answer(&layer, StatusCode::BAD_GATEWAY, SECOND).await;
    answer(&layer, StatusCode::TOO_MANY_REQUESTS, SECOND).await;
    assert_eq!(calls(&metrics), [(2, vec![0.0, 2.0]), (2, vec![0.0, 1.0]), (1, vec![1.0])]);

    let errors = service_fn(|_: Request<()>| async { Err::<Response<()>, BoxError>("gone".into()) });
    layer.layer(errors).oneshot(Request::new(())).await.unwrap_err();
    let panics = service_fn(|_: Request<()>| -> Ready<Result<Response<()>, Infallible>> { panic!("on purpose") });
    let mut panics = layer.layer(panics);
    catch_unwind(AssertUnwindSafe(|| drop(panics.call(Request::new(()))))).unwrap_err();
    assert_eq!(calls(&metrics)[1], (4, vec![0.0, 1.0, 0.0, 0.0]));

    for (waits, after) in [(3 * SECOND, [(1, 3.0)].as_slice()), (5 * SECOND, &[])] {
        let hangs = service_fn(|_: Request<()>| pending::<Result<Response<()>, Infallible>>());
        let mut call = Box::pin(layer.layer(hangs).oneshot(Request::new(())));
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        advance(waits).await;
        drop(call);
        let [_, failed, neutral] = calls(&metrics);
        match after {
            [(_, seconds)] => assert_eq!(neutral, (2, vec![1.0, *seconds])),
            _ => assert_eq!(failed, (5, vec![0.0, 1.0, 0.0, 0.0, 5.0])),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_is_none() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let layer = CircuitBreakerLayer::builder("upstream").build().unwrap();
    layer.handle().isolate();
    answer(&layer, StatusCode::OK, SECOND).await;
    assert_eq!(metrics.counter("circuit_breaker_rejections_total", &[]), 1);
    assert_eq!(calls(&metrics), [(0, vec![]), (0, vec![]), (0, vec![])]);
}

#[tokio::test(start_paused = true)]
async fn calls_of_functions_and_failures_to_become_ready_count_as_well() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let layer = CircuitBreakerLayer::builder("upstream").build().unwrap();
    let circuit = layer.handle();
    let waits = async || {
        sleep(SECOND).await;
        Ok::<_, Infallible>(())
    };
    circuit.call(waits).await.unwrap();
    let is_broken = service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(())));
    let mut is_broken = layer.layer(NotReady(is_broken));
    assert!(is_broken.ready().await.is_err());
    assert_eq!(calls(&metrics), [(1, vec![1.0]), (1, vec![0.0]), (0, vec![])]);
}

/// Never becomes ready.
struct NotReady<S>(S);

impl<S: Service<R, Error = BoxError>, R> Service<R> for NotReady<S> {
    type Response = S::Response;
    type Error = BoxError;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Err("broken".into()))
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}

/// Through a layer that watches bodies: a head after 1 s, then `body`.
async fn watched(lease: Duration, body: Body) -> Response<Body> {
    let layer = CircuitBreakerLayer::builder("upstream").probe_lease(lease).observe(UntilBodyEnd).build().unwrap();
    let mut body = Some(body);
    let answers = service_fn(move |_: Request<()>| {
        let response = Response::new(body.take().unwrap());
        async move {
            sleep(SECOND).await;
            Ok::<_, Infallible>(response)
        }
    });
    layer.layer(answers).oneshot(Request::new(())).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_body_is_watched_lasts_until_the_body_ends() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let frame = Box::pin(async {
        sleep(2 * SECOND).await;
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"late")))
    });
    let response = watched(30 * SECOND, Body::new(Once(Some(frame)))).await;
    assert_eq!(calls(&metrics), [(0, vec![]), (0, vec![]), (0, vec![])]);
    response.into_body().collect().await.unwrap();
    assert_eq!(calls(&metrics), [(1, vec![3.0]), (0, vec![]), (0, vec![])]);
}

type Coming<E> = Pin<Box<dyn Future<Output = Result<Frame<Bytes>, E>> + Send>>;

/// One frame, or an error.
struct Once<E>(Option<Coming<E>>);

impl<E: Into<BoxError> + 'static> http_body::Body for Once<E> {
    type Data = Bytes;
    type Error = E;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        let Some(coming) = &mut self.0 else { return Poll::Ready(None) };
        let frame = std::task::ready!(coming.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(Some(frame))
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_lasts_long_counts_once_when_its_head_counts_also_if_it_breaks_later() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let breaks = Box::pin(async {
        sleep(60 * SECOND).await;
        Err::<Frame<Bytes>, BoxError>("reset".into())
    });
    let mut body =
        watched(30 * SECOND, Body::new(Ticking(Once(Some(breaks)), Box::pin(sleep(SECOND))))).await.into_body();
    let mut ticks = 0;
    while let Some(Ok(_)) = body.frame().await {
        ticks += 1;
    }
    assert!(ticks > 30, "{ticks}");
    let [success, failure, neutral] = calls(&metrics);
    assert_eq!((success.0, failure, neutral), (1, (0, vec![]), (0, vec![])));
    assert!((30.0..33.0).contains(&success.1[0]), "{success:?}");
    assert_eq!(metrics.counter("circuit_breaker_failures_total", &[]), 1, "it is the circuit's failure all the same");
}

/// A frame each second until the other body ends.
struct Ticking(Once<BoxError>, Pin<Box<tokio::time::Sleep>>);

impl http_body::Body for Ticking {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(end) = Pin::new(&mut self.0).poll_frame(cx) {
            return Poll::Ready(end);
        }
        std::task::ready!(self.1.as_mut().poll(cx));
        self.1 = Box::pin(sleep(SECOND));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"tick")))))
    }
}
