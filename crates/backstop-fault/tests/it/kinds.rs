//! What each kind of fault does to a call, with each strategy.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    cell::Cell,
    convert::Infallible,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use axum::body::{Body, to_bytes};
use backstop_core::{ErrorRef, HttpClassify, Rejection, Scope, Verdict, grpc::GrpcCode, scope};
use backstop_fault::{CallError, FAULT_INJECTED, Fault, FaultKind, StatusFault};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{CACHE_CONTROL, RETRY_AFTER},
};
use http_body::Body as _;
use tokio::time::Instant;
use tokio_test::{assert_ready, task};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use crate::support::{ANSWER, always, answering, armed, fallible, get, started, started_for_functions};

const TOO_LONG: usize = 1024;

fn grpc_call() -> Request<Body> {
    Request::post("/greeter.Greeter/Hello").header("content-type", "application/grpc").body(Body::empty()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_error_is_an_answer_of_the_layer_that_counts_as_a_failure_of_the_transport() {
    let (layer, handle) = started(always(Fault::Error));
    let answer = layer.layer(answering()).oneshot(get("/")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
    let rejection = Rejection::in_response(&answer).unwrap();
    assert_eq!(
        (rejection.reason(), rejection.to_string()),
        (FAULT_INJECTED, "a fault was injected by edge".to_owned())
    );
    assert_eq!(rejection.outcome().verdict, Verdict::Failure);
    assert!(rejection.outcome().transient && !rejection.outcome().unprocessed);
    assert!(handle.status().injected.contains(&(FaultKind::Error, 1)));
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_grpc_call_is_unavailable() {
    let layer = armed().allow_unsafe_methods().build().unwrap();
    layer.handle().start(always(Fault::Error)).unwrap();
    let answer = layer.layer(answering()).oneshot(grpc_call()).await.unwrap();
    assert_eq!((answer.status(), &answer.headers()["grpc-status"]), (StatusCode::OK, &HeaderValue::from(14)));
}

#[tokio::test(start_paused = true)]
async fn a_status_has_its_headers_and_its_body_and_no_cache_keeps_it() {
    let name = HeaderName::from_static("x-why");
    let fault = StatusFault::new(StatusCode::TOO_MANY_REQUESTS)
        .header(RETRY_AFTER, HeaderValue::from_static("2"))
        .header(name.clone(), HeaderValue::from_static("a"))
        .header(name.clone(), HeaderValue::from_static("b"))
        .body("slow down");
    let (layer, _) = started(always(fault));
    let answer = layer.layer(answering()).oneshot(get("/")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    let mut expected = HeaderMap::new();
    expected.insert(RETRY_AFTER, HeaderValue::from_static("2"));
    expected.append(name.clone(), HeaderValue::from_static("a"));
    expected.append(name, HeaderValue::from_static("b"));
    expected.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    assert_eq!(answer.headers(), &expected);
    assert!(Rejection::in_response(&answer).is_none());
    assert_eq!(to_bytes(answer.into_body(), TOO_LONG).await.unwrap(), "slow down");

    let cached = StatusFault::new(StatusCode::NOT_FOUND).header(CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
    let (layer, _) = started(always(cached));
    let answer = layer.layer(answering()).oneshot(get("/")).await.unwrap();
    assert_eq!(answer.headers().get_all(CACHE_CONTROL).iter().collect::<Vec<_>>(), ["max-age=1"]);
}

#[tokio::test(start_paused = true)]
async fn a_status_of_a_grpc_call_is_trailers_only_with_the_code_that_is_set_or_mapped() {
    let mapped = StatusFault::new(StatusCode::FORBIDDEN).body("left out");
    let set = StatusFault::new(StatusCode::FORBIDDEN).grpc_code(GrpcCode::RESOURCE_EXHAUSTED);
    for (fault, code) in [(mapped, 7), (set, 8)] {
        let layer = armed().allow_unsafe_methods().build().unwrap();
        layer.handle().start(always(fault)).unwrap();
        let answer = layer.layer(answering()).oneshot(grpc_call()).await.unwrap();
        assert_eq!((answer.status(), &answer.headers()["grpc-status"]), (StatusCode::OK, &HeaderValue::from(code)));
        assert_eq!(answer.headers()["content-type"], "application/grpc");
        assert!(answer.body().is_end_stream());
    }
}

#[tokio::test(start_paused = true)]
async fn a_delayed_call_is_made_later_and_answered_as_usual() {
    let (layer, handle) = started(always(Fault::delay(Duration::from_secs(3))));
    let began = Instant::now();
    let answer = layer.layer(answering()).oneshot(get("/")).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    assert_eq!(to_bytes(answer.into_body(), TOO_LONG).await.unwrap(), ANSWER);
    assert_eq!(handle.status().held, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_made_when_the_run_ends() {
    let (layer, handle) = started(always(Fault::Hang).until(Duration::from_secs(40)));
    let began = Instant::now();
    let answer = layer.layer(answering()).oneshot(get("/")).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(40));
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!((handle.status().held, handle.status().run.is_none()), (0, true));
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_a_body_that_fails_at_once() {
    let (layer, _) = started(always(Fault::Reset));
    let answer = layer.layer(answering()).oneshot(get("/")).await.unwrap();
    assert!(!answer.body().is_end_stream());
    // For a layer further out that judges the head.
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
    let error = to_bytes(answer.into_body(), TOO_LONG).await.unwrap_err();
    assert_eq!(Rejection::in_error(ErrorRef::new(&error)).unwrap().reason(), FAULT_INJECTED);
}

#[tokio::test(start_paused = true)]
async fn a_truncated_body_breaks_off_after_so_many_bytes_and_has_the_length_it_had() {
    let pieces = || {
        let pieces = ["well, ", "and long ", "enough"].map(Ok::<_, BoxError>);
        Response::new(Body::from_stream(tokio_stream::iter(pieces)))
    };
    for (after, expected, length) in
        [(0, "", 21), (8, "well, an", 21), (20, "well, and long enoug", 21), (99, "well, and long enoug", 21)]
    {
        let (layer, handle) = started(always(Fault::truncated_body(after)));
        let answer = layer.layer(answering()).oneshot(get("/")).await.unwrap();
        assert_eq!(answer.body().size_hint().exact(), Some(length));
        assert_eq!(read_until_it_fails(answer.into_body()).await, expected);
        assert!(handle.status().injected.contains(&(FaultKind::TruncatedBody, 1)));
    }
    for (after, expected) in [(8, "well, an"), (99, ANSWER)] {
        let (layer, _) = started(always(Fault::truncated_body(after)));
        let service = service_fn(move |_: Request<Body>| async move { Ok::<_, Infallible>(pieces()) });
        let answer = layer.layer(service).oneshot(get("/")).await.unwrap();
        assert_eq!(read_until_it_fails(answer.into_body()).await, expected);
    }
}

async fn read_until_it_fails(mut body: Body) -> String {
    let mut read = Vec::new();
    loop {
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await;
        match frame.expect("it fails before it ends") {
            Ok(frame) => read.extend_from_slice(&frame.into_data().unwrap()),
            Err(error) => {
                assert!(Rejection::in_error(ErrorRef::new(&error)).is_some());
                return String::from_utf8(read).unwrap();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_body_can_not_be_truncated_and_is_not_counted() {
    let (layer, handle) = started(always(Fault::truncated_body(0)));
    let empty = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
    let answer = layer.layer(empty).oneshot(get("/")).await.unwrap();
    assert!(answer.body().is_end_stream());
    assert!(handle.status().injected.contains(&(FaultKind::TruncatedBody, 0)));
}

#[tokio::test(start_paused = true)]
async fn around_a_client_errors_and_resets_are_errors_and_all_else_is_as_usual() {
    for fault in [Fault::Error, Fault::Reset] {
        let layer = armed().reject_as_error().build().unwrap();
        layer.handle().start(always(fault)).unwrap();
        let error = layer.layer(fallible()).oneshot(get("/")).await.unwrap_err();
        assert_eq!(error.downcast_ref::<Rejection>().unwrap().reason(), FAULT_INJECTED);
    }
    let layer = armed().reject_as_error().build().unwrap();
    layer.handle().start(always(Fault::status(StatusCode::BAD_GATEWAY))).unwrap();
    assert_eq!(layer.layer(fallible()).oneshot(get("/")).await.unwrap().status(), StatusCode::BAD_GATEWAY);
    layer.handle().stop("ada", "next").unwrap();
    layer.handle().start(always(Fault::truncated_body(4))).unwrap();
    let answer = layer.layer(fallible()).oneshot(get("/")).await.unwrap();
    assert_eq!(read_until_it_fails(answer.into_body()).await, "well");
}

#[tokio::test(start_paused = true)]
async fn a_plain_service_fails_with_an_error_whatever_the_kind() {
    let failing = [Fault::Error, Fault::status(StatusCode::NOT_FOUND), Fault::Reset, Fault::truncated_body(0)];
    for fault in failing {
        let layer = armed().allow_unsafe_methods().plain().build().unwrap();
        layer.handle().start(always(fault.clone())).unwrap();
        let length = service_fn(|text: &'static str| async move { Ok::<_, BoxError>(text.len()) });
        let error = layer.layer(length).oneshot("seven").await.unwrap_err();
        let rejection = error.downcast_ref::<Rejection>().unwrap();
        let status = if matches!(fault, Fault::Status(_)) { 404 } else { 503 };
        assert_eq!((rejection.reason(), rejection.status().as_u16()), (FAULT_INJECTED, status));
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_fails_with_a_rejection_or_is_called_later() {
    let failing = [Fault::Error, Fault::status(StatusCode::NOT_FOUND), Fault::Reset];
    for fault in failing {
        let (_, handle) = started_for_functions(always(fault));
        let never = || -> std::future::Ready<Result<(), io::Error>> { panic!("called") };
        let error = handle.call(never).await.unwrap_err();
        assert!(matches!(error, CallError::Rejected(it) if it.reason() == FAULT_INJECTED));
    }
    let (_, handle) = started_for_functions(always(Fault::truncated_body(0)));
    let lost = handle.call(async || Ok::<_, io::Error>(7)).await.unwrap_err();
    assert!(lost.rejection().is_some());
    let own = handle.call(async || Err::<(), _>(io::Error::other("its own"))).await.unwrap_err();
    assert!(own.error().is_some());
    assert!(handle.status().injected.contains(&(FaultKind::TruncatedBody, 1)));

    for (fault, seconds) in [(Fault::delay(Duration::from_secs(2)), 2), (Fault::Hang, 60)] {
        let (_, handle) = started_for_functions(always(fault));
        let began = Instant::now();
        assert_eq!(handle.call(async || Ok::<_, io::Error>(7)).await.unwrap(), 7);
        assert_eq!((began.elapsed().as_secs(), handle.status().held), (seconds, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_comes_out_of_the_call() {
    let (layer, handle) = started_for_functions(always(Fault::Panic));
    let mut service = layer.layer(answering());
    let mut call = task::spawn(service.call(get("/")));
    let panic = catch_unwind(AssertUnwindSafe(|| call.poll())).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>().unwrap(), "a fault was injected by edge");
    let mut call = task::spawn(handle.call(async || Ok::<_, io::Error>(7)));
    assert!(catch_unwind(AssertUnwindSafe(|| call.poll())).is_err());
    assert!(!scope::has_injected_fault());
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_hit_are_marked_in_their_scope_inside_and_around_and_others_are_not() {
    for fault in [Fault::Error, Fault::delay(Duration::from_secs(1)), Fault::truncated_body(1)] {
        let (layer, handle) = started(always(fault).path_prefix("/hit"));
        let asking = service_fn(|_: Request<Body>| async {
            let is_hit = Scope::new().enter(scope::has_injected_fault);
            Ok::<_, Infallible>(Response::new(Body::from(is_hit.to_string())))
        });
        for (path, hit) in [("/hit", true), ("/other", false)] {
            let mut outer = Scope::new();
            let mut call = task::spawn(layer.layer(asking).oneshot(get(path)));
            if outer.enter(|| call.poll()).is_pending() {
                tokio::time::advance(Duration::from_secs(1)).await;
                let answer = outer.enter(|| assert_ready!(call.poll())).unwrap();
                assert_eq!(to_bytes(answer.into_body(), TOO_LONG).await.unwrap(), hit.to_string());
            }
            assert_eq!(outer.has_injected_fault(), hit, "{path}");
        }
        handle.stop("ada", "done").unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_injected_error_counts_as_a_transports_error_for_the_default_classifier() {
    use backstop_core::Classify;

    let layer = armed().reject_as_error().build().unwrap();
    layer.handle().start(always(Fault::Error)).unwrap();
    let error = layer.layer(fallible()).oneshot(get("/")).await.unwrap_err();
    let outcome = HttpClassify::new().classify(Err::<&Response<Body>, _>(ErrorRef::new(&error)));
    assert_eq!((outcome.verdict, outcome.transient, outcome.unprocessed), (Verdict::Failure, true, false));
}

/// Remembers whether it was dropped inside a call that is hit.
struct Dropped<'a>(&'a Cell<Option<bool>>);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.set(Some(scope::has_injected_fault()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_hit_is_dropped_as_one_that_is_hit() {
    let (layer, handle) = started_for_functions(always(Fault::delay(Duration::from_secs(1))));
    let was_hit = Cell::new(None);
    let service = service_fn(|_: Request<Body>| async {
        let _dropped = Dropped(&was_hit);
        std::future::pending::<Result<Response<Body>, Infallible>>().await
    });
    let mut call = task::spawn(layer.layer(service).oneshot(get("/")));
    assert!(call.poll().is_pending());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(call.poll().is_pending());
    drop(call);
    assert_eq!(was_hit.take(), Some(true));

    handle.stop("ada", "next").unwrap();
    handle.start(always(Fault::delay(Duration::from_secs(1)))).unwrap();
    let mut call = task::spawn(handle.call(async || {
        let _dropped = Dropped(&was_hit);
        std::future::pending::<io::Result<()>>().await
    }));
    assert!(call.poll().is_pending());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(call.poll().is_pending());
    drop(call);
    assert_eq!(was_hit.take(), Some(true));
}
