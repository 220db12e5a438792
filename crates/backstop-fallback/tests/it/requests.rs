//! What providers get of the request, and which requests they get.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::convert::Infallible;

use crate::common::*;
use axum::{body::Body, response::Response};
use backstop_core::{Reason, name};
use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
use backstop_kit::client;
use http::{Request, StatusCode, request::Parts};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt, service_fn};

fn chain(provider: Provider<Req, Response>) -> FallbackChain<Req, Response> {
    FallbackChain::builder("chain").provider(provider).build().unwrap()
}

/// Reads the request's body, then fails.
async fn reads_and_fails(request: Req) -> Result<Response, Infallible> {
    request.into_body().collect().await.unwrap();
    Ok(status(503))
}

async fn echo(request: Req) -> Response {
    Response::new(request.into_body())
}

#[tokio::test]
async fn a_provider_gets_the_body_again_also_when_the_primary_read_it() {
    let put = || Request::put("/").body(Body::from("the body")).unwrap();
    let layer = FallbackLayer::new(name!("primary"), chain(Provider::from_fn(name!("echo"), echo)));
    let read = layer.layer(service_fn(reads_and_fails)).oneshot(put()).await.unwrap();
    assert_eq!(text(read).await, "the body");
    let dropped = layer.layer(service_fn(|_: Req| async { infallible(status(503)) })).oneshot(put()).await.unwrap();
    assert_eq!(text(dropped).await, "the body");
}

#[tokio::test]
async fn a_provider_is_a_service_or_a_function_of_the_head() {
    let failing = service_fn(|_: Req| async { infallible(status(503)) });
    let answer = |uri: http::Uri| Response::new(Body::from(uri.path().to_owned()));
    let head = Provider::head(name!("head"), move |head: Parts| async move { answer(head.uri) });
    let service = service_fn(move |request: Req| async move { infallible(answer(request.uri().clone())) });
    for provider in [head, Provider::service(name!("service"), service)] {
        let request = Request::get("/7").body(Body::empty()).unwrap();
        let response = FallbackLayer::new(name!("primary"), chain(provider)).layer(failing).oneshot(request).await;
        assert_eq!(text(response.unwrap()).await, "/7");
    }
}

#[tokio::test]
async fn a_request_that_may_have_been_processed_is_not_made_elsewhere() {
    let layer = |provider| FallbackLayer::new(name!("primary"), chain(provider));
    let calls = Calls::default();
    let counted = {
        let calls = calls.clone();
        move |_: Req| {
            calls.add();
            async { status(200) }
        }
    };
    let lost = || service_fn(|_: Req| async { Err::<Response, _>(BoxError::from("the answer was lost")) });
    let error = layer(Provider::from_fn(name!("other"), counted.clone())).layer(lost()).oneshot(post("pay")).await;
    assert_eq!(error.unwrap_err().to_string(), "the answer was lost");
    assert_eq!(calls.count(), 0);

    let queue = Provider::from_fn(name!("queue"), counted.clone()).even_if_processed();
    assert_eq!(layer(queue).layer(lost()).oneshot(post("pay")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(calls.count(), 1);

    // A client's refused connection proves that nothing was processed; a service that says so may have done more.
    let refused = service_fn(|_: Req| async {
        Err::<Response, BoxError>(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into())
    });
    let other = || Provider::from_fn(name!("other"), counted.clone());
    assert!(layer(other()).layer(refused).oneshot(post("pay")).await.is_err());
    assert_eq!(calls.count(), 1);
    assert_eq!(layer(other()).layer(client(refused)).oneshot(post("pay")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_was_given_nothing_of_the_request_processed_nothing_of_it() {
    let refused = || {
        client(service_fn(|_: Req| async {
            Err::<Response, BoxError>(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into())
        }))
    };
    let after = |first| {
        let chain = FallbackChain::builder("chain").provider(first).provider(says(name!("static"))).build().unwrap();
        FallbackLayer::new(name!("primary"), chain).layer(refused()).oneshot(post("pay"))
    };
    let miss = Provider::value(name!("stored"), || async { Err::<Response, _>("nothing is stored") });
    assert_eq!(text(after(miss).await.unwrap()).await, "static");

    let hung = Provider::value(name!("stored"), std::future::pending::<Response>);
    assert_eq!(text(after(hung).await.unwrap()).await, "static");

    let lost = Provider::from_fn(name!("other"), |_: Req| async { Err::<Response, _>("the answer was lost") });
    assert_eq!(after(lost).await.unwrap_err().to_string(), "connection refused");
}

#[tokio::test]
async fn a_request_whose_body_is_too_long_to_keep_goes_to_those_that_do_not_need_it() {
    let long = || {
        Request::put("/")
            .body(Body::from_stream(
                tokio_test::stream_mock::StreamMockBuilder::new()
                    .next(Ok::<_, Infallible>("x".repeat(100_000)))
                    .build(),
            ))
            .unwrap()
    };
    let chain = FallbackChain::builder("chain")
        .provider(Provider::from_fn(name!("echo"), echo))
        .provider(says(name!("static")))
        .build()
        .unwrap();
    let layer = FallbackLayer::new(name!("primary"), chain);
    let response = layer.layer(service_fn(reads_and_fails)).oneshot(long()).await.unwrap();
    assert_eq!(text(response).await, "static");
}

#[tokio::test]
async fn a_provider_is_asked_only_for_what_it_is_for() {
    let chain = FallbackChain::<Req, Response>::builder("chain")
        .provider(
            Provider::value(name!("for_503"), || async { status(404) })
                .only_when(|reason| reason == Reason::status(StatusCode::SERVICE_UNAVAILABLE)),
        )
        // Asked by why the primary failed, not by why the one before did.
        .provider(says(name!("for_errors")).only_when(|reason| reason == Reason::ERROR))
        .provider(says(name!("static")))
        .build()
        .unwrap();
    let layer = FallbackLayer::new(name!("primary"), chain);
    let down = layer.layer(service_fn(|_: Req| async { Err::<Response, _>(BoxError::from("down")) }));
    assert_eq!(text(down.oneshot(get()).await.unwrap()).await, "for_errors");
    let unavailable = layer.layer(service_fn(|_: Req| async { infallible(status(503)) }));
    assert_eq!(text(unavailable.oneshot(get()).await.unwrap()).await, "static");
}

#[tokio::test]
async fn a_provider_that_is_for_something_else_is_not_asked_and_the_first_one_always_is() {
    let calls = Calls::default();
    let counted = calls.clone();
    let never = |reason: Reason| panic!("asked because of {reason}");
    let chain = FallbackChain::<u32, u32>::builder("prices")
        .provider(Provider::value(name!("live"), || async { Err::<u32, _>("closed") }).only_when(never))
        .provider(
            Provider::value(name!("list"), move || {
                counted.add();
                async { 9 }
            })
            .only_when(|reason| reason == Reason::TIMEOUT),
        )
        .build()
        .unwrap();
    let failed = chain.execute(7).await.unwrap_err();
    assert_eq!(failed.rejection().to_string(), "all providers of prices failed: live (error), list (not-eligible)");
    assert_eq!(calls.count(), 0);
}
