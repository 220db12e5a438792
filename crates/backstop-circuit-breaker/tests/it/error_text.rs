//! The event of an opening circuit carries the text of the error that opened it.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{pending, ready},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use backstop_circuit_breaker::{CircuitBreakerBuilder, CircuitBreakerLayer, CircuitState, UntilBodyEnd};
use backstop_test::{Logs, Scripted};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::time::{sleep, timeout};
use tokio_test::task;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tracing::Level;

/// The fields `error` of the events since the last look.
fn errors(logs: &Logs) -> Vec<String> {
    logs.take().iter().filter_map(|event| event.field("error").map(str::to_owned)).collect()
}

fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder("upstream").consecutive_failures(1)
}

fn unreachable() -> io::Error {
    io::Error::other("no route to http://bob:pw@upstream/users?token=1\nWARN forged")
}

/// That text, as an event has it.
const UNREACHABLE: &str = r"no route to http://upstream/users\nWARN forged";

async fn fails(_: Request<()>) -> Result<Response<()>, io::Error> {
    Err(unreachable())
}

#[tokio::test]
async fn an_opening_circuit_shows_the_text_of_the_error_without_secrets_and_on_one_line() {
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let layer = builder().build().unwrap();
    layer.layer(service_fn(fails)).oneshot(Request::new(())).await.unwrap_err();
    assert_eq!(errors(&logs), [UNREACHABLE]);

    let long = builder().build().unwrap();
    let fails = |_: Request<()>| async { Err::<Response<()>, _>(io::Error::other("x".repeat(1_000))) };
    long.layer(service_fn(fails)).oneshot(Request::new(())).await.unwrap_err();
    assert_eq!(errors(&logs), ["x".repeat(256)]);
}

#[tokio::test]
async fn a_closure_chooses_the_text_and_is_asked_only_when_the_circuit_opens() {
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let layer = CircuitBreakerLayer::builder("upstream")
        .consecutive_failures(3)
        .error_text(move |error| {
            counter.fetch_add(1, Relaxed);
            error.find::<io::Error>().map(|error| format!("{:?}\n", error.kind()))
        })
        .build()
        .unwrap();
    let healthy = layer.layer(service_fn(|_: Request<()>| async { Ok::<_, io::Error>(Response::new(())) }));
    for _ in 0..5 {
        healthy.clone().oneshot(Request::new(())).await.unwrap();
    }
    for failure in 1..=3 {
        layer.layer(service_fn(fails)).oneshot(Request::new(())).await.unwrap_err();
        assert_eq!(asked.load(Relaxed), usize::from(failure == 3));
    }
    assert_eq!(errors(&logs), [r"Other\n"]);

    let hidden = builder().error_text(|_| None).build().unwrap();
    hidden.layer(service_fn(fails)).oneshot(Request::new(())).await.unwrap_err();
    assert_eq!(hidden.handle().state(), CircuitState::Open);
    assert!(errors(&logs).is_empty());
}

