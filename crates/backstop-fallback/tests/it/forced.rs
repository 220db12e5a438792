//! Fallbacks that are exercised though the primary is well.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{future::pending, pin::Pin, time::Duration};

use crate::common::*;
use axum::body::Body;
use backstop_core::{Degradation, Reason, name};
use backstop_fallback::{FallbackChain, FallbackHandle, FallbackLayer, Provider};
use backstop_kit::Repeat;
use bytes::Bytes;
use http::{Request, request::Parts};
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};

type Response<B = Body> = http::Response<B>;

/// Answers with what it got.
async fn echo(request: Req) -> Result<Response, BoxError> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(body);
    *response.headers_mut() = head.headers;
    Ok(response)
}

/// A stack whose primary echoes, and whose chain is this provider's.
fn over(
    provider: Provider<Req, Response>,
) -> (impl Service<Req, Response = Response, Error = BoxError> + Clone, FallbackHandle) {
    let chain = FallbackChain::builder("chain").total(TOTAL).provider(provider).seed(4).build().unwrap();
    let layer = FallbackLayer::new(name!("primary"), chain);
    let handle = layer.handle();
    (layer.layer(service_fn(echo)), handle)
}

fn is_forced(response: &Response) -> bool {
    response.extensions().get::<Degradation>().is_some_and(|it| it.reason() == Reason::FORCED)
}

fn broken() -> Provider<Req, Response> {
    Provider::value(name!("broken"), || async { Err::<Response, _>("broken") })
}

