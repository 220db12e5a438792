//! What the caller gets when nobody answered.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    future::pending,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    common::*,
    script::{Act, Ends, Script},
};
use axum::{body::Body, response::Response};
use backstop_core::{Deadline, Degradation, Reason, Rejection, Scope, SetBy, name};
use backstop_fallback::{AllProvidersFailed, FallbackChain, FallbackLayer, Provider};
use backstop_kit::KeepReplaced;
use http::StatusCode;
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};

fn failing() -> FallbackChain<Req, Response> {
    FallbackChain::builder("chain")
        .total(TOTAL)
        .provider(Provider::value(name!("broken"), || async { Err::<Response, _>("broken") }))
        .provider(Provider::value(name!("busy"), || async { status(503) }))
        .provider(Provider::value(name!("hangs"), pending::<Response>))
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_primarys_own_answer_comes_back_whole() {
    let layer = FallbackLayer::new(name!("primary"), failing());
    let response = layer.layer(service_fn(|_: Req| async { infallible(status(500)) })).oneshot(get()).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(text(response).await, "status 500");
}

#[tokio::test(start_paused = true)]
async fn the_primarys_own_error_comes_back() {
    let layer = FallbackLayer::new(name!("primary"), failing());
    let service = layer.layer(service_fn(|_: Req| async { Err::<Response, _>(BoxError::from("down")) }));
    assert_eq!(service.oneshot(get()).await.unwrap_err().to_string(), "down");
}

/// The primary is told to keep sending for longer than the chain may take.
async fn exhausted_while_the_primary_is_still_sending(providers: FallbackChain<Req, Response>) {
    let keep = KeepReplaced::default().max_wait(TOTAL).unwrap();
    let layer = FallbackLayer::builder("primary", providers).keep_replaced(keep).build().unwrap();
    let primary = service_fn(|_: Req| async {
        let acts = [Act::Data("down "), Act::Wait(600), Act::Data("for "), Act::Wait(600), Act::Data("long")];
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut response = status(503);
        *response.body_mut() = Body::new(Script::new(&acts, &Ends::default()));
        infallible(response)
    });
    let begun = Instant::now();
    let response = layer.layer(primary).oneshot(get()).await.unwrap();
    assert_eq!((response.status().as_u16(), begun.elapsed()), (503, TOTAL));
    assert_eq!(text(response).await, "down for long");
    assert_eq!(begun.elapsed(), Duration::from_millis(1300));
}

#[tokio::test(start_paused = true)]
async fn a_primarys_answer_that_is_still_coming_when_the_total_passes_comes_back_and_streams_on() {
    exhausted_while_the_primary_is_still_sending(failing()).await;
    let broken = Provider::value(name!("broken"), || async { Err::<Response, _>("broken") });
    let at_once = FallbackChain::builder("chain").total(TOTAL).provider(broken).build().unwrap();
    exhausted_while_the_primary_is_still_sending(at_once).await;
}

#[tokio::test(start_paused = true)]
async fn a_primarys_answer_is_waited_for_no_longer_than_the_deadline_around_the_chain() {
    let broken = Provider::value(name!("broken"), || async { Err::<Response, _>("broken") });
    let chain = FallbackChain::builder("chain").total(TOTAL).provider(broken).build().unwrap();
    let layer = FallbackLayer::new(name!("primary"), chain);
    let primary = service_fn(|_: Req| async {
        let mut response = status(503);
        *response.body_mut() = Body::new(Script::new(&[Act::Data("down"), Act::Hang], &Ends::default()));
        infallible(response)
    });
    let begun = Instant::now();
    let mut scope = Scope::narrowed(Deadline::after(Duration::from_millis(50), SetBy::Caller));
    let mut call = Box::pin(layer.layer(primary).oneshot(get()));
    let response = std::future::poll_fn(|cx| scope.enter(|| call.as_mut().poll(cx))).await.unwrap();
    assert_eq!((response.status().as_u16(), begun.elapsed()), (503, Duration::from_millis(50)));
    assert!(response.extensions().get::<Rejection>().is_none(), "it is the primary's own");
}

#[tokio::test(start_paused = true)]
async fn a_limit_for_keeping_the_primarys_answer_that_is_longer_than_the_total_is_refused() {
    let keep = KeepReplaced::default().max_wait(TOTAL + Duration::from_millis(1)).unwrap();
    let error = FallbackLayer::builder("primary", failing()).keep_replaced(keep).build().unwrap_err();
    assert_eq!(error.to_string(), "max_wait is 801ms, allowed is: more than 0 s, up to the total");
    let default = FallbackLayer::builder("primary", failing()).keep_replaced(KeepReplaced::default());
    assert!(default.build().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_gave_nothing_leaves_a_rejection_that_names_everyone() {
    let layer = FallbackLayer::new(name!("primary"), failing());
    let service = layer.layer(service_fn(|_: Req| pending::<Result<Response, BoxError>>()));
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let rejection = response.extensions().get::<Rejection>().unwrap();
    let failed = AllProvidersFailed::in_rejection(rejection).unwrap();
    let told: Vec<_> = failed.failures().iter().map(|it| (it.provider.as_str(), it.reason.to_string())).collect();
    let expected = [("primary", "timeout"), ("broken", "error"), ("busy", "status-503"), ("hangs", "timeout")];
    assert_eq!(told, expected.map(|(provider, reason)| (provider, reason.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_service_without_default_responses_rejects_as_error_or_as_told() {
    let chain = || {
        let hangs = Provider::value(name!("hangs"), pending::<u32>);
        FallbackChain::<&str, u32>::builder("chain").provider(hangs).build().unwrap()
    };
    let hangs = service_fn(|_: &str| pending::<Result<u32, BoxError>>());
    let judge = |result: Result<&u32, backstop_core::ErrorRef<'_>>| match result {
        Ok(_) => backstop_core::Outcome::success(),
        Err(_) => backstop_core::Outcome::failure(),
    };
    let builder = || FallbackLayer::builder("primary", chain()).plain().classify_fn(judge);

    let as_error = builder().reject_as_error().build().unwrap();
    let error = as_error.layer(hangs).oneshot("request").await.unwrap_err();
    assert!(error.is::<Rejection>());

    let with = builder().reject_with(|rejection| Ok(rejection.to_string().len() as u32)).build().unwrap();
    assert!(with.layer(hangs).oneshot("request").await.unwrap() > 0);
}

#[tokio::test(start_paused = true)]
async fn the_smallest_wait_of_the_providers_is_the_wait() {
    let asks = |name, seconds: u64| {
        Provider::value(name, move || async move {
            let mut response = status(503);
            response.headers_mut().insert("retry-after", seconds.into());
            response
        })
    };
    let chain = FallbackChain::<Req, Response>::builder("chain")
        .provider(asks(name!("long"), 30))
        .provider(asks(name!("short"), 7))
        .build()
        .unwrap();
    let layer = FallbackLayer::new(name!("primary"), chain);
    let service = layer.layer(service_fn(|_: Req| pending::<Result<Response, BoxError>>()));
    assert_eq!(service.oneshot(get()).await.unwrap().headers()["retry-after"], "7");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_has_partly_passed_is_what_is_left_of_it() {
    let asks = Provider::value(name!("asks"), || async {
        let mut response = status(503);
        response.headers_mut().insert("retry-after", 10.into());
        response
    });
    let hangs = Provider::value(name!("hangs"), pending::<Response>).timeout(Duration::from_secs(3));
    let chain = FallbackChain::<Req, Response>::builder("chain").total(Duration::from_secs(9));
    let layer = FallbackLayer::builder("primary", chain.provider(asks).provider(hangs).build().unwrap());
    let layer = layer.primary_timeout(Duration::from_secs(1)).build().unwrap();
    let service = layer.layer(service_fn(|_: Req| pending::<Result<Response, BoxError>>()));
    assert_eq!(service.oneshot(get()).await.unwrap().headers()["retry-after"], "7", "3 of the 10 seconds passed");
}

#[tokio::test]
async fn a_wait_without_end_is_none() {
    use backstop_core::{Outcome, Pushback};

    let chain = FallbackChain::<(), u32>::builder("chain")
        .provider(Provider::value(name!("broken"), || async { 0 }))
        .classify_fn(|_| Outcome::failure().pushback(Some(Pushback::After(Duration::MAX))))
        .build()
        .unwrap();
    assert_eq!(chain.execute(()).await.unwrap_err().retry_after(), None);
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_chain_tells_who_failed_in_a_problem_document_if_asked_to() {
    let layer = FallbackLayer::builder("primary", failing()).problem_details().build().unwrap();
    let service = layer.layer(service_fn(|_: Req| pending::<Result<Response, Infallible>>()));
    let response = service.clone().oneshot(get()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert!(response.extensions().get::<Rejection>().is_some());
    let providers = r#"[{"name":"primary","reason":"timeout"},{"name":"broken","reason":"error"},{"name":"busy","reason":"status-503"},{"name":"hangs","reason":"timeout"}]"#;
    assert!(text(response).await.ends_with(&format!("\"providers\":{providers}}}")));

    let mut call = post("");
    *call.version_mut() = http::Version::HTTP_2;
    call.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let trailers_only = service.oneshot(call).await.unwrap();
    assert_eq!(trailers_only.headers()["grpc-status"], "14");
    assert_eq!(text(trailers_only).await, "");

    // An answer of a provider is labelled as it is without.
    let layer = FallbackLayer::builder("primary", behind()).problem_details().build().unwrap();
    let response = layer.layer(service_fn(|_: Req| async { infallible(status(500)) })).oneshot(get()).await.unwrap();
    assert_eq!(response.extensions().get::<Degradation>().unwrap().source(), &name!("static"));
}

/// A body of which nothing comes.
struct Hanging;

impl http_body::Body for Hanging {
    type Data = bytes::Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, BoxError>>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_of_a_failed_answer_delays_no_provider() {
    let slow = || {
        let mut response = status(500);
        *response.body_mut() = Body::new(Hanging);
        response
    };
    let begun = Instant::now();
    let layer = FallbackLayer::new(name!("primary"), behind());
    let response =
        layer.layer(service_fn(move |_: Req| async move { infallible(slow()) })).oneshot(get()).await.unwrap();
    assert_eq!(text(response).await, "static");
    assert_eq!(begun.elapsed(), Duration::ZERO);

    // With nobody to replace it, it is waited for a little, and then given up.
    let layer = FallbackLayer::new(name!("primary"), {
        let broken = Provider::value(name!("broken"), || async { Err::<Response, _>("broken") });
        FallbackChain::builder("chain").provider(broken).build().unwrap()
    });
    let response =
        layer.layer(service_fn(move |_: Req| async move { infallible(slow()) })).oneshot(get()).await.unwrap();
    assert!(response.extensions().get::<Rejection>().is_some());
    let rejection = response.extensions().get::<Rejection>().unwrap();
    let failed = AllProvidersFailed::in_rejection(rejection).unwrap();
    assert_eq!(failed.failures()[0].reason, Reason::status(StatusCode::INTERNAL_SERVER_ERROR));
}
