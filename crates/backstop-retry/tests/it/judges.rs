//! What is worth repeating, where that is said of statuses, codes and errors of one's own.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{error::Error, fmt, io};

use crate::support::{BoxError, Upstream, get, grpc, with_header, with_method};
use axum::body::Body;
use backstop_core::{Classify, ErrorRef, HttpClassify, Outcome, grpc::GrpcCode};
use backstop_retry::RetryLayer;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use tower::{Layer, Service, ServiceExt};

async fn calls<E: 'static, L>(layer: &L, upstream: Upstream<E>, request: Request<Body>) -> usize
where
    L: Layer<Upstream<E>>,
    L::Service: Service<Request<Body>>,
{
    _ = layer.layer(upstream.clone()).oneshot(request).await;
    upstream.calls()
}

fn judged_by(judge: HttpClassify) -> RetryLayer {
    RetryLayer::builder("ml").classify(judge).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_said_to_last_is_not_repeated_and_the_others_are() {
    let layer = judged_by(HttpClassify::new().lasting(StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(calls(&layer, Upstream::statuses([429]), get()).await, 1);
    assert_eq!(calls(&layer, Upstream::statuses([503]), get()).await, 3);
    let both = HttpClassify::new().lasting(StatusCode::BAD_GATEWAY);
    let builder = RetryLayer::builder("ml").classify(both).retry_on(StatusCode::INTERNAL_SERVER_ERROR);
    let layer = builder.build().unwrap();
    assert_eq!(calls(&layer, Upstream::statuses([502]), get()).await, 1);
    assert_eq!(calls(&layer, Upstream::statuses([500]), get()).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_code_is_repeated_where_it_is_said_to_pass_and_not_where_it_is_said_to_last() {
    const ABORTED: GrpcCode = GrpcCode::from_number(10);
    let judge = HttpClassify::new().transient_code(ABORTED).lasting_code(GrpcCode::UNAVAILABLE);
    let layer = judged_by(judge);
    let answering = |code, pushback| Upstream::<BoxError>::new(move |_, _| async move { Ok(grpc(code, pushback)) });
    for (code, pushback, expected) in [
        ("10", None, 3),
        ("10", Some("-1"), 1),
        ("14", None, 1),
        ("14", Some("5"), 1),
        ("8", Some("5"), 3),
        ("13", None, 1),
    ] {
        assert_eq!(calls(&layer, answering(code, pushback), get()).await, expected, "{code} {pushback:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_that_comes_in_the_trailers_is_the_callers_to_see() {
    let upstream = Upstream::<BoxError>::new(|_, _| async {
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "14".parse().unwrap())]);
        let mut answer = with_header(200, "content-type", "application/grpc");
        *answer.body_mut() = Body::new(Empty::new().with_trailers(async { Some(Ok(trailers)) }));
        Ok(answer)
    });
    let answer = judged_by(HttpClassify::new()).layer(upstream.clone()).oneshot(get()).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().trailers().unwrap()["grpc-status"], "14");
    assert_eq!(upstream.calls(), 1);
}

#[derive(Debug)]
struct Busy;

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("busy")
    }
}

impl Error for Busy {}

#[derive(Debug)]
struct Caused<E>(E);

impl<E> fmt::Display for Caused<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the call failed")
    }
}

impl<E: Error + 'static> Error for Caused<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

fn failing(error: impl Fn() -> BoxError + Send + Sync + 'static) -> Upstream<BoxError> {
    Upstream::new(move |_, _| {
        let error = error();
        async move { Err(error) }
    })
}

#[tokio::test(start_paused = true)]
async fn an_error_of_ones_own_is_repeated_or_not_as_a_closure_says_however_deep_it_is() {
    let usual = HttpClassify::new();
    let judge = move |result: Result<&Response<Body>, ErrorRef<'_>>| match result {
        Err(error) if error.find::<Busy>().is_some() => Outcome::neutral().transient().unprocessed(),
        Err(error) if error.find::<fmt::Error>().is_some() => Outcome::failure(),
        result => usual.classify(result),
    };
    let layer = RetryLayer::builder("ml").classify_fn(judge).build().unwrap();
    let post = || with_method(Method::POST);
    assert_eq!(calls(&layer, failing(|| Busy.into()), post()).await, 3);
    assert_eq!(calls(&layer, failing(|| Caused(Busy).into()), post()).await, 3);
    assert_eq!(calls(&layer, failing(|| Caused(fmt::Error).into()), get()).await, 1);
    assert_eq!(calls(&layer, failing(|| Caused(io::Error::other("lost")).into()), get()).await, 3, "as usual");
    assert_eq!(calls(&layer, failing(|| Caused(io::Error::other("lost")).into()), post()).await, 1, "as usual");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_ones_own_proves_nothing_whatever_its_cause_is() {
    type Refused = Caused<io::Error>;
    let refused =
        || Upstream::<Refused>::new(|_, _| async { Err(Caused(io::Error::from(io::ErrorKind::ConnectionRefused))) });
    let post = || with_method(Method::POST);
    assert_eq!(calls(&judged_by(HttpClassify::new()), refused(), post()).await, 1);
    assert_eq!(calls(&judged_by(HttpClassify::new().see_through::<Refused>()), refused(), post()).await, 1);
}
