//! What isn't done twice by accident.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

mod common;

use std::io;

use axum::{body::Body, response::Response};
use backstop_core::{Repeat, name};
use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
use common::*;
use http::Request;
use tower::{Layer, ServiceExt, service_fn};

fn refused() -> BoxError {
    io::Error::from(io::ErrorKind::ConnectionRefused).into()
}

fn lost() -> BoxError {
    io::Error::from(io::ErrorKind::ConnectionReset).into()
}

#[tokio::test]
async fn a_request_that_is_never_to_be_repeated_is_made_nowhere_else_whatever_its_method() {
    let ask = |method: &'static str, failing: fn() -> BoxError| {
        let other = Provider::from_fn(name!("other"), |_: Req| async { Response::new(Body::from("made elsewhere")) });
        let queue = Provider::from_fn(name!("queue"), |_: Req| async { Response::new(Body::from("queued")) });
        let chain =
            FallbackChain::builder("chain").provider(other).provider(queue.even_if_processed()).build().unwrap();
        let broken = service_fn(move |_: Req| async move { Err::<Response, _>(failing()) });
        let request = Request::builder().method(method).extension(Repeat::Never).body(Body::from("a body")).unwrap();
        async move { text(FallbackLayer::new(name!("primary"), chain).layer(broken).oneshot(request).await.unwrap()).await }
    };
    for method in ["GET", "PUT", "POST"] {
        assert_eq!(ask(method, lost).await, "queued", "{method}");
        assert_eq!(ask(method, refused).await, "made elsewhere", "{method}");
    }
}