#[tokio::test]
async fn a_status_opens_the_circuit_with_that_status_for_a_text() {
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let unavailable = |_: Request<()>| async {
        Ok::<_, Infallible>(Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(()).unwrap())
    };
    builder().build().unwrap().layer(service_fn(unavailable)).oneshot(Request::new(())).await.unwrap();
    assert_eq!(errors(&logs), ["status 503"]);

    let grpc = |_: Request<()>| async {
        let response = Response::builder().header("content-type", "application/grpc").header("grpc-status", 14);
        Ok::<_, Infallible>(response.body(()).unwrap())
    };
    builder().build().unwrap().layer(service_fn(grpc)).oneshot(Request::new(())).await.unwrap();
    assert_eq!(errors(&logs), ["grpc 14"]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_that_opens_the_circuit_says_so() {
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let layer = builder().slow_calls(Duration::from_secs(1), 1.0).min_calls(1).build().unwrap();
    let slow = |_: Request<()>| async {
        sleep(Duration::from_secs(2)).await;
        Ok::<_, Infallible>(Response::new(()))
    };
    layer.layer(service_fn(slow)).oneshot(Request::new(())).await.unwrap();
    assert_eq!(errors(&logs), ["the call was slow"]);
}

#[tokio::test]
async fn the_circuit_of_a_key_shows_its_own_error() {
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let layer = builder()
        .plain()
        .error_text(|error| error.find::<io::Error>().map(|error| format!("seen: {error}")))
        .build_keyed(10, |request: &&'static str| *request)
        .unwrap();
    let named = |request: &'static str| async move { Err::<(), BoxError>(io::Error::other(request).into()) };
    for key in ["a", "b"] {
        layer.layer(service_fn(named)).oneshot(key).await.unwrap_err();
    }
    assert_eq!(errors(&logs), ["seen: a", "seen: b"]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_of_a_prober_that_fails_shows_its_error() {
    let logs = Logs::up_to(Level::DEBUG);
    let _guard = logs.listen();
    let layer = builder().wait(Duration::from_secs(10)).probe_lease(Duration::from_secs(5)).build().unwrap();
    layer.layer(service_fn(fails)).oneshot(Request::new(())).await.unwrap_err();
    _ = logs.take();

    let mut probes = 0;
    let prober = layer.handle().prober(move || {
        probes += 1;
        let hangs = probes > 1;
        async move {
            if hangs {
                sleep(Duration::from_secs(3600)).await;
            }
            Err::<(), _>(unreachable())
        }
    });
    _ = prober.until(sleep(Duration::from_secs(29))).await;
    assert_eq!(errors(&logs), [UNREACHABLE, "the probe outlived its lease"]);
}

struct Frames(VecDeque<io::Result<Frame<Bytes>>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.0.pop_front())
    }
}

#[tokio::test]
async fn a_body_that_breaks_and_a_bad_status_in_trailers_show_theirs() {
    async fn read(frames: impl IntoIterator<Item = io::Result<Frame<Bytes>>>) {
        let body = Body::new(Frames(frames.into_iter().collect()));
        let mut response = Some(Response::builder().header("content-type", "application/grpc").body(body).unwrap());
        let answers = service_fn(move |_: Request<()>| ready(Ok::<_, Infallible>(response.take().unwrap())));
        let layer = builder().observe(UntilBodyEnd).build().unwrap();
        let response = layer.layer(answers).oneshot(Request::new(())).await.unwrap();
        _ = response.into_body().collect().await;
    }
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let data = || Ok(Frame::data(Bytes::from_static(b"..")));
    read([data(), Err(unreachable())]).await;
    assert_eq!(errors(&logs), [UNREACHABLE]);

    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "14".parse().unwrap())]);
    read([data(), Ok(Frame::trailers(trailers))]).await;
    assert_eq!(errors(&logs), ["grpc 14"]);

    read([data()]).await;
    assert_eq!(errors(&logs), ["the response ended without a gRPC status"]);
}

#[tokio::test]
async fn a_service_that_fails_to_become_ready_shows_its_error() {
    let broken = Scripted::<Request<()>, Response<()>, _>::steps([]).readiness(|_| Poll::Ready(Err(unreachable())));
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    builder().build().unwrap().layer(broken).oneshot(Request::new(())).await.unwrap_err();
    assert_eq!(errors(&logs), [UNREACHABLE]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panics_or_is_dropped_says_so() {
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let layer = builder().build().unwrap();
    let panics = service_fn(|_: Request<()>| async {
        if true {
            panic!("a bug");
        }
        Ok::<_, Infallible>(Response::new(()))
    });
    let mut call = task::spawn(layer.layer(panics).oneshot(Request::new(())));
    catch_unwind(AssertUnwindSafe(|| call.poll())).unwrap_err();
    drop(call);
    assert_eq!(errors(&logs), ["the call panicked"]);

    let layer = builder().build().unwrap();
    let hangs = service_fn(|_: Request<()>| pending::<Result<Response<()>, Infallible>>());
    let call = layer.layer(hangs).oneshot(Request::new(()));
    timeout(Duration::from_secs(6), call).await.unwrap_err();
    assert_eq!(errors(&logs), ["the call was dropped"]);
}
