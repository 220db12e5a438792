//! What is repeated, and what isn't.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::support::{
    BoxError, Refusing, Upstream, bulkhead_full, circuit_open, elapsed, get, grpc, ml, rejected, response, with_header,
    with_method,
};
use axum::body::Body;
use backstop_core::{Classify, ErrorRef, HttpClassify, Outcome, SetBy, Verdict};
use backstop_kit::{Client, Progress, client};
use backstop_retry::{Repeat, RetryLayer};
use backstop_test::Scripted;
use http::{Method, Request, Response, StatusCode, Version};
use tower::{Layer, Service, ServiceExt, service_fn};

/// How often the upstream is called.
async fn calls<E: 'static, L>(layer: &L, upstream: Upstream<E>, request: Request<Body>) -> usize
where
    L: Layer<Client<Upstream<E>>>,
    L::Service: Service<Request<Body>>,
{
    _ = layer.layer(client(upstream.clone())).oneshot(request).await;
    upstream.calls()
}

fn failing() -> Upstream {
    Upstream::statuses([503])
}

fn refusing_connections() -> Upstream<BoxError> {
    Upstream::new(|_, _| async { Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()) })
}

#[tokio::test(start_paused = true)]
async fn only_statuses_that_may_pass_are_repeated() {
    let layer = RetryLayer::new(ml());
    for status in [408, 425, 429, 502, 503, 504] {
        assert_eq!(calls(&layer, Upstream::statuses([status]), get()).await, 3, "{status}");
    }
    for status in [200, 204, 301, 304, 400, 401, 404, 409, 413, 500, 501, 505, 599] {
        assert_eq!(calls(&layer, Upstream::statuses([status]), get()).await, 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_good_answer_ends_it() {
    let upstream = Upstream::statuses([503, 200, 503]);
    let answer = RetryLayer::new(ml()).layer(upstream.clone()).oneshot(get()).await.unwrap();
    assert_eq!((answer.status(), upstream.calls()), (StatusCode::OK, 2));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_better_by_repeating_ends_it_too() {
    let upstream = Upstream::statuses([503, 404, 503]);
    let answer = RetryLayer::new(ml()).layer(upstream.clone()).oneshot(get()).await.unwrap();
    assert_eq!((answer.status(), upstream.calls()), (StatusCode::NOT_FOUND, 2));
}

#[tokio::test(start_paused = true)]
async fn other_statuses_are_repeated_where_asked_for() {
    let layer = RetryLayer::builder("ml").retry_on(StatusCode::INTERNAL_SERVER_ERROR).build().unwrap();
    assert_eq!(calls(&layer, Upstream::statuses([500]), get()).await, 3);
    assert_eq!(calls(&layer, Upstream::statuses([501]), get()).await, 1);
}

#[tokio::test(start_paused = true)]
async fn idempotent_methods_are_repeated_and_a_post_never_is() {
    let layer = RetryLayer::new(ml());
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE] {
        assert_eq!(calls(&layer, failing(), with_method(method.clone())).await, 3, "{method}");
    }
    for method in [Method::POST, Method::PATCH, Method::from_bytes(b"PAY").unwrap()] {
        assert_eq!(calls(&layer, failing(), with_method(method.clone())).await, 1, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_that_timed_out_is_not_repeated_since_it_may_have_been_done() {
    let timed_out =
        |progress| Upstream::<BoxError>::new(move |_, _| async move { Ok(rejected(elapsed(SetBy::Us, progress))) });
    let layer = RetryLayer::new(ml());
    assert_eq!(calls(&layer, timed_out(Progress::Called), with_method(Method::POST)).await, 1);
    assert_eq!(calls(&layer, timed_out(Progress::Called), get()).await, 3);
    let not_ready = timed_out(Progress::NotReady);
    assert_eq!(calls(&layer, not_ready, with_method(Method::POST)).await, 1, "who knows what else was done");
    let never_sent = Refusing(timed_out(Progress::NotReady));
    _ = layer.layer(never_sent.clone()).oneshot(with_method(Method::POST)).await;
    assert_eq!(never_sent.0.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_post_that_was_certainly_not_processed_is_repeated() {
    let layer = RetryLayer::new(ml());
    assert_eq!(calls(&layer, refusing_connections(), with_method(Method::POST)).await, 3);
    let broken =
        Upstream::<BoxError>::new(|_, _| async { Err(io::Error::from(io::ErrorKind::ConnectionReset).into()) });
    assert_eq!(calls(&layer, broken, with_method(Method::POST)).await, 1, "a reset proves nothing");
    let unmarked = refusing_connections();
    _ = layer.layer(unmarked.clone()).oneshot(with_method(Method::POST)).await;
    assert_eq!(unmarked.calls(), 1, "whoever is not known to be a client may have done something else before");
}

#[tokio::test(start_paused = true)]
async fn a_post_is_repeated_where_the_judge_knows_that_nothing_was_done() {
    let knowing = RetryLayer::builder("ml").classify_fn(|result: Result<&Response<Body>, ErrorRef<'_>>| {
        let outcome = HttpClassify::new().classify(result);
        if result.is_ok_and(|answer| answer.status() == 503) { outcome.unprocessed() } else { outcome }
    });
    let knowing = knowing.build().unwrap();
    assert_eq!(calls(&knowing, failing(), with_method(Method::POST)).await, 3);
    assert_eq!(calls(&knowing, Upstream::statuses([502]), with_method(Method::POST)).await, 1);
    assert_eq!(calls(&knowing, Upstream::statuses([404]), with_method(Method::POST)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_rule_of_the_users_own_decides_by_request_and_outcome() {
    let rule = RetryLayer::builder("ml")
        .repeat_when(|request, outcome| !request.is_idempotent() && outcome.verdict == Verdict::Neutral)
        .build()
        .unwrap();
    let post = || with_method(Method::POST);
    assert_eq!(calls(&rule, Upstream::statuses([429]), post()).await, 3);
    assert_eq!(calls(&rule, Upstream::statuses([429]), get()).await, 1, "the request isn't one of those");
    assert_eq!(calls(&rule, Upstream::statuses([503]), post()).await, 1, "the outcome isn't one of those");
    assert_eq!(calls(&rule, refusing_connections(), post()).await, 1, "not even what was never processed");
    assert_eq!(calls(&rule, Upstream::statuses([404]), post()).await, 1, "nothing to gain by a repetition");
    let mut never = post();
    never.extensions_mut().insert(Repeat::Never);
    assert_eq!(calls(&rule, Upstream::statuses([429]), never).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_rule_of_the_users_own_sees_what_a_predicate_and_an_extension_say() {
    let rule = RetryLayer::builder("ml")
        .repeat_if(|request: &Request<Body>| request.uri().path() == "/search")
        .repeat_when(|request, outcome| request.is_idempotent() && outcome.verdict == Verdict::Neutral)
        .build()
        .unwrap();
    let post = |path| Request::post(path).body(Body::empty()).unwrap();
    let safe = || {
        let mut request = post("/pay");
        request.extensions_mut().insert(Repeat::Safe);
        request
    };
    assert_eq!(calls(&rule, Upstream::statuses([429]), post("/search")).await, 3);
    assert_eq!(calls(&rule, Upstream::statuses([429]), safe()).await, 3);
    assert_eq!(calls(&rule, Upstream::statuses([429]), post("/pay")).await, 1);
    assert_eq!(calls(&rule, failing(), post("/search")).await, 1);
    assert_eq!(calls(&rule, failing(), safe()).await, 1, "the rule has the last word");
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_counts_only_where_it_is_trusted() {
    let keyed = || {
        let mut request = with_method(Method::POST);
        request.headers_mut().insert("idempotency-key", "\"8e03978e\"".parse().unwrap());
        request
    };
    assert_eq!(calls(&RetryLayer::new(ml()), failing(), keyed()).await, 1);
    let trusting = RetryLayer::builder("ml").trust_idempotency_key().build().unwrap();
    assert_eq!(calls(&trusting, failing(), keyed()).await, 3);
    assert_eq!(calls(&trusting, failing(), with_method(Method::POST)).await, 1, "without a key");
}

#[tokio::test(start_paused = true)]
async fn a_predicate_adds_requests_and_takes_none_away() {
    let layer = RetryLayer::builder("ml")
        .repeat_if(|request: &Request<Body>| request.uri().path() == "/search")
        .max_body(10)
        .build()
        .unwrap();
    let post = |path| Request::post(path).body(Body::empty()).unwrap();
    assert_eq!(calls(&layer, failing(), post("/search")).await, 3);
    assert_eq!(calls(&layer, failing(), post("/pay")).await, 1);
    assert_eq!(calls(&layer, failing(), get()).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_predicate_takes_requests_away_whatever_else_allows_them() {
    let layer = RetryLayer::builder("ml")
        .repeat_if(|_: &Request<Body>| true)
        .repeat_only_if(|request: &Request<Body>| request.uri().path() == "/search")
        .max_body(10)
        .build()
        .unwrap();
    let to = |method, path: &str| {
        let mut request = with_method(method);
        *request.uri_mut() = path.parse().unwrap();
        request
    };
    for method in [Method::GET, Method::POST] {
        assert_eq!(calls(&layer, failing(), to(method.clone(), "/search")).await, 3, "{method}");
        assert_eq!(calls(&layer, failing(), to(method.clone(), "/pay")).await, 1, "{method}");
        assert_eq!(calls(&layer, refusing_connections(), to(method.clone(), "/pay")).await, 1, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connect_and_an_upgrade_are_never_repeated_nor_touched() {
    let layer = RetryLayer::new(ml());
    assert_eq!(calls(&layer, refusing_connections(), with_method(Method::CONNECT)).await, 1);
    let mut upgrade = get();
    upgrade.headers_mut().insert("connection", "upgrade".parse().unwrap());
    upgrade.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    assert_eq!(calls(&layer, refusing_connections(), upgrade).await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_no_server_could_switch_to_is_repeated_as_any_request() {
    let layer = RetryLayer::new(ml());
    for headers in [&[("connection", "upgrade")][..], &[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")]]
    {
        let mut request = get();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        assert_eq!(calls(&layer, failing(), request).await, 3, "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_425_is_the_callers_own_where_the_caller_sent_early_data() {
    let early = || {
        let mut request = get();
        request.headers_mut().insert("early-data", "1".parse().unwrap());
        request
    };
    let layer = RetryLayer::new(ml());
    assert_eq!(calls(&layer, Upstream::statuses([425]), early()).await, 1);
    assert_eq!(calls(&layer, Upstream::statuses([425]), get()).await, 3);
    assert_eq!(calls(&layer, failing(), early()).await, 3, "any other status is ours to act upon");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_our_own_breaker_is_not_repeated() {
    for kind in [|| circuit_open(), || rejected(bulkhead_full())] {
        let upstream = Upstream::<BoxError>::new(move |_, _| async move { Ok(kind()) });
        assert_eq!(calls(&RetryLayer::new(ml()), upstream, get()).await, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_callers_own_deadline_is_not_repeated() {
    let upstream = Upstream::<BoxError>::new(|_, _| async { Ok(rejected(elapsed(SetBy::Caller, Progress::Called))) });
    assert_eq!(calls(&RetryLayer::new(ml()), upstream, get()).await, 1);
}

#[tokio::test(start_paused = true)]
async fn grpc_is_repeated_where_it_is_declared_safe_and_the_server_does_not_say_stop() {
    let answer = |code: &'static str, pushback: Option<&'static str>| {
        Upstream::<BoxError>::new(move |_, _| async move { Ok(grpc(code, pushback)) })
    };
    let call = || {
        let mut request = with_method(Method::POST);
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        request
    };
    assert_eq!(calls(&RetryLayer::new(ml()), answer("14", None), call()).await, 1, "a POST as any other");
    let layer = RetryLayer::builder("ml").repeat_if(|_: &Request<Body>| true).build().unwrap();
    for (code, pushback, expected) in [
        ("0", None, 1),
        ("14", None, 3),
        ("14", Some("100"), 3),
        ("14", Some("-1"), 1),
        ("14", Some("soon"), 1),
        ("8", None, 1),
        ("8", Some("5"), 3),
        ("8", Some("-1"), 1),
        ("5", None, 1),
        ("13", None, 1),
    ] {
        assert_eq!(calls(&layer, answer(code, pushback), call()).await, expected, "{code} {pushback:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_attempt_means_that_requests_pass_straight_through() {
    let layer = RetryLayer::builder("ml").max_attempts(1).build().unwrap();
    let upstream = Upstream::<BoxError>::new(|_, request| async move {
        assert_eq!(backstop_core::scope::deadline(), None, "no scope is opened");
        drop(request);
        Ok(response(503))
    });
    assert_eq!(calls(&layer, upstream, get()).await, 1);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_attempts_is_the_configured_one() {
    for attempts in [2, 5, 1000] {
        let second = std::time::Duration::from_millis(1);
        let builder = RetryLayer::builder("ml").no_budget().max_attempts(attempts);
        let layer = builder.backoff_base(second).backoff_cap(second).build().unwrap();
        assert_eq!(calls(&layer, failing(), get()).await, attempts as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn any_service_of_cloneable_requests_is_repeated_with_a_closure_as_judge() {
    let layer = RetryLayer::builder("numbers")
        .plain()
        .classify_fn(|result: Result<&u32, _>| match result {
            Ok(n) if *n > 2 => Outcome::success(),
            Ok(_) | Err(_) => Outcome::failure().transient(),
        })
        .build()
        .unwrap();
    let counter = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let service = service_fn(move |step: u32| {
        let n = counter.fetch_add(step, Relaxed);
        async move { Ok::<_, std::convert::Infallible>(n) }
    });
    assert_eq!(layer.layer(service).oneshot(2).await, Ok(4));
}

#[test]
fn a_rule_for_refusals_is_what_rejections_say_of_themselves() {
    assert_eq!(bulkhead_full().outcome(), Outcome::refusal());
}

#[tokio::test(start_paused = true)]
async fn what_comes_from_plain_data_is_what_the_builder_makes() {
    let mut config = backstop_retry::RetryConfig::new("ml");
    config.max_attempts = 2;
    let layer = RetryLayer::from_config(config.clone()).unwrap();
    assert_eq!(calls(&layer, failing(), get()).await, 2);
    config.max_body = usize::MAX;
    assert_eq!(RetryLayer::from_config(config).unwrap_err().field, "max_body");
    let corrected = RetryLayer::builder("ml").max_body(usize::MAX).max_body(1).build();
    assert!(corrected.is_ok(), "the last word counts");
}

#[tokio::test(start_paused = true)]
async fn a_response_type_that_is_not_http_needs_no_body() {
    // Compiles: nothing of HTTP is asked of the types.
    let layer = RetryLayer::builder("unit").plain();
    let layer = layer.classify_fn(|_: Result<&Response<()>, _>| Outcome::success()).build().unwrap();
    let service = service_fn(|(): ()| async { Ok::<_, BoxError>(Response::new(())) });
    assert!(layer.layer(service).oneshot(()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_judged_before_any_closure() {
    let eager = |_: Result<&Response<Body>, ErrorRef<'_>>| Outcome::failure().transient();
    for refusal in [bulkhead_full(), elapsed(SetBy::Caller, Progress::Called)] {
        let layer = RetryLayer::builder("ml").classify_fn(eager).build().unwrap();
        let as_response = {
            let refusal = refusal.clone();
            Upstream::<BoxError>::new(move |_, _| {
                let refused = rejected(refusal.clone());
                async { Ok(refused) }
            })
        };
        assert_eq!(calls(&layer, as_response, get()).await, 1, "{refusal:?}");
        let as_error = Upstream::<BoxError>::new(move |_, _| {
            let error = io::Error::other(refusal.clone());
            async { Err(error.into()) }
        });
        assert_eq!(calls(&layer, as_error, get()).await, 1);
    }
}

/// A body that only `clone_requests` copies.
#[derive(Clone)]
struct Cloned;

#[tokio::test(start_paused = true)]
async fn a_request_that_is_cloned_is_repeated_by_the_rules_of_http() {
    let retry = RetryLayer::builder("ml").clone_requests().build().unwrap();
    let request = |method: Method| Request::builder().method(method).uri("shop.example:443");
    let cases = [
        (request(Method::POST), 503, 3),
        (request(Method::POST).extension(Repeat::Never), 503, 1),
        (request(Method::CONNECT), 503, 1),
        (request(Method::GET).header("upgrade", "websocket").header("connection", "upgrade"), 503, 1),
        (request(Method::GET), 425, 3),
        (request(Method::GET).header("early-data", "1"), 425, 1),
    ];
    for (case, (request, status, attempts)) in cases.into_iter().enumerate() {
        let upstream =
            Scripted::<Request<Cloned>, Response<Body>, BoxError>::new(move |_, _| async move { Ok(response(status)) });
        retry.layer(upstream.clone()).oneshot(request.body(Cloned).unwrap()).await.unwrap();
        assert_eq!(upstream.calls(), attempts, "case {case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_of_an_intermediary_to_a_grpc_call_is_repeated_where_the_status_that_it_maps_to_is() {
    let layer = RetryLayer::builder("ml").repeat_if(|_| true).build().unwrap();
    let clones = RetryLayer::builder("ml").clone_requests().build().unwrap();
    let mapped = [(200, 1), (302, 1), (400, 1), (401, 1), (404, 1), (408, 1), (429, 3), (502, 3), (503, 3), (504, 3)];
    for (status, attempts) in mapped {
        let page =
            Upstream::<BoxError>::new(move |_, _| async move { Ok(with_header(status, "content-type", "text/html")) });
        let call = || Request::post("/shop.Prices/Get").header("content-type", "application/grpc");
        assert_eq!(calls(&layer, page, call().body(Body::empty()).unwrap()).await, attempts, "{status}");

        let asked = AtomicUsize::new(0);
        let asked = &asked;
        let page = service_fn(move |_: Request<Cloned>| {
            asked.fetch_add(1, Relaxed);
            async move { Ok::<_, BoxError>(with_header(status, "content-type", "text/html")) }
        });
        clones.layer(page).oneshot(call().body(Cloned).unwrap()).await.unwrap();
        assert_eq!(asked.load(Relaxed), attempts, "{status} to a request that is cloned");
    }
}
