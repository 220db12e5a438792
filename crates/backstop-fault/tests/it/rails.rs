//! What keeps faults from doing harm.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::body::Body;
use backstop_fault::{
    Ended, Fault, FaultConfig, FaultHandle, FaultKind, FaultLayer, FaultRun, Level, Refusal, StatusFault, name,
};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use tokio::time::advance;
use tokio_stream::StreamExt;
use tower::{BoxError, Layer, Service as _, ServiceExt};

use crate::support::{ANSWER, always, answering, armed, get, is_hit, started, started_for_functions, status};

const SECOND: Duration = Duration::from_secs(1);

fn last(handle: &FaultHandle) -> Option<Ended> {
    handle.status().last.map(|last| last.why)
}

#[test]
fn a_layer_that_is_not_armed_starts_nothing() {
    let handle = FaultLayer::new(name!("edge")).handle();
    assert_eq!(handle.start(always(Fault::Error)).unwrap_err(), Refusal::NotArmed);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_not_allowed_is_refused_by_field() {
    let handle = FaultLayer::builder("edge").arm().without_health().build().unwrap().handle();
    let run = |share| FaultRun::new(Fault::Error, share, "ada", "a game day");
    let delay = |from, to| FaultRun::new(Fault::Delay(from..=to), 0.05, "ada", "a game day");
    let header = |name: &'static str| {
        let fault = StatusFault::new(StatusCode::BAD_GATEWAY)
            .header(HeaderName::from_static(name), HeaderValue::from_static("5"));
        FaultRun::new(fault, 0.05, "ada", "a game day")
    };
    let status =
        |status: u16| FaultRun::new(Fault::status(StatusCode::from_u16(status).unwrap()), 0.05, "ada", "a game day");
    for (run, field) in [
        (run(0.0), "share"),
        (run(0.051), "share"),
        (run(f64::NAN), "share"),
        (run(0.05).until(SECOND / 2), "until"),
        (run(0.05).until(901 * SECOND), "until"),
        (FaultRun::new(Fault::Error, 0.05, " ", "a game day"), "who"),
        (FaultRun::new(Fault::Error, 0.05, "ada", "two\nlines"), "reason"),
        (run(0.05).method(Method::POST), "method"),
        (run(0.05).path_prefix("api"), "path_prefix"),
        (run(0.05).path_prefix("/admin/users"), "path_prefix"),
        (delay(Duration::ZERO, SECOND), "delay"),
        (delay(SECOND, 61 * SECOND), "delay"),
        (delay(2 * SECOND, SECOND), "delay"),
        (status(200), "status"),
        (status(302), "status"),
        (header("content-length"), "header"),
        (header("transfer-encoding"), "header"),
        (header("connection"), "header"),
        (header("upgrade"), "header"),
        (header("grpc-status"), "header"),
    ] {
        match handle.start(run) {
            Err(Refusal::Invalid(error)) => assert_eq!(error.field, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    handle.start(run(0.05).until(900 * SECOND)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_at_its_time_whether_anybody_calls_or_not() {
    for calls in [true, false] {
        let (layer, handle) = started(always(Fault::Error).until(10 * SECOND));
        advance(10 * SECOND - Duration::from_millis(1)).await;
        assert!(is_hit(&layer, get("/")).await);
        advance(Duration::from_millis(1)).await;
        assert!(!calls || !is_hit(&layer, get("/")).await);
        let status = handle.status();
        assert!(status.run.is_none());
        assert_eq!(status.last.map(|last| (last.why, last.hits, last.duration)), Some((Ended::Until, 1, 10 * SECOND)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_without_a_heartbeat_ends_after_60_s() {
    let (layer, handle) = started(always(Fault::Error).until(900 * SECOND));
    let run = handle.status().run.unwrap().id;
    for _ in 0..3 {
        advance(59 * SECOND).await;
        assert!(handle.heartbeat(run));
    }
    advance(59 * SECOND).await;
    assert!(is_hit(&layer, get("/")).await);
    advance(SECOND).await;
    assert!(!is_hit(&layer, get("/")).await);
    assert_eq!(last(&handle), Some(Ended::NoHeartbeat));
    assert!(!handle.heartbeat(run), "a run that has ended doesn't come back");
    let next = handle.start(always(Fault::Error)).unwrap();
    assert!(next > run && !handle.heartbeat(run) && handle.heartbeat(next));
}

#[tokio::test(start_paused = true)]
async fn one_run_runs_at_a_time_and_is_stopped_by_an_operator() {
    let (layer, handle) = started(always(Fault::Error));
    let run = handle.status().run.unwrap().id;
    assert_eq!(handle.start(always(Fault::Hang)).unwrap_err(), Refusal::Running(run));
    assert_eq!(handle.stop("", "").unwrap_err().field, "who");
    assert!(is_hit(&layer, get("/")).await);
    assert_eq!(handle.stop("ada", "seen enough"), Ok(Some(run)));
    assert!(!is_hit(&layer, get("/")).await);
    assert_eq!((handle.stop("ada", "again"), last(&handle)), (Ok(None), Some(Ended::Stopped)));
}

/// What a test sets, and a layer follows.
#[derive(Clone, Default)]
struct Service {
    is_degraded: Arc<AtomicBool>,
    drains: Arc<AtomicBool>,
    is_met: Arc<AtomicBool>,
    exhausted: Arc<AtomicU64>,
}

impl Service {
    fn layer(&self) -> FaultLayer {
        let [degraded, drains, met] = [&self.is_degraded, &self.drains, &self.is_met].map(Arc::clone);
        let exhausted = Arc::clone(&self.exhausted);
        FaultLayer::builder("edge")
            .arm()
            .max_share(1.0)
            .level(move || if degraded.load(Relaxed) { Level::Degraded } else { Level::Healthy })
            .draining(move || drains.load(Relaxed))
            .abort_when(name!("budget"), move || met.load(Relaxed))
            .abort_when_grows(name!("recs"), move || exhausted.load(Relaxed))
            .build()
            .unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_well_refuses_runs_and_ends_them_before_the_next_call_is_hit() {
    type Set = fn(&Service) -> &AtomicBool;
    let states: [(Set, Refusal, Ended); 3] = [
        (|it| &it.is_degraded, Refusal::Level(Level::Degraded), Ended::Level(Level::Degraded)),
        (|it| &it.drains, Refusal::Draining, Ended::Draining),
        (|it| &it.is_met, Refusal::Condition(name!("budget")), Ended::Condition(name!("budget"))),
    ];
    for (state, refusal, ended) in states {
        let service = Service::default();
        let (layer, set) = (service.layer(), state(&service));
        let handle = layer.handle();
        set.store(true, Relaxed);
        assert_eq!(handle.start(always(Fault::Error)).unwrap_err(), refusal);
        set.store(false, Relaxed);
        handle.start(always(Fault::Error)).unwrap();
        assert!(is_hit(&layer, get("/")).await);
        set.store(true, Relaxed);
        assert!(!is_hit(&layer, get("/")).await);
        assert_eq!(last(&handle), Some(ended));
        // It doesn't come back by itself.
        set.store(false, Relaxed);
        assert!(!is_hit(&layer, get("/")).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_count_that_grows_ends_a_run_and_what_was_counted_before_does_not() {
    let service = Service::default();
    service.exhausted.store(7, Relaxed);
    let layer = service.layer();
    let handle = layer.handle();
    handle.start(always(Fault::Error)).unwrap();
    assert!(is_hit(&layer, get("/")).await);
    // A count that begins anew.
    service.exhausted.store(0, Relaxed);
    assert!(is_hit(&layer, get("/")).await);
    service.exhausted.store(1, Relaxed);
    assert!(!is_hit(&layer, get("/")).await);
    assert_eq!(last(&handle), Some(Ended::Condition(name!("recs"))));
    handle.start(always(Fault::Error)).unwrap();
    assert!(is_hit(&layer, get("/")).await);
}

#[tokio::test(start_paused = true)]
async fn health_and_admin_routes_are_never_hit_nor_what_was_added() {
    let layer = armed().never_on("/internal").build().unwrap();
    let mut config = FaultConfig::new("edge");
    (config.armed, config.max_share, config.never_on) = (true, 1.0, vec!["/internal".into()]);
    layer.handle().reload(config).unwrap();
    layer.handle().start(always(Fault::Error)).unwrap();
    for path in ["/health", "/health/db", "/livez", "/readyz", "/admin", "/admin/faults", "/internal/x"] {
        assert_eq!(status(&layer, path).await, StatusCode::OK, "{path}");
    }
    for path in ["/", "/healthy", "/api/health"] {
        assert_ne!(status(&layer, path).await, StatusCode::OK, "{path}");
    }
    assert_eq!(layer.handle().status().run.unwrap().calls, 3);
}

#[tokio::test(start_paused = true)]
async fn a_method_that_is_not_safe_is_hit_only_if_the_build_allows_it() {
    let request = |method: &Method| Request::builder().method(method).uri("/").body(Body::empty()).unwrap();
    let (layer, _) = started(always(Fault::Error));
    let allowing = armed().allow_unsafe_methods().build().unwrap();
    allowing.handle().start(always(Fault::Error)).unwrap();
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::CONNECT] {
        assert!(!is_hit(&layer, request(&method)).await, "{method}");
        assert!(is_hit(&allowing, request(&method)).await, "{method}");
    }
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
        assert!(is_hit(&layer, request(&method)).await, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_hits_only_what_it_names() {
    let run = always(Fault::Error)
        .method(Method::GET)
        .path_prefix("/api")
        .header("x-canary".parse().unwrap(), "1".parse().unwrap());
    let (layer, handle) = started(run);
    let request = |method: &Method, path: &str, canary: &str| {
        let request = Request::builder().method(method).uri(path).header("x-canary", canary);
        request.body(Body::empty()).unwrap()
    };
    assert!(is_hit(&layer, request(&Method::GET, "/api/items", "1")).await);
    assert!(!is_hit(&layer, request(&Method::HEAD, "/api/items", "1")).await);
    assert!(!is_hit(&layer, request(&Method::GET, "/apis", "1")).await);
    assert!(!is_hit(&layer, request(&Method::GET, "/api", "2")).await);
    assert!(!is_hit(&layer, get("/api")).await);
    assert_eq!(handle.status().run.unwrap().calls, 1);
    // A function has none of these.
    let (_, handle) = started_for_functions(always(Fault::Error).path_prefix("/"));
    assert!(handle.call(async || Ok::<_, std::io::Error>(7)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_request_is_hit_only_if_the_build_allows_unsafe_methods() {
    let length = tower::service_fn(|text: &'static str| async move { Ok::<_, BoxError>(text.len()) });
    for is_allowed in [false, true] {
        let builder = || if is_allowed { armed().allow_unsafe_methods() } else { armed() };
        let functions = builder().build().unwrap().handle();
        functions.start(always(Fault::truncated_body(0))).unwrap();
        assert_eq!(functions.call(async || Ok::<_, std::io::Error>(7)).await.is_err(), is_allowed);
        let layer = builder().plain().build().unwrap();
        layer.handle().start(always(Fault::Error)).unwrap();
        assert_eq!(layer.layer(length).oneshot("seven").await.is_err(), is_allowed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_request_is_not_hit_by_what_fails_the_body_of_an_answer() {
    for fault in [Fault::Reset, Fault::truncated_body(0)] {
        let (layer, handle) = started(always(fault.clone()));
        let head = Request::head("/").body(Body::empty()).unwrap();
        assert!(!is_hit(&layer, head).await);
        assert_eq!(handle.status().run.unwrap().calls, 0);
        handle.stop("ada", "next").unwrap();
        let refusal = handle.start(always(fault).method(Method::HEAD)).unwrap_err();
        assert!(matches!(refusal, Refusal::Invalid(error) if error.field == "method"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_allows_less_ends_the_run_and_one_that_does_not_changes_nothing_of_it() {
    let (layer, handle) = started(always(Fault::Error));
    let config = |max_share, never_on: &'static str| {
        let mut config = FaultConfig::new("edge");
        (config.armed, config.max_share) = (true, max_share);
        config.never_on.push(never_on.into());
        config
    };
    handle.reload(config(1.0, "/quiet")).unwrap();
    assert!(!is_hit(&layer, get("/quiet")).await && is_hit(&layer, get("/")).await);
    handle.reload(config(0.99, "/quiet")).unwrap();
    assert!(!is_hit(&layer, get("/")).await);
    assert_eq!(last(&handle), Some(Ended::Reloaded));
    assert!(matches!(handle.start(always(Fault::Error)), Err(Refusal::Invalid(error)) if error.field == "share"));
}

#[tokio::test(start_paused = true)]
async fn counts_of_one_layer_do_not_hide_from_another_one_of_the_same_builder_that_a_count_grew() {
    let exhausted = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&exhausted);
    let builder = armed().abort_when_grows(name!("recs"), move || count.load(Relaxed));
    let (one, other) = (builder.clone().build().unwrap(), builder.build().unwrap());
    one.handle().start(always(Fault::Error)).unwrap();
    exhausted.store(1, Relaxed);
    other.handle().start(always(Fault::Error)).unwrap();
    assert!(!is_hit(&one, get("/")).await && is_hit(&other, get("/")).await);
    assert_eq!(last(&one.handle()), Some(Ended::Condition(name!("recs"))));
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_panics_refuses_and_ends_runs_and_makes_no_call_panic() {
    let panics = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&panics);
    let layer = armed().abort_when(name!("budget"), move || asked.load(Relaxed).then(|| panic!("a bug")).is_some());
    let layer = layer.build().unwrap();
    let handle = layer.handle();
    assert_eq!(handle.start(always(Fault::Error)).unwrap_err(), Refusal::Panicked);
    panics.store(false, Relaxed);
    handle.start(always(Fault::Error)).unwrap();
    assert!(is_hit(&layer, get("/")).await);
    panics.store(true, Relaxed);
    assert!(!is_hit(&layer, get("/")).await);
    assert_eq!(last(&handle), Some(Ended::Panicked));
    panics.store(false, Relaxed);
    let run = handle.start(always(Fault::Error)).unwrap();
    panics.store(true, Relaxed);
    assert_eq!(handle.stop("ada", "seen enough"), Ok(Some(run)));
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_not_hit_ask_for_the_conditions_once_a_second_and_health_routes_never() {
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let layer = FaultLayer::builder("edge").arm().max_share(1.0).level(move || {
        count.fetch_add(1, Relaxed);
        Level::Healthy
    });
    let layer = layer.build().unwrap();
    layer.handle().start(always(Fault::Error).path_prefix("/hit")).unwrap();
    for seconds in [0, 1, 1_u32] {
        advance(SECOND * seconds).await;
        asked.store(0, Relaxed);
        for _ in 0..5 {
            assert!(!is_hit(&layer, get("/health")).await);
        }
        assert_eq!(asked.load(Relaxed), 0);
        for _ in 0..5 {
            assert!(!is_hit(&layer, get("/")).await);
        }
        assert_eq!(asked.load(Relaxed), u64::from(seconds));
    }
    asked.store(0, Relaxed);
    assert!(is_hit(&layer, get("/hit")).await);
    assert_ne!(asked.load(Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_run_ends_before_it_fails_is_made_and_not_counted() {
    let faults = [Fault::Error, Fault::status(StatusCode::BAD_GATEWAY), Fault::Reset, Fault::Panic];
    for fault in faults.into_iter().chain([Fault::truncated_body(1)]) {
        let (layer, handle) = started_for_functions(always(fault));
        let mut call = Box::pin(layer.layer(answering()).call(get("/")));
        let function = handle.call(async || Ok::<_, std::io::Error>(7));
        handle.stop("ada", "enough").unwrap();
        assert_eq!(function.await.unwrap(), 7);
        let answer = call.as_mut().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(axum::body::to_bytes(answer.into_body(), 1024).await.unwrap(), ANSWER);
        assert!(handle.status().injected.iter().all(|(_, calls)| *calls == 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_whose_run_ends_before_it_breaks_off_is_sent_whole() {
    let pieces = ["well, ", "and long ", "enough"];
    for (after, read_before) in [(7, 1), (15, 1), (99, 3)] {
        let (layer, handle) = started(always(Fault::truncated_body(after)));
        let service = tower::service_fn(move |_: Request<Body>| async move {
            let pieces = tokio_stream::iter(pieces.map(Ok::<_, BoxError>));
            Ok::<_, std::convert::Infallible>(http::Response::new(Body::from_stream(pieces)))
        });
        let mut body = layer.layer(service).oneshot(get("/")).await.unwrap().into_body().into_data_stream();
        let mut read = Vec::new();
        for piece in 0..=pieces.len() {
            if piece == read_before {
                handle.stop("ada", "enough").unwrap();
            }
            read.extend(body.next().await.transpose().unwrap());
        }
        assert_eq!(read.concat(), pieces.concat().as_bytes(), "{after}");
        assert!(handle.status().injected.contains(&(FaultKind::TruncatedBody, 0)));
    }
}
