//! Requests whose bodies fail or are slow: that is the primary's answer, since no other provider could do better.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::common::*;
use axum::{body::Body, response::Response};
use backstop_core::{Degradation, Rejection, name};
use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
use backstop_kit::RequestFailure;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::time::Instant;
use tower::{BoxError, Layer, ServiceExt, service_fn};

/// A body that fails, or never comes.
#[derive(Clone, Copy)]
enum Upload {
    Fails,
    Hangs,
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match *self {
            Self::Fails => Poll::Ready(Some(Err("the caller is gone".into()))),
            Self::Hangs => Poll::Pending,
        }
    }
}

/// A chain whose provider is asked whatever was processed.
fn layer() -> FallbackLayer<Req, Response> {
    let elsewhere =
        Provider::from_fn(name!("elsewhere"), |_| async { infallible(Response::new(Body::from("elsewhere"))) })
            .even_if_processed();
    let chain = FallbackChain::builder("chain").total(Duration::from_secs(2)).provider(elsewhere).build().unwrap();
    FallbackLayer::new(name!("primary"), chain)
}

fn put(upload: Upload) -> Req {
    Request::put("/").body(Body::new(upload)).unwrap()
}

#[tokio::test]
async fn what_a_primary_makes_of_a_failed_body_is_the_answer() {
    let answers = layer().layer(service_fn(|request: Req| async move {
        let read = request.into_body().collect().await;
        infallible(status(if read.is_ok() { 200 } else { 502 }))
    }));
    let answer = answers.oneshot(put(Upload::Fails)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert!(answer.extensions().get::<Degradation>().is_none());

    let fails = layer()
        .layer(service_fn(|request: Req| async move { request.into_body().collect().await.map(|_| status(200)) }));
    assert_eq!(fails.oneshot(put(Upload::Fails)).await.unwrap_err().to_string(), "the caller is gone");
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_waits_for_the_body_until_its_time_is_up_ends_the_chain() {
    let waits = layer()
        .layer(service_fn(|request: Req| async move { request.into_body().collect().await.map(|_| status(200)) }));
    let began = Instant::now();
    let answer = waits.oneshot(put(Upload::Hangs)).await.unwrap();
    assert_eq!((answer.status(), began.elapsed()), (StatusCode::REQUEST_TIMEOUT, Duration::from_secs(1)));
    let rejection = answer.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.detail(), Some(&RequestFailure::TooSlow));

    // One that doesn't read it hangs.
    let hung = layer().layer(service_fn(|_: Req| std::future::pending::<Result<Response, BoxError>>()));
    assert_eq!(text(hung.oneshot(put(Upload::Hangs)).await.unwrap()).await, "elsewhere");
}