#[tokio::test]
async fn a_share_of_the_requests_goes_to_the_forced_provider_and_says_so() {
    let (service, handle) = over(says(name!("static")));
    for (share, expected) in [(0.0, 0..1), (0.25, 200..300), (1.0, 1000..1001)] {
        handle.force("static", share).unwrap();
        let mut forced = 0;
        for _ in 0..1000 {
            forced += usize::from(is_forced(&service.clone().oneshot(get()).await.unwrap()));
        }
        assert!(expected.contains(&forced), "{forced} of 1000 with a share of {share}");
    }
    let response = service.clone().oneshot(get()).await.unwrap();
    let degradation = response.extensions().get::<Degradation>().unwrap();
    assert_eq!((degradation.source().as_str(), degradation.position()), ("static", 1));
    assert_eq!(text(response).await, "static");

    handle.stop_forcing();
    assert!(!is_forced(&service.oneshot(get()).await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_forced_provider_without_an_answer_leaves_the_request_to_the_primary_as_it_was() {
    let misses = Provider::value(name!("misses"), || async { status(404) });
    let hangs = Provider::from_fn(name!("hangs"), |_: Req| pending::<Response>());
    for provider in [broken(), misses, hangs] {
        let forced = provider.name().clone();
        let (service, handle) = over(provider);
        handle.force(forced.as_str(), 1.0).unwrap();
        let mut request = get();
        request.headers_mut().insert("range", "bytes=0-1".parse().unwrap());
        request.headers_mut().insert("if-none-match", "\"1\"".parse().unwrap());
        let response = service.oneshot(request).await.unwrap();
        assert!(response.extensions().get::<Degradation>().is_none(), "the primary's own answer");
        assert_eq!(response.headers()["range"], "bytes=0-1");
        assert_eq!(response.headers()["if-none-match"], "\"1\"");
    }
}

#[tokio::test]
async fn only_requests_that_may_be_repeated_are_forced() {
    let (service, handle) = over(says(name!("static")));
    handle.force("static", 1.0).unwrap();
    let marked = |mut request: Req, repeat: Repeat| {
        request.extensions_mut().insert(repeat);
        request
    };
    let mut upgrade = get();
    upgrade.headers_mut().insert("connection", "upgrade".parse().unwrap());
    upgrade.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    for (request, forced) in [
        (get(), true),
        (post("pay"), false),
        (marked(post("search"), Repeat::Safe), true),
        (marked(get(), Repeat::Never), false),
        (upgrade, false),
    ] {
        let (method, version) = (request.method().clone(), request.version());
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(is_forced(&response), forced, "{method} {version:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_streamed_stays_the_primarys() {
    let put = || {
        let chunks = tokio_test::stream_mock::StreamMockBuilder::new().next(infallible("a bo")).next(infallible("dy"));
        Request::put("/").body(Body::from_stream(chunks.build())).unwrap()
    };
    // A provider that would need it isn't asked, since it could read what the primary is to read.
    let (service, handle) = over(Provider::from_fn(name!("echo"), |_: Req| async { status(200) }));
    handle.force("echo", 1.0).unwrap();
    // What is in memory in an axum body isn't known to be.
    for request in [put(), Request::put("/").body(Body::from("a body")).unwrap()] {
        let response = service.clone().oneshot(request).await.unwrap();
        assert!(!is_forced(&response));
        assert_eq!(text(response).await, "a body");
    }

    // One that needs no more than the head is, also where another one needs the body.
    let calls = Calls::default();
    let counted = calls.clone();
    let head = Provider::head(name!("head"), move |_: Parts| {
        counted.add();
        async { Err::<Response, _>("broken") }
    });
    let chain = FallbackChain::builder("chain")
        .provider(head)
        .provider(Provider::from_fn(name!("whole"), |_: Req| async { status(200) }))
        .build()
        .unwrap();
    let layer = FallbackLayer::new(name!("primary"), chain);
    layer.handle().force("head", 1.0).unwrap();
    let response = layer.layer(service_fn(echo)).oneshot(put()).await.unwrap();
    assert_eq!(calls.count(), 1);
    assert_eq!(text(response).await, "a body");
}

#[tokio::test(start_paused = true)]
async fn a_body_in_memory_is_the_primarys_too_whatever_a_forced_provider_did_with_it() {
    type InMemory = Full<Bytes>;
    type Answering = Pin<Box<dyn Future<Output = Result<Response<InMemory>, BoxError>> + Send>>;
    let reads: fn(InMemory) -> Answering =
        |body| Box::pin(async { Err(format!("{:?} won't do", body.collect().await.unwrap().to_bytes()).into()) });
    let leaves_it: fn(InMemory) -> Answering = |_| Box::pin(async { Err("broken".into()) });
    let hangs_over_it: fn(InMemory) -> Answering = |body| {
        Box::pin(async move {
            let _body = body;
            pending().await
        })
    };
    for fails in [reads, leaves_it, hangs_over_it] {
        let calls = Calls::default();
        let counted = calls.clone();
        let forced = Provider::from_fn(name!("forced"), move |request: Request<InMemory>| {
            counted.add();
            fails(request.into_body())
        });
        let chain = FallbackChain::builder("chain").total(TOTAL).provider(forced).build().unwrap();
        let layer = FallbackLayer::builder("primary", chain).discard_replaced().build().unwrap();
        layer.handle().force("forced", 1.0).unwrap();
        let echo = service_fn(|request: Request<InMemory>| async { infallible(Response::new(request.into_body())) });
        let response = layer.layer(echo).oneshot(Request::put("/").body("a body".into()).unwrap()).await.unwrap();
        assert!(response.extensions().get::<Degradation>().is_none(), "the primary's own answer");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "a body");
        assert_eq!(calls.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_primary_is_down_as_well_the_chain_goes_its_usual_way_in_its_usual_time() {
    let chain = FallbackChain::builder("chain")
        .total(TOTAL)
        .provider(says(name!("static")))
        .provider(Provider::value(name!("hangs"), pending::<Response>))
        .build()
        .unwrap();
    let layer = FallbackLayer::new(name!("primary"), chain);
    layer.handle().force("hangs", 1.0).unwrap();
    let begun = Instant::now();
    let down = layer.layer(service_fn(|_: Req| pending::<Result<Response, BoxError>>()));
    let response = down.oneshot(get()).await.unwrap();
    let degradation = response.extensions().get::<Degradation>().unwrap();
    assert_eq!((degradation.source().as_str(), degradation.reason()), ("static", Reason::TIMEOUT));
    // A quarter for the forced one of four, then a third of the rest for the primary.
    assert_eq!(begun.elapsed(), TOTAL / 4 + TOTAL * 3 / 4 / 3);
}

#[tokio::test(start_paused = true)]
async fn a_forced_provider_that_is_full_is_not_asked() {
    let calls = Calls::default();
    let counted = calls.clone();
    let slow = Provider::value(name!("slow"), move || {
        counted.add();
        async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            status(200)
        }
    });
    let (service, handle) = over(slow.concurrency(1));
    handle.force("slow", 1.0).unwrap();
    let (one, two) = tokio::join!(service.clone().oneshot(get()), service.clone().oneshot(get()));
    assert_eq!((is_forced(&one.unwrap()), is_forced(&two.unwrap())), (true, false));
    assert_eq!(calls.count(), 1);

    // It is free again, also while the future of the first is still there, and after one was given up.
    let mut given_up = tokio_test::task::spawn(service.clone().oneshot(get()));
    assert!(given_up.poll().is_pending());
    drop(given_up);
    // Not by `oneshot`, which drops the future itself.
    let mut done = Box::pin(service.clone().call(get()));
    assert!(is_forced(&done.as_mut().await.unwrap()));
    assert!(is_forced(&service.oneshot(get()).await.unwrap()));
}

#[tokio::test]
async fn what_a_provider_is_for_does_not_matter_when_it_is_forced() {
    let (service, handle) = over(says(name!("static")).only_when(|reason| reason == Reason::TIMEOUT));
    handle.force("static", 1.0).unwrap();
    assert!(is_forced(&service.oneshot(get()).await.unwrap()));
}

fn prices() -> FallbackChain<u32, u32> {
    FallbackChain::builder("prices")
        .provider(Provider::from_fn(name!("live"), |price: u32| async move { price }))
        .provider(Provider::from_fn(name!("replica"), |price: u32| async move {
            if price > 0 { Ok(price + 1) } else { Err("unknown") }
        }))
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_chain_in_a_handler_is_exercised_too() {
    let chain = prices();
    chain.clone().handle().force("replica", 1.0).unwrap();
    let found = chain.execute(7).await.unwrap();
    assert_eq!((found.value, found.source.as_str(), found.is_fallback), (8, "replica", true));
    assert!(found.failures.is_empty());

    let live = chain.execute(0).await.unwrap();
    assert_eq!((live.value, live.source.as_str(), live.is_fallback), (0, "live", false));
    assert!(live.failures.is_empty(), "nothing failed that would have been asked");

    chain.handle().force("live", 1.0).unwrap();
    assert!(!chain.execute(7).await.unwrap().is_fallback, "the first one is asked first anyway");
}

#[tokio::test]
async fn the_report_of_a_forced_answer_has_its_place_in_the_chain() {
    use backstop_core::Scope;

    let chain = prices();
    chain.handle().force("replica", 1.0).unwrap();
    let mut scope = Scope::new();
    let mut call = std::pin::pin!(chain.execute(7));
    std::future::poll_fn(|cx| scope.enter(|| call.as_mut().poll(cx))).await.unwrap();
    let reports = scope.take_reports();
    assert_eq!((reports[0].position(), reports[0].reason()), (1, Reason::FORCED));
}
