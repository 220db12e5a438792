//! Which limit a request gets at the edge, and whose it is.

#![allow(clippy::panic, clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use backstop_core::{Outcome, Reason, Rejection, SetBy, scope};
use backstop_kit::{Elapsed, Progress};
use backstop_timeout::{DeadlineBuilder, DeadlineConfig, DeadlineHeader, DeadlineLayer, name, time_left};
use http::{HeaderName, Request, Response, StatusCode, Version};
use proptest::prelude::*;
use tokio::time::{Instant, sleep};
use tower::{BoxError, Layer, ServiceExt, service_fn};

const LIMIT: Duration = Duration::from_secs(5);
const ENVOY: &str = "x-envoy-expected-rq-timeout-ms";

fn builder() -> DeadlineBuilder {
    DeadlineLayer::builder("edge").limit(LIMIT)
}

fn layer() -> DeadlineLayer {
    builder().build().unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn get(headers: &[(&str, &str)]) -> Request<()> {
    headers.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
}

fn grpc(timeout: &str) -> Request<()> {
    let request = Request::post("/a.B/C").version(Version::HTTP_2).header("content-type", "application/grpc");
    request.header("grpc-timeout", timeout).body(()).unwrap()
}

/// How a call that hangs ends: after how long, and how.
async fn ends(layer: &DeadlineLayer, request: Request<()>) -> (Duration, Response<String>) {
    let begun = Instant::now();
    let hung = layer.layer(service_fn(|_: Request<()>| std::future::pending::<Result<Response<String>, Infallible>>()));
    let response = hung.oneshot(request).await.unwrap();
    (begun.elapsed(), response)
}

fn rejection<B>(response: &Response<B>) -> (&str, SetBy, Progress) {
    let rejection: &Rejection = response.extensions().get().unwrap();
    let elapsed: &Elapsed = rejection.detail().unwrap();
    (rejection.by().as_str(), elapsed.set_by, elapsed.progress)
}

#[tokio::test(start_paused = true)]
async fn without_a_word_of_the_caller_the_local_limit_binds() {
    let (took, response) = ends(&layer(), get(&[])).await;
    assert_eq!(took, LIMIT);
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(rejection(&response), ("edge", SetBy::Us, Progress::Called));
    let (took, _) = ends(&DeadlineLayer::new(name!("edge")), get(&[])).await;
    assert_eq!(took, Duration::from_secs(15), "Envoy's default");
    assert_eq!(DeadlineConfig::new("edge").limit, Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn a_grpc_callers_timeout_is_honoured_and_its_own() {
    let (took, response) = ends(&layer(), grpc("250m")).await;
    assert_eq!(took, ms(250));
    assert_eq!((response.status(), &response.headers()["grpc-status"]), (StatusCode::OK, &"4".parse().unwrap()));
    assert_eq!(rejection(&response), ("edge", SetBy::Caller, Progress::Called));
    let outcome = response.extensions().get::<Rejection>().unwrap().outcome();
    assert_eq!(outcome, Outcome::neutral());
}

#[tokio::test(start_paused = true)]
async fn a_longer_or_equal_timeout_of_the_caller_excuses_nothing() {
    for timeout in ["5S", "6S", "99999999H"] {
        let (took, response) = ends(&layer(), grpc(timeout)).await;
        assert_eq!((took, rejection(&response).1), (LIMIT, SetBy::Us), "{timeout}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_trusted_is_not_believed() {
    let custom = HeaderName::from_static("connect-timeout-ms");
    for (trust, header, value, expected) in [
        (None, ENVOY, "100", LIMIT),
        (None, "grpc-timeout", "100m", LIMIT),
        (None, "connect-timeout-ms", "100", LIMIT),
        (Some(DeadlineHeader::EnvoyExpectedRqTimeoutMs), ENVOY, "100", ms(100)),
        (Some(DeadlineHeader::EnvoyExpectedRqTimeoutMs), "grpc-timeout", "100m", LIMIT),
        (Some(DeadlineHeader::Milliseconds(custom)), "connect-timeout-ms", "100", ms(100)),
        (Some(DeadlineHeader::GrpcTimeout), "grpc-timeout", "100m", ms(100)),
    ] {
        let builder = trust.clone().into_iter().fold(builder(), DeadlineBuilder::trust);
        let (took, _) = ends(&builder.build().unwrap(), get(&[(header, value)])).await;
        assert_eq!(took, expected, "trusting {trust:?}, sent {header}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_all_that_is_believed_the_smallest_counts() {
    let layer = builder().trust(DeadlineHeader::EnvoyExpectedRqTimeoutMs).build().unwrap();
    for (envoy, timeout, expected) in [("100", "300m", ms(100)), ("300", "100m", ms(100)), ("x", "200m", ms(200))] {
        let mut request = grpc(timeout);
        request.headers_mut().insert(ENVOY, envoy.parse().unwrap());
        assert_eq!(ends(&layer, request).await.0, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_ignored() {
    for timeout in ["", "1", "-1m", "1.5S", "123456789m", "soon", "100m, 100m"] {
        let (took, response) = ends(&layer(), grpc(timeout)).await;
        assert_eq!((took, rejection(&response).1), (LIMIT, SetBy::Us), "{timeout:?}");
    }
    let layer = builder().trust(DeadlineHeader::EnvoyExpectedRqTimeoutMs).build().unwrap();
    for bad in [&["-1"][..], &["1e3"], &["99999999999999999999999"], &["100", "200"]] {
        let headers: Vec<_> = bad.iter().map(|value| (ENVOY, *value)).collect();
        assert_eq!(ends(&layer, get(&headers)).await.0, LIMIT, "{bad:?}");
    }
    assert_eq!(ends(&layer, get(&[(ENVOY, "100"), (ENVOY, "100")])).await.0, ms(100), "said twice");
}

#[tokio::test(start_paused = true)]
async fn envoys_zero_is_no_limit_and_any_other_zero_is_no_time() {
    let custom = HeaderName::from_static("connect-timeout-ms");
    let edge = builder().trust(DeadlineHeader::EnvoyExpectedRqTimeoutMs).trust(DeadlineHeader::Milliseconds(custom));
    let edge = edge.build().unwrap();
    for none in ["0", "000"] {
        let (took, response) = ends(&edge, get(&[(ENVOY, none)])).await;
        assert_eq!((took, rejection(&response)), (LIMIT, ("edge", SetBy::Us, Progress::Called)), "{none}");
    }
    // What else was said counts.
    assert_eq!(ends(&edge, get(&[(ENVOY, "0"), ("connect-timeout-ms", "100")])).await.0, ms(100));
    let (took, response) = ends(&edge, get(&[("connect-timeout-ms", "0")])).await;
    assert_eq!((took, rejection(&response)), (ms(0), ("edge", SetBy::Caller, Progress::NotAsked)));
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_time_is_up_is_refused_without_calling_the_service() {
    let calls = AtomicUsize::new(0);
    let service = layer().layer(service_fn(|_: Request<()>| {
        calls.fetch_add(1, Relaxed);
        async { Ok::<_, Infallible>(Response::new(String::new())) }
    }));
    let response = service.clone().oneshot(grpc("0n")).await.unwrap();
    assert_eq!(rejection(&response), ("edge", SetBy::Caller, Progress::NotAsked));

    // And one that comes too late into a deadline further out.
    let late = service_fn(|request| {
        let service = service.clone();
        async move {
            sleep(ms(200)).await;
            service.oneshot(request).await
        }
    });
    let response = builder().limit(ms(200)).build().unwrap().layer(late).oneshot(get(&[])).await.unwrap();
    assert_eq!(rejection(&response), ("edge", SetBy::Us, Progress::NotAsked));
    assert_eq!(calls.load(Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_is_passed_on_as_it_is_even_in_the_last_moment() {
    for takes in [ms(0), ms(4_999), ms(5_000)] {
        let slow = layer().layer(service_fn(move |_: Request<()>| async move {
            sleep(takes).await;
            Ok::<_, Infallible>(Response::new("well".to_owned()))
        }));
        assert_eq!(slow.oneshot(get(&[])).await.unwrap().body(), "well", "{takes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_can_tell_how_much_time_is_left() {
    let handler = service_fn(|_: Request<()>| async {
        sleep(ms(100)).await;
        Ok::<_, Infallible>(Response::new(format!("{:?} {:?}", time_left(), scope::deadline().unwrap().set_by())))
    });
    let ask = |request| layer().layer(handler).oneshot(request);
    assert_eq!(ask(get(&[])).await.unwrap().into_body(), "Some(4.9s) Us");
    assert_eq!(ask(grpc("250m")).await.unwrap().into_body(), "Some(150ms) Caller");
}

#[test]
fn what_cannot_work_is_refused() {
    let limit = |limit| DeadlineLayer::builder("edge").limit(limit).build().map(drop);
    for good in [ms(1), Duration::from_secs(24 * 3600)] {
        assert_eq!(limit(good), Ok(()));
    }
    for bad in [Duration::ZERO, Duration::from_micros(999), Duration::from_secs(24 * 3600) + ms(1), Duration::MAX] {
        assert_eq!(limit(bad).unwrap_err().field, "limit", "{bad:?}");
    }
    assert_eq!(DeadlineLayer::builder("the edge").build().map(drop).unwrap_err().field, "name");

    let envoy = DeadlineHeader::EnvoyExpectedRqTimeoutMs;
    let again = DeadlineHeader::Milliseconds(HeaderName::from_static(ENVOY));
    let error = builder().trust(envoy.clone()).trust(again).build().map(drop).unwrap_err();
    assert_eq!(error.to_string(), format!("trust is {ENVOY}, allowed is: each header once"));

    let mut config = DeadlineConfig::new("edge");
    config.trust = vec![envoy.clone(), envoy];
    assert_eq!(DeadlineLayer::from_config(config).map(drop).unwrap_err().field, "trust");
}

#[tokio::test(start_paused = true)]
async fn services_that_cannot_hold_a_response_of_ours_are_rejected_in_their_own_types() {
    struct NoDefault;
    let hung = service_fn(|_: Request<()>| std::future::pending::<Result<Response<NoDefault>, BoxError>>());
    let error = builder().reject_as_error().build().unwrap().layer(hung).oneshot(get(&[])).await.map(drop).unwrap_err();
    assert!(error.downcast::<Rejection>().unwrap().reason() == Reason::TIMEOUT);
    let with = builder().reject_with(|r: Rejection| Err(r.to_string())).build().unwrap();
    let hung = service_fn(|_: Request<()>| std::future::pending::<Result<Response<NoDefault>, String>>());
    assert_eq!(with.layer(hung).oneshot(get(&[])).await.map(drop).unwrap_err(), "edge took too long");
}

/// A deadline layer of a nested stack: its limit, and what the caller says there, in milliseconds.
type Level = (u64, Option<u64>);

fn level() -> impl Strategy<Value = Level> {
    (1_u64..50, proptest::option::of(0_u64..50))
}

proptest! {
    /// Whatever is nested in whatever: the call ends at the earliest limit, and is told to be the one's who set it.
    #[test]
    fn nested_deadlines_take_the_smallest_and_remember_whose_it_is(outer in level(), middle in level(), inner in level()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let levels = [outer, middle, inner];
        let names = ["a-ms", "b-ms", "c-ms"];
        let layer = |i: usize| {
            let header = DeadlineHeader::Milliseconds(HeaderName::from_static(names[i]));
            DeadlineLayer::builder("edge").limit(ms(levels[i].0)).trust(header).build().unwrap()
        };
        let sent: Vec<_> = levels.iter().zip(names).filter_map(|((_, ms), name)| Some((name, (*ms)?.to_string()))).collect();
        let headers: Vec<_> = sent.iter().map(|(name, value)| (*name, value.as_str())).collect();

        let ours = levels.iter().map(|(limit, _)| *limit).min().unwrap();
        let callers = levels.iter().filter_map(|(_, sent)| *sent).min().filter(|sent| *sent < ours);
        let (expected, set_by) = callers.map_or((ours, SetBy::Us), |sent| (sent, SetBy::Caller));

        let (took, set_by_seen, seen) = runtime.block_on(async {
            let begun = Instant::now();
            let seen = std::sync::Mutex::new(None);
            let hung = service_fn(|_: Request<()>| {
                *seen.lock().unwrap() = scope::deadline().map(|deadline| (deadline.left(), deadline.set_by()));
                std::future::pending::<Result<Response<String>, Infallible>>()
            });
            let stack = layer(0).layer(layer(1).layer(layer(2).layer(hung)));
            let response = stack.oneshot(get(&headers)).await.unwrap();
            let seen = *seen.lock().unwrap();
            (begun.elapsed(), rejection(&response).1, seen)
        });
        prop_assert_eq!((took, set_by_seen), (ms(expected), set_by));
        prop_assert_eq!(seen, (expected > 0).then_some((ms(expected), set_by)), "what the innermost call was told");
    }
}
