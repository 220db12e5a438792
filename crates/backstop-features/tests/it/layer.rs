//! The layer, and a provider of a chain.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{convert::Infallible, future::pending};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use backstop_core::{Degradation, ErrorRef, Freshness, Outcome, Reason, Rejection, Scope, Verdict, name, scope};
use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
use backstop_features::{
    FEATURE_DEGRADED, FEATURE_DISABLED, FeatureLayer, FeatureState, Features, FlagChange, InFeatureScope,
};
use backstop_test::{Logs, Scripted};
use http::{Request, StatusCode};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::common::{SEARCH, events_with, secs, shop};

fn get() -> Request<Body> {
    Request::new(Body::empty())
}

fn layer(features: &Features) -> FeatureLayer {
    FeatureLayer::new(features.gate(&SEARCH).unwrap())
}

async fn set(features: &Features, state: FeatureState) {
    features.handle().set(&SEARCH, FlagChange::to(state, "ada", "why").until(secs(60))).await.unwrap();
}

#[tokio::test]
async fn a_call_is_made_while_the_feature_is_on_and_refused_otherwise() {
    let features = shop().build().unwrap();
    let upstream = Scripted::statuses([200]);
    let service = layer(&features).layer(upstream.clone());
    assert_eq!(service.clone().oneshot(get()).await.unwrap().status(), StatusCode::OK);
    for (state, reason) in [(FeatureState::Degraded, FEATURE_DEGRADED), (FeatureState::Disabled, FEATURE_DISABLED)] {
        set(&features, state).await;
        let refused = service.clone().oneshot(get()).await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()["cache-control"], "no-store");
        let rejection = Rejection::in_response(&refused).unwrap();
        assert_eq!((rejection.by().as_str(), rejection.reason()), ("search", reason));
        assert_eq!(rejection.outcome(), Outcome::refusal());
    }
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_a_service_that_is_not_ready() {
    let features = shop().build().unwrap();
    set(&features, FeatureState::Disabled).await;
    struct NeverReady;
    impl Service<Request<Body>> for NeverReady {
        type Response = Response;
        type Error = Infallible;
        type Future = std::future::Pending<Result<Response, Infallible>>;
        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
            std::task::Poll::Pending
        }
        fn call(&mut self, _: Request<Body>) -> Self::Future {
            panic!("it isn't ready")
        }
    }
    let mut service = layer(&features).layer(NeverReady);
    let refused = service.ready().await.unwrap();
    // Enabled in between: the inner service was never asked, so it must not be called.
    features.handle().remove(&SEARCH, "ada", "works").await.unwrap();
    assert_eq!(refused.call(get()).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn the_classifier_judges_what_counts_against_the_feature() {
    let features = shop().build().unwrap();
    let service = layer(&features).layer(Scripted::statuses([404, 404, 429, 429, 200]));
    for _ in 0..5 {
        _ = service.clone().oneshot(get()).await.unwrap();
    }
    assert!(features.is_enabled(&SEARCH));
    let service = layer(&features).layer(Scripted::statuses([503, 500, 503, 502, 503, 503]));
    for _ in 0..5 {
        _ = service.clone().oneshot(get()).await.unwrap();
    }
    assert_eq!(features.state(&SEARCH), FeatureState::Degraded);
}

#[tokio::test]
async fn a_closure_judges_a_service_that_does_not_speak_http() {
    let features = shop().build().unwrap();
    let answers = service_fn(|n: u32| async move { Ok::<u32, BoxError>(n) });
    let judge = |result: Result<&u32, ErrorRef<'_>>| match result {
        Ok(0) => Outcome::failure(),
        _ => Outcome::success(),
    };
    let layer = FeatureLayer::builder(features.gate(&SEARCH).unwrap()).plain().classify_fn(judge).build();
    let service = layer.layer(answers);
    for n in [1, 0, 0, 0, 0, 0] {
        _ = service.clone().oneshot(n).await.unwrap();
    }
    let error = service.oneshot(1).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Rejection>().unwrap().reason(), FEATURE_DEGRADED);
}

#[tokio::test]
async fn a_panic_and_our_own_time_limit_are_errors_and_a_caller_who_leaves_is_not() {
    let leave = |features: &Features, why: Option<scope::EndedBy>| {
        let call = layer(features).layer(service_fn(|_| pending::<Result<Response, Infallible>>())).call(get());
        match why {
            Some(why) => scope::end(why, || drop(call)),
            None => drop(call),
        }
    };
    let features = shop().build().unwrap();
    (0..100).for_each(|_| leave(&features, None));
    (0..100).for_each(|_| leave(&features, Some(scope::EndedBy::Replaced)));
    assert!(features.is_enabled(&SEARCH));
    (0..5).for_each(|_| leave(&features, Some(scope::EndedBy::OurLimit)));
    assert_eq!(features.state(&SEARCH), FeatureState::Degraded);

    let features = shop().build().unwrap();
    for _ in 0..5 {
        let call = || async { panic!("a bug") };
        let service = layer(&features).layer(service_fn(move |_: Request<Body>| async move {
            call().await;
            Ok::<Response, Infallible>(Response::default())
        }));
        let mut call = Box::pin(service.oneshot(get()));
        let waker = std::task::Waker::noop();
        let mut cx = std::task::Context::from_waker(waker);
        let poll = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call.as_mut().poll(&mut cx).is_ready()));
        assert!(poll.is_err());
    }
    assert_eq!(features.state(&SEARCH), FeatureState::Degraded);
}

