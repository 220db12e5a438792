//! The layer over a primary that answers, fails, hangs, or isn't ready.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    future::pending,
    task::{Context, Poll},
    time::Duration,
};

use crate::common::*;
use axum::{body::Body, response::Response};
use backstop_core::{Degradation, ErrorRef, Freshness, Outcome, Reason, Rejection, Scope, name};
use backstop_fallback::{AllProvidersFailed, Answer, FallbackChain, FallbackChainBuilder, FallbackLayer, Provider};
use backstop_test::Scripted;
use http::{Request, StatusCode};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

fn layer() -> FallbackLayer<Req, Response> {
    FallbackLayer::new(name!("primary"), behind())
}

#[tokio::test]
async fn a_primary_that_answers_is_the_answer_and_no_provider_is_asked() {
    for code in [200, 204, 301, 404, 400, 409] {
        let response = layer().layer(service_fn(move |_| async move { infallible(status(code)) }));
        let response = response.oneshot(get()).await.unwrap();
        assert_eq!(response.status().as_u16(), code);
        assert!(response.extensions().get::<Degradation>().is_none());
    }
}

#[tokio::test]
async fn a_primary_that_fails_is_replaced_and_the_reason_is_told() {
    for (code, reason) in [(500, "status-500"), (503, "status-503"), (429, "status-429"), (408, "status-408")] {
        let service = layer().layer(service_fn(move |_| async move { infallible(status(code)) }));
        let response = service.oneshot(get()).await.unwrap();
        let degradation = response.extensions().get::<Degradation>().unwrap().clone();
        assert_eq!(degradation.source(), &name!("static"));
        assert_eq!(degradation.chain(), &name!("chain"));
        assert_eq!(degradation.position(), 1);
        assert_eq!(degradation.reason().to_string(), reason);
        assert_eq!(degradation.freshness(), Freshness::Degraded);
        assert_eq!(text(response).await, "static");
    }
}

#[tokio::test(start_paused = true)]
async fn the_reasons_are_the_same_where_a_closure_judges() {
    let by_status = |result: Result<&Response, ErrorRef<'_>>| match result {
        Ok(answer) if answer.status().is_success() => Outcome::success(),
        _ => Outcome::failure(),
    };
    let refused = || {
        let mut response = status(503);
        response.extensions_mut().insert(Rejection::refused(name!("ml"), Reason::CIRCUIT_OPEN));
        response
    };
    let chain = || {
        FallbackChain::builder("chain")
            .provider(Provider::value(name!("busy"), || async { status(502) }))
            .provider(says(name!("static")).only_when(|reason| reason == Reason::CIRCUIT_OPEN))
    };
    let layer = |chain: FallbackChainBuilder<Req, Response>| {
        FallbackLayer::builder("primary", chain.build().unwrap()).classify_fn(by_status).build().unwrap()
    };
    let response = layer(chain()).layer(service_fn(|_| async { infallible(refused()) })).oneshot(get()).await.unwrap();
    assert_eq!(response.extensions().get::<Degradation>().unwrap().reason(), Reason::CIRCUIT_OPEN);
    assert_eq!(text(response).await, "static", "it is for that");

    let hangs = service_fn(|_| pending::<Result<Response, BoxError>>());
    let response = layer(chain()).layer(hangs).oneshot(get()).await.unwrap();
    let rejection = response.extensions().get::<Rejection>().unwrap();
    let failed = AllProvidersFailed::in_rejection(rejection).unwrap();
    let reasons: Vec<_> = failed.failures().iter().map(|it| it.reason.to_string()).collect();
    assert_eq!(reasons, ["timeout", "status-502", "not-eligible"]);
}

#[tokio::test]
async fn an_error_is_replaced_in_a_stack_that_stays_infallible_or_boxed() {
    let boxed = layer().layer(service_fn(|_: Req| async { Err::<Response, _>(BoxError::from("down")) }));
    assert_eq!(text(boxed.oneshot(get()).await.unwrap()).await, "static");
}

