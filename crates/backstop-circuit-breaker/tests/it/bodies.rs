//! Calls that are observed to the end of their body.

#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test may fail it, as the test itself may")]

use backstop_kit::{Elapsed, Progress};
use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use backstop_circuit_breaker::{
    CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, HttpClassify, HttpReject, OnDrop, UntilBodyEnd,
};
use backstop_core::{Name, Rejection, SetBy, scope};
use backstop_kit::Http;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};

use CircuitState::{Closed, HalfOpen, Open};

type Bodies = CircuitBreakerLayer<Http<HttpClassify, HttpReject, UntilBodyEnd>>;

const WAIT: Duration = Duration::from_secs(60);

enum Step {
    Data(&'static str),
    Trailers(&'static [(&'static str, &'static str)]),
    Breaks(Box<dyn std::error::Error + Send + Sync>),
    Panics,
    /// Pending for ever.
    Hangs,
}

use Step::{Breaks, Data, Hangs, Panics, Trailers};

/// A body that does so, one step a poll, and knows its end.
struct Script(VecDeque<Step>);

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(match self.0.pop_front() {
            None => None,
            Some(Data(text)) => Some(Ok(Frame::data(text.into()))),
            Some(Trailers(fields)) => {
                let fields = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
                Some(Ok(Frame::trailers(fields.collect())))
            }
            Some(Breaks(error)) => Some(Err(error)),
            Some(Panics) => panic!("on purpose"),
            Some(Hangs) => {
                self.0.push_front(Hangs);
                return Poll::Pending;
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

fn reset() -> Step {
    Breaks(Box::new(io::Error::from(io::ErrorKind::ConnectionReset)))
}

fn deadline(set_by: SetBy) -> Step {
    Breaks(Box::new(Elapsed::new(set_by, Progress::Called).rejection(Name::new("timeout").unwrap())))
}

fn layer() -> Bodies {
    with(OnDrop::FailureAfter(Duration::from_secs(5)))
}

fn with(on_drop: OnDrop) -> Bodies {
    let builder = CircuitBreakerLayer::builder("upstream").consecutive_failures(1).success_threshold(1);
    builder.on_drop(on_drop).observe(UntilBodyEnd).build().unwrap()
}

/// The head has come.
async fn head(layer: &Bodies, content_type: &'static str, steps: impl IntoIterator<Item = Step>) -> Response<Body> {
    let mut response = Response::new(Body::new(Script(steps.into_iter().collect())));
    response.headers_mut().insert("content-type", content_type.parse().unwrap());
    let mut response = Some(response);
    let answers = service_fn(move |_: Request<()>| std::future::ready(Ok::<_, Infallible>(response.take().unwrap())));
    layer.layer(answers).oneshot(Request::new(())).await.unwrap()
}

async fn html(layer: &Bodies, steps: impl IntoIterator<Item = Step>) -> Response<Body> {
    head(layer, "text/html", steps).await
}

/// Reads a body to its end, and tells what the circuit became.
async fn read(layer: &Bodies, response: Response<Body>) -> CircuitState {
    _ = response.into_body().collect().await;
    layer.handle().state()
}

fn is_refused(response: &Response<Body>) -> bool {
    response.extensions().get::<Rejection>().is_some()
}

fn poll(body: &mut Body) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

fn half_open(handle: &CircuitBreakerHandle) -> (CircuitState, u32) {
    (handle.state(), handle.counts().probes)
}

async fn opened(layer: &Bodies) -> CircuitBreakerHandle {
    assert_eq!(read(layer, html(layer, [reset()]).await).await, Open);
    layer.handle()
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_a_failure() {
    let layer = layer();
    let response = html(&layer, [Data("half"), reset()]).await;
    assert_eq!((response.status(), layer.handle().state()), (StatusCode::OK, Closed));
    assert_eq!(read(&layer, response).await, Open);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_a_deadline_ends_is_a_failure_only_where_the_deadline_is_ours() {
    for (set_by, state) in [(SetBy::Us, Open), (SetBy::Caller, Closed)] {
        let layer = layer();
        let response = html(&layer, [Data("half"), deadline(set_by)]).await;
        assert_eq!(read(&layer, response).await, state);
    }
}

#[tokio::test(start_paused = true)]
async fn the_status_in_grpcs_trailers_counts() {
    for (trailers, state) in [
        (Trailers(&[("grpc-status", "0")]), Closed),
        (Trailers(&[("grpc-status", "5")]), Closed),
        (Trailers(&[("grpc-status", "8")]), Closed),
        (Trailers(&[("grpc-status", "13")]), Open),
        (Trailers(&[("grpc-status", "14"), ("grpc-message", "gone")]), Open),
        (Trailers(&[("x-other", "1")]), Open),
        (Data("and no trailers"), Open),
    ] {
        let layer = layer();
        let response = head(&layer, "application/grpc+proto", [Data("message"), trailers]).await;
        assert_eq!(read(&layer, response).await, state);
    }
    // Other protocols have no status there, and need no trailers.
    let layer = layer();
    let response = html(&layer, [Data("message"), Trailers(&[("grpc-status", "14")])]).await;
    assert_eq!(read(&layer, response).await, Closed);
}

#[tokio::test(start_paused = true)]
async fn a_grpc_answer_that_ends_without_a_status_is_a_failure_though_it_has_no_body() {
    let layer = layer();
    head(&layer, "application/grpc", []).await;
    assert_eq!(layer.handle().state(), Open);
}

#[tokio::test(start_paused = true)]
async fn the_body_passes_as_it_was() {
    let layer = layer();
    let steps = [Data("a"), Data("b"), Trailers(&[("x", "1")])];
    let mut body = html(&layer, steps).await.into_body();
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(3), false));
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "a");
    assert_eq!(body.size_hint().exact(), Some(2));
    let rest = body.collect().await.unwrap();
    assert_eq!(rest.trailers().unwrap()["x"], "1");
    assert_eq!(rest.to_bytes(), "b");

    let broken = html(&layer, [reset()]).await.into_body().collect().await.unwrap_err().into_inner();
    assert_eq!(broken.downcast_ref::<io::Error>().unwrap().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_probes_permit_goes_with_its_body() {
    let layer = layer();
    let handle = opened(&layer).await;
    advance(WAIT).await;
    let mut body = html(&layer, [Data("a"), Data("b")]).await.into_body();
    assert_eq!(half_open(&handle), (HalfOpen, 1));
    assert!(is_refused(&html(&layer, []).await));
    _ = poll(&mut body);
    assert_eq!(half_open(&handle), (HalfOpen, 1));
    // Who is told that this is the last piece need not ask again.
    _ = poll(&mut body);
    assert!(body.is_end_stream());
    assert_eq!(handle.state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn a_response_without_a_body_ends_at_its_head() {
    let layer = layer();
    let handle = opened(&layer).await;
    advance(WAIT).await;
    html(&layer, []).await;
    assert_eq!(handle.state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_body_is_never_read_does_not_wedge_the_circuit() {
    let layer = layer();
    let handle = opened(&layer).await;
    advance(WAIT).await;
    let _kept = html(&layer, [Data("a")]).await;
    advance(Duration::from_secs(30)).await;
    assert!(!is_refused(&html(&layer, []).await));
    assert_eq!(handle.state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_at_any_frame_gives_its_permit_back() {
    for polls in 0..3 {
        let layer = layer();
        let handle = opened(&layer).await;
        advance(WAIT).await;
        let mut body = html(&layer, [Data("a"), Data("b"), Hangs]).await.into_body();
        for _ in 0..=polls {
            _ = poll(&mut body);
        }
        assert_eq!(half_open(&handle), (HalfOpen, 1));
        drop(body);
        // Its head was good, and more will never be known.
        assert_eq!(half_open(&handle), (Closed, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_body_follows_on_drop() {
    let second = Duration::from_secs(1);
    for (on_drop, hangs_for, state) in [
        (OnDrop::Ignore, WAIT, Closed),
        (OnDrop::Failure, Duration::ZERO, Open),
        (OnDrop::FailureAfter(5 * second), 4 * second, Closed),
        (OnDrop::FailureAfter(5 * second), 5 * second, Open),
    ] {
        let layer = with(on_drop);
        let mut body = html(&layer, [Data("a"), Hangs]).await.into_body();
        // Its reader takes its time, which is not the body's fault.
        advance(WAIT).await;
        _ = poll(&mut body);
        advance(WAIT).await;
        assert!(poll(&mut body).is_pending());
        advance(hangs_for).await;
        drop(body);
        assert_eq!(layer.handle().state(), state, "{on_drop:?} {hangs_for:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_got_on_since_it_was_pending_is_not_hanging() {
    let layer = layer();
    let script = std::sync::Arc::new(std::sync::Mutex::new(VecDeque::new()));
    let steps = std::sync::Arc::clone(&script);
    let frames = responses_with(move || steps.lock().unwrap().pop_front());
    let answers = service_fn(move |_: Request<()>| std::future::ready(Ok::<_, Infallible>(frames())));
    let mut body = layer.layer(answers).oneshot(Request::new(())).await.unwrap().into_body();
    assert!(poll(&mut body).is_pending());
    advance(WAIT).await;
    script.lock().unwrap().push_back("late");
    assert!(poll(&mut body).is_ready());
    drop(body);
    assert_eq!(layer.handle().state(), Closed);
}

/// Responses whose body gives what comes, and is pending while nothing does.
fn responses_with(
    next: impl Fn() -> Option<&'static str> + Clone + Send + 'static,
) -> impl Fn() -> Response<Body> + Clone {
    struct Waiting<N>(N);

    impl<N: Fn() -> Option<&'static str>> http_body::Body for Waiting<N> {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            (self.0)().map_or(Poll::Pending, |text| Poll::Ready(Some(Ok(Frame::data(text.into())))))
        }
    }

    // Never pinned.
    impl<N> Unpin for Waiting<N> {}

    move || Response::new(Body::new(Waiting(next.clone())))
}

#[tokio::test(start_paused = true)]
async fn a_body_that_a_timer_of_ours_drops_is_a_failure() {
    for (set_by, state) in [(SetBy::Us, Open), (SetBy::Caller, Closed)] {
        let layer = with(OnDrop::Ignore);
        let body = html(&layer, [Hangs]).await.into_body();
        scope::end(set_by, || drop(body));
        assert_eq!(layer.handle().state(), state);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_panics_is_a_failure() {
    let layer = with(OnDrop::Ignore);
    let mut body = html(&layer, [Data("a"), Panics]).await.into_body();
    _ = poll(&mut body);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| _ = poll(&mut body))).unwrap_err();
    drop(body);
    assert_eq!(layer.handle().state(), Open);
}

#[tokio::test(start_paused = true)]
async fn what_failed_at_its_head_counts_at_its_head() {
    let layer = layer();
    let answers = service_fn(|_: Request<()>| async {
        let mut response = Response::new(Body::from("sorry"));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        Ok::<_, Infallible>(response)
    });
    let response = layer.layer(answers).oneshot(Request::new(())).await.unwrap();
    assert_eq!(layer.handle().state(), Open);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "sorry");
}

#[tokio::test(start_paused = true)]
async fn it_works_in_an_axum_router() {
    let layer = layer();
    let broken = || async { Body::new(Script([Data("half"), reset()].into())) };
    let router = Router::new().route("/", get(broken)).layer(layer.clone());
    let call = async || router.clone().oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(read(&layer, call().await).await, Open);
    assert!(is_refused(&call().await));
}