#[tokio::test]
async fn a_failure_that_was_injected_counts_nothing_even_if_no_scope_is_open_around_the_layer() {
    scope::allow_injected_faults();
    let features = shop().build().unwrap();
    let hit = service_fn(|_: Request<Body>| async {
        // As a retry inside of the layer opens scopes.
        Scope::new().enter(|| scope::inject_fault(|| ()));
        let degradation = Degradation::new(name!("c"), name!("s"), 1, Reason::ERROR, Freshness::Fresh);
        scope::report(degradation);
        Ok::<_, Infallible>(StatusCode::BAD_GATEWAY.into_response())
    });
    let service = layer(&features).layer(hit);
    for _ in 0..20 {
        service.clone().oneshot(get()).await.unwrap();
    }
    assert!(features.is_enabled(&SEARCH));

    // What is reported inside still reaches the scope around it.
    let mut outer = Scope::new();
    let mut call = std::pin::pin!(service.oneshot(get()));
    std::future::poll_fn(|cx| outer.enter(|| call.as_mut().poll(cx))).await.unwrap();
    assert!(outer.has_injected_fault());
    assert_eq!(outer.take_reports().len(), 1);
}

#[tokio::test]
async fn the_next_provider_answers_for_a_feature_that_is_off() {
    let features = shop().build().unwrap();
    let popular = Provider::value(name!("popular"), || async { Response::new(Body::from("popular")) });
    let chain = FallbackChain::builder("search").provider(popular).build().unwrap();
    let upstream = Scripted::statuses([200]);
    let stack = ServiceBuilder::new()
        .layer(FallbackLayer::new(name!("ml"), chain))
        .layer(layer(&features))
        .service(upstream.clone());
    set(&features, FeatureState::Disabled).await;
    let mut scope = Scope::new();
    // A POST, too: nothing has processed it.
    let mut call = Box::pin(stack.oneshot(Request::post("/").body(Body::empty()).unwrap()));
    let response = std::future::poll_fn(|cx| scope.enter(|| call.as_mut().poll(cx))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let reports = scope.take_reports();
    assert_eq!((reports[0].source().as_str(), reports[0].reason()), ("popular", FEATURE_DISABLED));
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test]
async fn a_provider_is_asked_only_if_its_feature_is_on() {
    let features = shop().build().unwrap();
    let condition = features.gate(&SEARCH).unwrap().condition();
    let chain: FallbackChain<(), &str> = FallbackChain::builder("search")
        .provider(Provider::value(name!("ml"), || async { "for you" }).only_if(condition))
        .provider(Provider::value(name!("popular"), || async { "popular" }))
        .build()
        .unwrap();
    assert_eq!(chain.execute(()).await.unwrap().value, "for you");
    set(&features, FeatureState::Degraded).await;
    let answer = chain.execute(()).await.unwrap();
    assert_eq!((answer.value, answer.failures[0].reason), ("popular", FEATURE_DEGRADED));
}

#[tokio::test]
async fn a_refusal_proves_that_nothing_was_processed() {
    let features = shop().build().unwrap();
    set(&features, FeatureState::Disabled).await;
    let mut service = layer(&features).layer(Scripted::statuses([200]));
    let mut frame = backstop_kit::proof::Frame::open();
    let mut call = frame.call(|| service.call(get()));
    frame.listen();
    let answer = tokio_poll(&mut call);
    assert_eq!(answer.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(frame.ended());
}

fn tokio_poll<F: Future + Unpin>(future: &mut F) -> F::Output {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut cx) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("pending"),
    }
}

#[tokio::test]
async fn a_grpc_call_is_judged_and_refused_as_one() {
    let features = shop().build().unwrap();
    let grpc = || Request::post("/").header("content-type", "application/grpc").body(Body::empty()).unwrap();
    let unavailable = service_fn(|_| async {
        Ok::<_, Infallible>(Response::builder().header("grpc-status", "14").body(Body::empty()).unwrap())
    });
    let service = layer(&features).layer(unavailable);
    for _ in 0..5 {
        _ = service.clone().oneshot(grpc()).await.unwrap();
    }
    let refused = service.oneshot(grpc()).await.unwrap();
    assert_eq!((refused.status(), &refused.headers()["grpc-status"]), (StatusCode::OK, &"14".parse().unwrap()));
    assert_eq!(Rejection::in_response(&refused).unwrap().outcome().verdict, Verdict::Neutral);
}