#[tokio::test]
async fn a_refusal_by_an_open_circuit_is_its_own_reason() {
    let refused = |_: Req| async {
        let mut response = status(503);
        response.extensions_mut().insert(Rejection::refused(name!("ml"), Reason::CIRCUIT_OPEN));
        infallible(response)
    };
    let response = layer().layer(service_fn(refused)).oneshot(get()).await.unwrap();
    assert_eq!(response.extensions().get::<Degradation>().unwrap().reason(), Reason::CIRCUIT_OPEN);
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_hangs_is_ended_at_its_share() {
    let service = layer().layer(service_fn(|_: Req| pending::<Result<Response, BoxError>>()));
    let begun = Instant::now();
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(begun.elapsed(), TOTAL / 2, "two providers share the total");
    assert_eq!(response.extensions().get::<Degradation>().unwrap().reason(), Reason::TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_never_gets_ready_or_fails_to_is_one_more_failure() {
    let primary = || Scripted::<Req, Response, BoxError>::steps([]);
    let never = layer().layer(primary().readiness(|_| Poll::Pending));
    assert_eq!(text(never.oneshot(get()).await.unwrap()).await, "static");
    let failing = layer().layer(primary().readiness(|_| Poll::Ready(Err("broken".into()))));
    assert_eq!(text(failing.oneshot(get()).await.unwrap()).await, "static");
}

#[tokio::test(start_paused = true)]
async fn over_a_saturated_limit_it_answers_within_its_total() {
    let service = ServiceBuilder::new()
        .layer(layer())
        .concurrency_limit(1)
        .service(service_fn(|_: Req| pending::<Result<Response, BoxError>>()));
    let (one, two) = (service.clone().oneshot(get()), service.oneshot(get()));
    let begun = Instant::now();
    let (one, two) = tokio::join!(one, two);
    assert!(begun.elapsed() <= TOTAL);
    assert_eq!((text(one.unwrap()).await, text(two.unwrap()).await), ("static".into(), "static".into()));
}

#[tokio::test]
async fn it_works_over_a_buffer() {
    let service =
        ServiceBuilder::new().layer(layer()).buffer(1).service(service_fn(|_: Req| async { infallible(status(503)) }));
    assert_eq!(text(service.oneshot(get()).await.unwrap()).await, "static");
}

#[tokio::test(start_paused = true)]
async fn the_last_provider_is_asked_even_when_the_time_is_used_up() {
    // A thread that is blocked past the whole total: no timer of ours could end it.
    let service = layer().layer(service_fn(|_: Req| async {
        tokio::time::advance(TOTAL * 2).await;
        infallible(status(503))
    }));
    assert_eq!(text(service.oneshot(get()).await.unwrap()).await, "static");
}

#[tokio::test(start_paused = true)]
async fn time_that_an_early_provider_leaves_goes_to_the_later_ones() {
    let chain = FallbackChain::builder("chain")
        .total(TOTAL)
        .provider(Provider::value(name!("hangs"), pending::<Response>))
        .provider(Provider::value(name!("hangs_too"), pending::<Response>).timeout(Duration::from_millis(100)))
        .provider(says(name!("static")))
        .build()
        .unwrap();
    let service = FallbackLayer::new(name!("primary"), chain).layer(service_fn(|_: Req| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        infallible(status(503))
    }));
    let begun = Instant::now();
    let response = service.oneshot(get()).await.unwrap();
    // 20 ms of the primary, a third of the 780 left, then a timeout of its own.
    assert_eq!(begun.elapsed(), Duration::from_millis(20 + 260 + 100));
    assert_eq!(response.extensions().get::<Degradation>().unwrap().position(), 3);
}

#[tokio::test]
async fn a_404_of_a_later_provider_is_a_miss_and_of_the_primary_an_answer_unless_told_otherwise() {
    let chain = || {
        FallbackChain::builder("chain")
            .provider(Provider::value(name!("cache"), || async { status(404) }))
            .provider(says(name!("static")))
            .build()
            .unwrap()
    };
    let service = |code| service_fn(move |_: Req| async move { infallible(status(code)) });
    let missed = FallbackLayer::new(name!("primary"), chain()).layer(service(503));
    assert_eq!(text(missed.oneshot(get()).await.unwrap()).await, "static");

    let found = FallbackLayer::new(name!("primary"), chain()).layer(service(404));
    assert_eq!(found.oneshot(get()).await.unwrap().status(), StatusCode::NOT_FOUND);

    let told = FallbackLayer::builder("primary", chain()).fall_back_on(StatusCode::NOT_FOUND).build().unwrap();
    assert_eq!(text(told.layer(service(404)).oneshot(get()).await.unwrap()).await, "static");
}

#[tokio::test]
async fn a_too_early_is_the_callers_where_the_caller_sent_early_data() {
    let service = layer().layer(service_fn(|_: Req| async { infallible(status(425)) }));
    assert_eq!(service.clone().oneshot(get()).await.unwrap().status(), StatusCode::OK);
    let mut early = get();
    early.headers_mut().insert("early-data", "1".parse().unwrap());
    assert_eq!(service.oneshot(early).await.unwrap().status(), StatusCode::TOO_EARLY);
}

#[tokio::test]
async fn a_refusal_is_judged_before_any_closure() {
    let pleased = |_: Result<&Response, ErrorRef<'_>>| Outcome::success();
    let full = || Rejection::refused(name!("ml"), Reason::BULKHEAD_FULL);
    let build = || FallbackLayer::builder("primary", behind()).classify_fn(pleased).build().unwrap();
    let as_response = service_fn(move |_: Req| {
        let mut refused = status(503);
        refused.extensions_mut().insert(full());
        async { infallible(refused) }
    });
    assert_eq!(text(build().layer(as_response).oneshot(get()).await.unwrap()).await, "static");
    let as_error =
        service_fn(move |_: Req| async move { Err::<Response, _>(BoxError::from(std::io::Error::other(full()))) });
    assert_eq!(text(build().layer(as_error).oneshot(get()).await.unwrap()).await, "static");
}

#[tokio::test]
async fn a_page_of_an_intermediary_to_a_grpc_call_is_answered_for_where_the_status_that_it_maps_to_is() {
    let page = |code| {
        service_fn(move |_: Req| async move {
            let mut page = status(code);
            page.headers_mut().insert("content-type", "text/html".parse().unwrap());
            infallible(page)
        })
    };
    let chain = || FallbackChain::builder("chain").provider(says(name!("static"))).build().unwrap();
    let unavailable = Reason::grpc(backstop_core::grpc::GrpcCode::UNAVAILABLE);
    for (code, is_answered_for) in
        [(200, true), (302, true), (400, true), (401, false), (404, false), (429, true), (503, true)]
    {
        let mut call = with_headers(&[("content-type", "application/grpc")]);
        *call.method_mut() = http::Method::POST;
        call.extensions_mut().insert(backstop_kit::Repeat::Safe);
        // What stands in must be gRPC's as well: nobody else has an answer, and the primary's is given.
        let layer = FallbackLayer::new(name!("primary"), chain());
        assert_eq!(layer.layer(page(code)).oneshot(call_again(&call)).await.unwrap().status().as_u16(), code);
        let grpc = FallbackChain::builder("chain").provider(Provider::value(name!("stored"), || async {
            let mut stored = status(200);
            stored.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
            stored
        }));
        let layer = FallbackLayer::new(name!("primary"), grpc.build().unwrap());
        let answer = layer.layer(page(code)).oneshot(call).await.unwrap();
        let degradation = answer.extensions().get::<Degradation>();
        assert_eq!(degradation.is_some(), is_answered_for, "{code}");
        if code == 429 || code == 503 {
            assert_eq!(degradation.unwrap().reason(), unavailable);
        }
    }
}

fn call_again(call: &Req) -> Req {
    let mut again = get();
    *again.method_mut() = call.method().clone();
    *again.headers_mut() = call.headers().clone();
    *again.extensions_mut() = call.extensions().clone();
    again
}

fn with_headers(headers: &[(&'static str, &'static str)]) -> Req {
    let mut request = get();
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn an_upgrade_passes_by_the_chain() {
    let service = layer().layer(service_fn(|_: Req| async { infallible(status(503)) }));
    let request = with_headers(&[("connection", "upgrade"), ("upgrade", "websocket")]);
    assert_eq!(service.oneshot(request).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn what_no_server_could_switch_to_is_answered_for_as_any_request() {
    let service = layer().layer(service_fn(|_: Req| async { infallible(status(503)) }));
    for headers in [
        &[("connection", "upgrade")][..],
        &[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABkAAQAoAAA")],
    ] {
        let answer = service.clone().oneshot(with_headers(headers)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_total_holds_for_the_head_of_an_upgrade_too() {
    let total = Duration::from_millis(100);
    let chain = FallbackChain::builder("chain")
        .total(total)
        .provider(Provider::value(name!("static"), || async { status(200) }));
    let hangs = FallbackLayer::new(name!("primary"), chain.build().unwrap())
        .layer(service_fn(|_: Req| pending::<Result<Response, Infallible>>()));
    for request in [
        with_headers(&[("connection", "upgrade"), ("upgrade", "websocket")]),
        Request::builder().method("CONNECT").uri("shop:443").body(Body::empty()).unwrap(),
    ] {
        let begun = Instant::now();
        let answer = hangs.clone().oneshot(request).await.unwrap();
        assert_eq!((answer.status(), begun.elapsed()), (StatusCode::GATEWAY_TIMEOUT, total));
        assert!(answer.extensions().get::<Rejection>().unwrap().reason() == Reason::TIMEOUT);
    }
}

#[tokio::test]
async fn only_the_chosen_answers_reports_move_up() {
    let noisy = |source| Degradation::new(name!("inner"), source, 1, Reason::ERROR, Freshness::Degraded);
    let service = layer().layer(service_fn(move |_: Req| async move {
        backstop_core::scope::report(noisy(name!("lost")));
        infallible(status(503))
    }));
    let mut scope = Scope::new();
    let mut call = std::pin::pin!(service.oneshot(get()));
    let response = std::future::poll_fn(|cx| scope.enter(|| call.as_mut().poll(cx))).await.unwrap();
    let reports = scope.take_reports();
    assert_eq!(reports.len(), 1);
    assert!(reports[0].is(response.extensions().get().unwrap()), "the extension is the same record");
}

#[tokio::test]
async fn a_stored_copy_tells_its_age_and_a_replica_that_it_is_fresh() {
    let age = Duration::from_secs(912);
    let providers: [(Provider<Req, Response>, Freshness); 3] = [
        (
            Provider::value(name!("cached"), move || async move { Answer::stale(status(200), age) }),
            Freshness::stale(age),
        ),
        (Provider::value(name!("replica"), || async { status(200) }).freshness(Freshness::Fresh), Freshness::Fresh),
        (
            Provider::value(name!("other"), || async { status(201) }).freshness_of(|response: &Response| {
                Freshness::stale(Duration::from_secs(response.status().as_u16().into()))
            }),
            Freshness::stale(Duration::from_secs(201)),
        ),
    ];
    for (provider, freshness) in providers {
        let chain = FallbackChain::builder("chain").provider(provider).build().unwrap();
        let layer = FallbackLayer::new(name!("primary"), chain);
        let response =
            layer.layer(service_fn(|_: Req| async { infallible(status(500)) })).oneshot(get()).await.unwrap();
        assert_eq!(response.extensions().get::<Degradation>().unwrap().freshness(), freshness);
    }
}

#[tokio::test]
async fn what_was_configured_wrong_is_named() {
    let none = FallbackChain::<Req, Response>::builder("chain").build().unwrap_err();
    assert_eq!(none.to_string(), "providers is none, allowed is: at least one");
    let chain = |provider: Provider<Req, Response>, total| {
        FallbackChain::builder("chain").total(total).provider(says(name!("a"))).provider(provider).build()
    };
    assert_eq!(chain(says(name!("a")), TOTAL).unwrap_err().field, "provider");
    assert_eq!(chain(says(name!("b")), Duration::ZERO).unwrap_err().field, "total");
    assert_eq!(chain(says(name!("b")), Duration::MAX).unwrap_err().field, "total");
    for timeout in [Duration::ZERO, TOTAL + Duration::from_millis(1)] {
        assert_eq!(chain(says(name!("b")).timeout(timeout), TOTAL).unwrap_err().field, "providers.b.timeout");
        let layer = FallbackLayer::builder("primary", behind()).primary_timeout(timeout).build();
        assert_eq!(layer.unwrap_err().field, "primary_timeout");
    }
    assert_eq!(FallbackLayer::builder("static", behind()).build().unwrap_err().field, "primary");
    assert_eq!(FallbackLayer::builder("no name", behind()).build().unwrap_err().field, "name");
    assert_eq!(FallbackChain::<Req, Response>::builder("").build().unwrap_err().field, "name");
}

#[test]
fn layers_and_services_go_where_stacks_go() {
    fn assert<T: Clone + Send + Sync + 'static>(_: &T) {}
    // Even of requests and responses that are neither.
    type Local = std::rc::Rc<()>;
    let chain = FallbackChain::<Local, Local>::builder("c").provider(Provider::value(name!("p"), pending::<Local>));
    let layer = FallbackLayer::new(name!("primary"), chain.build().unwrap());
    assert(&layer);
    assert(&layer.layer(()));
    assert(&FallbackLayer::new(name!("primary"), behind()).layer(()));
    let _: fn(&Body) = |_| ();
}

/// Ready for one call, as whoever has reserved something is; a clone has reserved nothing.
struct Reserving {
    reserved: Option<tokio::sync::OwnedSemaphorePermit>,
    room: std::sync::Arc<tokio::sync::Semaphore>,
}

impl Clone for Reserving {
    fn clone(&self) -> Self {
        Self { reserved: None, room: self.room.clone() }
    }
}

impl Service<Req> for Reserving {
    type Response = Response;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.reserved.is_none() {
            self.reserved = self.room.clone().try_acquire_owned().ok();
        }
        if self.reserved.is_some() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, _: Req) -> Self::Future {
        let reserved = self.reserved.take();
        std::future::ready(infallible(status(if reserved.is_some() { 200 } else { 500 })))
    }
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_is_ready_is_the_one_that_is_called_and_none_stays_reserved() {
    let room = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
    let mut service = layer().layer(Reserving { reserved: None, room: room.clone() });
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(get()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(room.available_permits(), 1);
    }
    // With no room it waits for its share of the time, and the chain answers.
    let taken = room.clone().try_acquire_owned().unwrap();
    let response = service.ready().await.unwrap().call(get()).await.unwrap();
    assert_eq!(response.extensions().get::<Degradation>().unwrap().reason(), Reason::TIMEOUT);
    drop(taken);
    assert_eq!(room.available_permits(), 1, "nothing of the call that gave up is left in line");
}

#[tokio::test(start_paused = true)]
async fn the_total_begins_with_the_first_wait_and_not_with_the_call() {
    let total = Duration::from_secs(1);
    let provider = Provider::value(name!("late"), move || async move {
        tokio::time::sleep(total / 2).await;
        status(200)
    });
    let chain = FallbackChain::builder("chain").total(total).provider(provider).build().unwrap();
    let fails = service_fn(|_: Req| async { infallible(status(503)) });
    let mut service = FallbackLayer::new(name!("primary"), chain).layer(fails);
    std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    let call = service.call(get());
    tokio::time::advance(total * 2).await;
    assert_eq!(call.await.unwrap().status(), 200);
}

/// The status with which a chain answers, whose first provider answers so.
async fn after(request: Req, first: u16, forced: bool) -> StatusCode {
    let chain = FallbackChain::builder("chain")
        .total(TOTAL)
        .provider(Provider::value(name!("first"), move || async move { status(first) }))
        .provider(says(name!("static")))
        .build()
        .unwrap();
    let layer = FallbackLayer::builder("primary", chain)
        // Whatever a closure makes of it.
        .classify_fn(|result| match result {
            Ok(response) if response.status() != 503 => Outcome::success(),
            _ => Outcome::failure(),
        })
        .build()
        .unwrap();
    if forced {
        layer.handle().force("first", 1.0).unwrap();
    }
    let fails = service_fn(|_: Req| async { infallible(status(503)) });
    layer.layer(fails).oneshot(request).await.unwrap().status()
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asked_a_provider_for_is_a_miss() {
    // A condition or a range of the caller's isn't in the copy that the provider has.
    let conditional = || Request::get("/").header("if-none-match", "\"1\"").header("range", "bytes=0-1");
    for forced in [false, true] {
        for unasked in [101, 103, 206, 304] {
            assert_eq!(after(get(), unasked, forced).await, StatusCode::OK, "{unasked} {forced}");
            let request = conditional().body(Body::empty()).unwrap();
            assert_eq!(after(request, unasked, forced).await, StatusCode::OK, "{unasked} {forced}");
        }
        for answer in [200, 204, 301, 307] {
            assert_eq!(after(get(), answer, forced).await.as_u16(), answer, "{forced}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_primarys_304_and_206_are_its_answers() {
    for answer in [206, 304] {
        let asked = service_fn(move |_: Req| async move { infallible(status(answer)) });
        assert_eq!(layer().layer(asked).oneshot(get()).await.unwrap().status().as_u16(), answer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_providers_304_is_a_miss_where_answers_are_discarded_too() {
    let chain = FallbackChain::builder("chain")
        .total(TOTAL)
        .provider(Provider::value(name!("revalidated"), || async { status(304) }))
        .provider(says(name!("static")))
        .build()
        .unwrap();
    let layer = FallbackLayer::builder("primary", chain)
        .classify_fn(|result: Result<&Response, _>| match result {
            Ok(response) if response.status() != 503 => Outcome::success(),
            _ => Outcome::failure(),
        })
        .discard_replaced()
        .build()
        .unwrap();
    let fails = service_fn(|_: Req| async { infallible(status(503)) });
    assert_eq!(layer.layer(fails).oneshot(get()).await.unwrap().status(), StatusCode::OK);
}
