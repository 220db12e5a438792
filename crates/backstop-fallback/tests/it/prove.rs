//! Each provider is asked once, to prove that it works.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{convert::Infallible, time::Duration};

use crate::common::*;
use axum::body::Body;
use backstop_core::{Reason, name};
use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
use backstop_test::{Logs, Scripted};
use http::{Request, Response};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn each_provider_is_asked_once_and_those_without_an_answer_are_named_with_their_reason_and_error() {
    let (works, fails) = (Scripted::<u32, &str>::answering("9.99"), Scripted::failing("the table is locked"));
    let hangs = Scripted::<u32, &str>::hanging();
    let chain = FallbackChain::builder("prices")
        .total(TOTAL)
        .provider(Provider::service(name!("live"), works.clone()))
        .provider(Provider::service(name!("replica"), fails.clone()).only_when(|_| false))
        .provider(Provider::service(name!("archive"), hangs.clone()))
        .provider(Provider::value(name!("list"), || async { "9.50" }))
        .repeat_only_if(|_| false)
        .build()
        .unwrap();
    let (logs, started) = (Logs::new(), Instant::now());
    let _guard = logs.listen();
    let unproven = chain.prove_each_provider(7).await.unwrap_err();

    let text = "providers of prices that don't answer: replica (error: the table is locked), archive (timeout)";
    assert_eq!((unproven.to_string().as_str(), format!("{unproven:?}").as_str()), (text, text));
    assert_eq!(unproven.chain(), "prices");
    let reasons: Vec<_> = unproven.failures().iter().map(|it| (it.provider.as_str(), it.reason)).collect();
    assert_eq!(reasons, [("replica", Reason::ERROR), ("archive", Reason::TIMEOUT)]);
    assert_eq!([works.calls(), fails.calls(), hangs.calls(), hangs.dropped()], [1, 1, 1, 1]);
    assert_eq!(started.elapsed(), TOTAL / 4, "the least time that a provider may have");
    assert!(logs.events().is_empty(), "{}", logs.events());
    assert_eq!(chain.handle().status().episode, None);
}

#[tokio::test]
async fn a_chain_whose_providers_all_answer_is_proven() {
    let chain: FallbackChain<(), _> = FallbackChain::builder("prices")
        .provider(Provider::value(name!("live"), || async { "9.99" }))
        .provider(Provider::value(name!("list"), || async { "9.50" }))
        .build()
        .unwrap();
    chain.prove_each_provider(()).await.unwrap();
}

/// `FallbackChain::execute` would take a 503 for an answer.
#[tokio::test(start_paused = true)]
async fn a_layer_judges_its_providers_as_it_does_in_a_call_and_gives_each_the_request() {
    let echo = Scripted::new(|_, request: Req| async { Ok::<_, Infallible>(Response::new(request.into_body())) });
    let echo = echo.recording(|request: &Req| request.headers().contains_key("range"));
    let unavailable: Scripted<Req, Response<Body>> = Scripted::statuses([503]);
    let empty = Provider::from_fn(name!("empty"), async |request: Req| {
        if text(Response::new(request.into_body())).await == "espresso" { status(404) } else { status(200) }
    });
    let slow = Provider::value(name!("slow"), std::future::pending::<Response<Body>>).timeout(Duration::from_millis(5));
    let chain = FallbackChain::builder("prices")
        .total(TOTAL)
        .provider(Provider::service(name!("echo"), echo.clone()))
        .provider(Provider::service(name!("replica"), unavailable))
        .provider(empty)
        .provider(slow)
        .build()
        .unwrap();
    let layer: FallbackLayer<_, _> = FallbackLayer::new(name!("live"), chain);
    let request = Request::post("/").header("range", "bytes=0-1").body(Body::from("espresso")).unwrap();
    let started = Instant::now();
    let unproven = layer.prove_each_provider(request).await.unwrap_err();
    let text = "providers of prices that don't answer: replica (status-503), empty (status-404), slow (timeout)";
    assert_eq!(unproven.to_string(), text);
    assert_eq!(echo.requests(), [false], "a copy for another source");
    assert_eq!(started.elapsed(), Duration::from_millis(5), "its own timeout");
}