#[tokio::test]
async fn an_instance_without_a_driver_says_so_when_it_matters() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let features = shop().counts(backstop_features::MemoryStore::new()).build().unwrap();
    crate::common::fail(&features, &SEARCH, 2);
    assert_eq!(events_with(&logs, "spawn `features.run()`").len(), 1);
}

/// Shed by the level for long enough that a probe is due.
async fn shed() -> Features {
    let dial = crate::common::Dial::default();
    dial.set(backstop_features::Level::Critical);
    let features = shop().level(dial.source()).build().unwrap();
    tokio::time::sleep(secs(15)).await;
    features
}

#[tokio::test(start_paused = true)]
async fn one_probe_waits_for_a_service_that_is_not_ready_and_all_others_are_refused_at_once() {
    struct NotReady;
    impl Service<Request<Body>> for NotReady {
        type Response = Response;
        type Error = Infallible;
        type Future = std::future::Pending<Result<Response, Infallible>>;
        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
            std::task::Poll::Pending
        }
        fn call(&mut self, _: Request<Body>) -> Self::Future {
            panic!("it isn't ready")
        }
    }
    let features = shed().await;
    let layer = layer(&features);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut probe = layer.layer(NotReady);
    for _ in 0..3 {
        assert!(probe.poll_ready(&mut cx).is_pending());
    }
    for _ in 0..10 {
        let mut other = layer.layer(NotReady);
        assert!(other.poll_ready(&mut cx).is_ready());
        assert_eq!(tokio_poll(&mut other.call(get())).unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_passes_a_handler_a_condition_and_a_layer_but_only_once() {
    let features = shed().await;
    let gate = features.gate(&SEARCH).unwrap();
    let upstream = Scripted::statuses([200, 200]);
    let service = layer(&features).layer(upstream.clone());
    for expected in [true, false] {
        assert_eq!(features.is_enabled(&SEARCH), expected);
        assert_eq!(gate.check().is_ok(), expected);
        let status = service.clone().oneshot(get()).await.unwrap().status();
        assert_eq!(status == StatusCode::OK, expected);
    }
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn probes_that_never_reach_a_layer_let_no_later_calls_through() {
    let features = shed().await;
    let upstream = Scripted::statuses([200; 20]);
    let service = layer(&features).layer(upstream.clone());
    // A handler that only shows the state.
    for _ in 0..20 {
        _ = features.is_enabled(&SEARCH);
        tokio::time::sleep(secs(12)).await;
    }
    for _ in 0..20 {
        _ = service.clone().oneshot(get()).await.unwrap();
    }
    assert_eq!(upstream.calls(), 1, "a probe is due");
}

#[tokio::test(start_paused = true)]
async fn a_probe_within_a_request_leaves_nothing_behind() {
    let features = shed().await;
    let upstream = Scripted::statuses([200; 2]);
    let service = layer(&features).layer(upstream.clone());
    let request = async {
        assert!(features.is_enabled(&SEARCH));
        service.clone().oneshot(get()).await.unwrap().status()
    };
    assert_eq!(request.in_feature_scope().await, StatusCode::OK);
    assert_eq!(service.clone().oneshot(get()).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn an_operators_off_also_stops_a_probe_whose_service_is_ready() {
    let features = shed().await;
    let upstream = Scripted::statuses([200]);
    for is_polled_again in [false, true] {
        features.handle().remove(&SEARCH, "ada", "why").await.unwrap();
        tokio::time::sleep(secs(15)).await;
        let mut service = layer(&features).layer(upstream.clone());
        let mut ready = service.ready().await.unwrap();
        features.handle().set(&SEARCH, FlagChange::disable("ada", "why")).await.unwrap();
        if is_polled_again {
            ready = ready.ready().await.unwrap();
        }
        assert_eq!(ready.call(get()).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_operators_off_also_stops_the_share_whose_services_are_ready() {
    let features = shop().build().unwrap();
    crate::common::fail(&features, &SEARCH, 5);
    tokio::time::sleep(secs(300 + 3 * 60 + 1)).await;
    assert_eq!(features.handle().get(&SEARCH).unwrap().share, Some(0.5));
    let upstream = Scripted::statuses([200; 100]);
    let mut services: Vec<_> = (0..100).map(|_| layer(&features).layer(upstream.clone())).collect();
    for service in &mut services {
        service.ready().await.unwrap();
    }
    set(&features, FeatureState::Disabled).await;
    for service in &mut services {
        assert_eq!(service.call(get()).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_let_through_keeps_its_state_in_a_layer_after_an_operators_off() {
    let features = shed().await;
    let upstream = Scripted::statuses([200]);
    let request = async {
        assert!(features.is_enabled(&SEARCH));
        let mut service = layer(&features).layer(upstream.clone());
        let ready = service.ready().await.unwrap();
        set(&features, FeatureState::Disabled).await;
        ready.call(get()).await.unwrap().status()
    };
    assert_eq!(request.in_feature_scope().await, StatusCode::OK);
}
