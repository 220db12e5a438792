//! Bodies that nobody reads to their end, or that have none: the circuit of a dependency that is well closes all the same.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    convert::Infallible,
    future::ready,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::body::Body;
use backstop_circuit_breaker::{
    CircuitBreakerBuilder, CircuitBreakerLayer, CircuitState, HttpClassify, HttpReject, OnDrop, Rejection,
    UntilBodyEnd, Window,
};
use backstop_kit::Http;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};

use CircuitState::{Closed, HalfOpen, Open};

type Bodies = CircuitBreakerLayer<Http<HttpClassify, HttpReject, UntilBodyEnd>>;

const WAIT: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_secs(30);
/// Between two calls: 36,000 an hour.
const PACE: Duration = Duration::from_millis(100);
const AN_HOUR: usize = 36_000;

/// An event at every other poll, for as long as anybody listens.
struct Events(bool);

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0 = !self.0;
        if self.0 { Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"data: tick\n\n"))))) } else { Poll::Pending }
    }
}

fn events() -> Body {
    Body::new(Events(false))
}

fn builder() -> CircuitBreakerBuilder<Http<HttpClassify, HttpReject, UntilBodyEnd>> {
    CircuitBreakerLayer::builder("upstream").observe(UntilBodyEnd)
}

/// Each way to count failures.
fn each() -> [Bodies; 3] {
    let window = |window: Window| builder().failure_rate(0.5).window(window).min_calls(20).build().unwrap();
    [builder().build().unwrap(), window(Window::Calls(100)), window(Window::Time(60 * PACE * 10))]
}

async fn call(layer: &Bodies, status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let mut response = Some(response);
    let answers = service_fn(move |_: Request<()>| ready(Ok::<_, Infallible>(response.take().unwrap())));
    layer.layer(answers).oneshot(Request::new(())).await.unwrap()
}

fn is_refused(response: &Response<Body>) -> bool {
    response.extensions().get::<Rejection>().is_some()
}

async fn open(layer: &Bodies) {
    while layer.handle().state() == Closed {
        call(layer, StatusCode::BAD_GATEWAY, Body::empty()).await;
    }
}

fn listen(body: &mut Body) -> bool {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[tokio::test(start_paused = true)]
async fn a_circuit_closes_though_most_callers_drop_bodies_unread() {
    for layer in each() {
        open(&layer).await;
        let (mut refused, mut kept) = (0, Vec::new());
        for each in 0..AN_HOUR {
            advance(PACE).await;
            let response = call(&layer, StatusCode::OK, Body::from("well")).await;
            refused += usize::from(is_refused(&response));
            // One of ten is forgotten, the others are dropped.
            if each % 10 == 0 {
                kept.push(response);
            }
        }
        assert_eq!(layer.handle().state(), Closed);
        // During the wait, and while one that was forgotten held the only probe's permit.
        let most = (WAIT + LEASE).as_millis() / PACE.as_millis();
        assert!(refused < most as usize, "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_circuit_closes_though_every_caller_drops_the_body_while_it_is_pending() {
    let layer = builder().build().unwrap();
    open(&layer).await;
    advance(WAIT).await;
    for state in [HalfOpen, Closed] {
        let mut body = call(&layer, StatusCode::OK, events()).await.into_body();
        assert!(!listen(&mut body) && listen(&mut body));
        drop(body);
        assert_eq!(layer.handle().state(), state);
    }
}

#[tokio::test(start_paused = true)]
async fn scattered_failures_open_nothing_though_every_body_is_dropped_unread() {
    for layer in each() {
        for each in 0..AN_HOUR {
            advance(PACE).await;
            let status = if each % 100 == 99 { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
            let response = call(&layer, status, Body::from("well")).await;
            assert!(!is_refused(&response), "{each}");
        }
        assert_eq!(layer.handle().generation(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_circuit_closes_over_streams_that_never_end() {
    for layer in each() {
        open(&layer).await;
        let mut streams = Vec::new();
        // Two probes, one after the other, each for the length of its lease.
        for _ in 0..((WAIT + 2 * LEASE).as_millis() / PACE.as_millis()) {
            assert_ne!(layer.handle().state(), Closed);
            advance(PACE).await;
            let response = call(&layer, StatusCode::OK, events()).await;
            if !is_refused(&response) {
                streams.push(response.into_body());
            }
            for stream in &mut streams {
                _ = listen(stream);
            }
        }
        assert_eq!((layer.handle().state(), streams.len()), (Closed, 3));
        // What comes of them later counts in no other generation.
        drop(streams);
        assert_eq!((layer.handle().state(), layer.handle().counts().failures), (Closed, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_polls_counts_when_its_lease_has_passed() {
    let layer = builder().success_threshold(1).build().unwrap();
    open(&layer).await;
    advance(WAIT).await;
    let kept = call(&layer, StatusCode::OK, events()).await;
    assert!(is_refused(&call(&layer, StatusCode::OK, Body::empty()).await));
    advance(LEASE).await;
    assert!(!is_refused(&call(&layer, StatusCode::BAD_GATEWAY, Body::empty()).await));
    let counts = layer.handle().counts();
    assert_eq!((layer.handle().state(), counts.failures), (Closed, 1), "that call was none of the probes");
    drop(kept);
    assert_eq!(layer.handle().counts(), counts);
}

#[tokio::test(start_paused = true)]
async fn scattered_failures_open_nothing_over_streams_that_never_end() {
    for layer in each() {
        let mut streams = Vec::new();
        for each in 0..3_000 {
            advance(PACE).await;
            let status = if each % 100 == 99 { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
            let response = call(&layer, status, events()).await;
            assert!(!is_refused(&response), "{each}");
            streams.push(response.into_body());
            // Every 5 s they get an event, and wait for the next one.
            if each % 50 == 0 {
                streams.iter_mut().for_each(|stream| _ = (listen(stream), listen(stream)));
            }
        }
        assert_eq!(layer.handle().generation(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_after_its_lease_is_a_failure_still() {
    struct Breaks(u32);

    impl http_body::Body for Breaks {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.0 += 1;
            match self.0 {
                1 | 3 => Poll::Pending,
                2 => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"tick"))))),
                _ => Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into()))),
            }
        }
    }

    // A stream counts once as well: by the clock, and not again when it is dropped.
    let rate = builder().failure_rate(1.0).window(10).min_calls(10).build().unwrap();
    let mut stream = call(&rate, StatusCode::OK, Body::new(Breaks(0))).await.into_body();
    assert!(listen(&mut stream));
    advance(LEASE).await;
    assert!(!listen(&mut stream));
    assert_eq!(rate.handle().counts().calls, 0);
    assert!(listen(&mut stream));
    assert_eq!((rate.handle().counts().calls, rate.handle().counts().failures), (1, 0));
    _ = listen(&mut stream);
    assert_eq!((rate.handle().counts().calls, rate.handle().counts().failures), (2, 1));
    drop(stream);
    assert_eq!(rate.handle().counts().calls, 2);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_hung_or_was_ended_by_us_is_a_failure_though_its_head_was_good() {
    let layer = builder().on_drop(OnDrop::FailureAfter(5 * PACE)).build().unwrap();
    open(&layer).await;
    advance(WAIT).await;
    let mut body = call(&layer, StatusCode::OK, events()).await.into_body();
    assert!(!listen(&mut body) && listen(&mut body));
    advance(5 * PACE).await;
    drop(body);
    assert_eq!(layer.handle().state(), Open);
}
