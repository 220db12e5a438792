//! What the next service is told, and what its giving up counts as.

#![allow(clippy::panic, clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{convert::Infallible, time::Duration};

use backstop_core::{
    Classify, Deadline, ErrorRef, HttpClassify, Limit, Outcome, Reason, Rejection, Scope, SetBy, Verdict,
    scope::{self, InScope, ScopeHandle},
};
use backstop_kit::{Elapsed, Progress};
use backstop_timeout::{
    DeadlineHeader, PropagateDeadlineBuilder, PropagateDeadlineConfig, PropagateDeadlineLayer, TimeoutLayer, name,
};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use proptest::prelude::*;
use tokio::time::sleep;
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn};

const ENVOY: &str = "x-envoy-expected-rq-timeout-ms";

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn layer() -> PropagateDeadlineLayer {
    PropagateDeadlineLayer::new(name!("ml_service"))
}

fn builder() -> PropagateDeadlineBuilder {
    PropagateDeadlineLayer::builder("ml_service")
}

fn within(limit: Duration, set_by: SetBy) -> ScopeHandle {
    Scope::narrowed(Deadline::after(limit, set_by)).enter(scope::handle)
}

fn grpc() -> Request<()> {
    let request = Request::post("/a.B/C").version(Version::HTTP_2);
    request.header("content-type", "application/grpc+proto").body(()).unwrap()
}

fn get() -> Request<()> {
    Request::new(())
}

/// The values of `header` as they arrive at the next service; `Err` where the call was rejected.
async fn told(
    layer: &PropagateDeadlineLayer,
    request: Request<()>,
    header: &str,
    scope: Option<ScopeHandle>,
) -> Result<Vec<HeaderValue>, Rejection> {
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        let mut response = Response::new(String::new());
        *response.headers_mut() = request.headers().clone();
        Ok::<_, Infallible>(response)
    }));
    let call = service.oneshot(request);
    let response = match scope {
        Some(scope) => call.in_scope(scope).await,
        None => call.await,
    }
    .unwrap();
    match response.extensions().get::<Rejection>() {
        Some(rejection) => Err(rejection.clone()),
        None => Ok(response.headers().get_all(header).into_iter().cloned().collect()),
    }
}

#[tokio::test(start_paused = true)]
async fn a_grpc_request_is_told_what_is_left_less_the_margin() {
    let scope = || Some(within(ms(250), SetBy::Us));
    assert_eq!(told(&layer(), grpc(), "grpc-timeout", scope()).await.unwrap(), ["240000u"]);
    let all = builder().margin(Duration::ZERO).build().unwrap();
    assert_eq!(told(&all, grpc(), "grpc-timeout", scope()).await.unwrap(), ["250000u"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_nothing_is_told() {
    let send = builder().send(DeadlineHeader::EnvoyExpectedRqTimeoutMs).build().unwrap();
    for header in ["grpc-timeout", ENVOY] {
        assert_eq!(told(&send, grpc(), header, None).await.unwrap(), [""; 0]);
    }
}

/// A `Buffer` calls what is inside of it in a task of its own.
#[tokio::test(start_paused = true)]
async fn around_a_buffer_the_deadline_is_sent_and_inside_only_a_limit_that_is_inside_too() {
    async fn echo(request: Request<()>) -> Result<Response<String>, BoxError> {
        let mut response = Response::new(String::new());
        *response.headers_mut() = request.headers().clone();
        Ok(response)
    }
    let propagate = || builder().send(DeadlineHeader::EnvoyExpectedRqTimeoutMs).reject_as_error().build().unwrap();
    let timeout = TimeoutLayer::builder("ml_service").limit(ms(100)).reject_as_error().build().unwrap();
    let scope = || within(ms(250), SetBy::Caller);

    let around = ServiceBuilder::new().layer(propagate()).buffer(1).service_fn(echo);
    let response = around.oneshot(get()).in_scope(scope()).await.unwrap();
    assert_eq!(response.headers()[ENVOY], "240");

    let inside = ServiceBuilder::new().buffer(1).layer(propagate()).service_fn(echo);
    let response = inside.oneshot(get()).in_scope(scope()).await.unwrap();
    assert_eq!(response.headers().get(ENVOY), None);

    let with_a_timeout = ServiceBuilder::new().buffer(1).layer(timeout).layer(propagate()).service_fn(echo);
    let response = with_a_timeout.oneshot(get()).in_scope(scope()).await.unwrap();
    assert_eq!(response.headers()[ENVOY], "90");
}

#[tokio::test(start_paused = true)]
async fn other_requests_are_told_in_the_headers_that_were_chosen() {
    let scope = || Some(within(Duration::from_micros(250_999), SetBy::Us));
    for header in ["grpc-timeout", ENVOY] {
        assert_eq!(told(&layer(), get(), header, scope()).await.unwrap(), [""; 0]);
    }
    let custom = DeadlineHeader::Milliseconds(HeaderName::from_static("connect-timeout-ms"));
    let both = builder().send(DeadlineHeader::EnvoyExpectedRqTimeoutMs).send(custom).build().unwrap();
    for header in [ENVOY, "connect-timeout-ms"] {
        assert_eq!(told(&both, get(), header, scope()).await.unwrap(), ["240"], "rounded down");
        assert_eq!(told(&both, grpc(), header, scope()).await.unwrap(), ["240"], "on gRPC requests, too");
    }
    let web = builder().send(DeadlineHeader::GrpcTimeout).build().unwrap();
    assert_eq!(told(&web, get(), "grpc-timeout", scope()).await.unwrap(), ["240999u"]);
    assert_eq!(told(&web, grpc(), "grpc-timeout", scope()).await.unwrap(), ["240999u"]);
}

#[tokio::test(start_paused = true)]
async fn a_shorter_limit_of_the_request_stays_and_whatever_else_it_says_goes() {
    for (own, expected) in [
        (&["100m"][..], "100m"),
        (&["240m"], "240m"),
        (&["241m"], "240000u"),
        (&["1H"], "240000u"),
        (&["soon"], "240000u"),
        (&["100m", "200m"], "240000u"),
        (&["1H", "2H"], "240000u"),
    ] {
        let mut request = grpc();
        for value in own {
            request.headers_mut().append("grpc-timeout", HeaderValue::from_static(value));
        }
        let scope = Some(within(ms(250), SetBy::Us));
        assert_eq!(told(&layer(), request, "grpc-timeout", scope).await.unwrap(), [expected], "{own:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_started_only_for_a_request_that_is_told_about_it() {
    for (request, starts) in [(get(), false), (grpc(), true)] {
        let service =
            layer().layer(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) }));
        let mut scope = Scope::limited(Limit::new(ms(250), SetBy::Us));
        let call = scope.enter(|| service.oneshot(request));
        let mut call = std::pin::pin!(call);
        let polled = scope.enter(|| call.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())));
        assert!(polled.is_ready());
        assert_eq!(scope.deadline_if_begun().is_some(), starts);
    }
}

#[tokio::test(start_paused = true)]
async fn where_no_more_than_the_margin_is_left_the_service_is_not_called() {
    for (left, set_by) in [(ms(10), SetBy::Us), (ms(3), SetBy::Caller), (ms(0), SetBy::Caller)] {
        for request in [grpc(), get()] {
            let scope = Some(within(left, set_by));
            let rejection = told(&layer(), request, "grpc-timeout", scope).await.unwrap_err();
            assert_eq!(rejection.by(), "ml_service");
            assert_eq!(rejection.detail::<Elapsed>(), Some(&Elapsed::new(set_by, Progress::NotAsked)));
            assert_eq!(rejection.outcome(), Outcome::refusal());
        }
    }
    // Envoy takes 0 for no limit at all.
    let send = builder().margin(Duration::ZERO).send(DeadlineHeader::EnvoyExpectedRqTimeoutMs).build().unwrap();
    let scope = Some(within(Duration::from_micros(999), SetBy::Us));
    assert!(told(&send, get(), ENVOY, scope).await.is_err());
}

type Ends = Result<Response<String>, BoxError>;

/// How a call counts that ends so, after so long, with so much of a deadline.
async fn counts(ends: Ends, takes: Duration, limit: Duration, set_by: SetBy) -> (Verdict, Option<Elapsed>) {
    counts_under(&layer(), ends, takes, limit, set_by).await
}

async fn counts_under(
    layer: &PropagateDeadlineLayer,
    ends: Ends,
    takes: Duration,
    limit: Duration,
    set_by: SetBy,
) -> (Verdict, Option<Elapsed>) {
    let ends = std::sync::Mutex::new(Some(ends));
    let service = service_fn(|_: Request<()>| async {
        sleep(takes).await;
        ends.lock().unwrap().take().unwrap()
    });
    let result = layer.layer(service).oneshot(grpc()).in_scope(within(limit, set_by)).await;
    judged(result)
}

fn judged(result: Ends) -> (Verdict, Option<Elapsed>) {
    let outcome = HttpClassify::new().classify(result.as_ref().map_err(ErrorRef::new));
    let kind = result
        .ok()
        .and_then(|r| r.extensions().get::<Rejection>().and_then(|rejection| rejection.detail::<Elapsed>().copied()));
    (outcome.verdict, kind)
}

fn status(status: StatusCode) -> Ends {
    Ok(Response::builder().status(status).body(String::new()).unwrap())
}

fn code(code: &'static str) -> Ends {
    let response = Response::builder().header("content-type", "application/grpc").header("grpc-status", code);
    Ok(response.body(String::new()).unwrap())
}

/// Told to take 90 ms because the caller waits no longer, the next service, or the client, gives up after 90 ms, before
/// our own deadline at 100 ms.
#[tokio::test(start_paused = true)]
async fn a_service_that_gives_up_when_the_caller_does_has_not_failed() {
    let callers = Some(Elapsed::new(SetBy::Caller, Progress::Called));
    let ends: [fn() -> Ends; 3] =
        [|| status(StatusCode::GATEWAY_TIMEOUT), || code("4"), || Err("timeout expired".into())];
    for ends in ends {
        let given_up = counts(ends(), ms(90), ms(100), SetBy::Caller).await;
        assert_eq!(given_up, (Verdict::Neutral, callers));
        let earlier = counts(ends(), ms(89), ms(100), SetBy::Caller).await;
        assert_eq!(earlier, (Verdict::Failure, None), "before it had to");
        let is_error = ends().is_err();
        let ours = counts(ends(), ms(90), ms(100), SetBy::Us).await;
        let rejected = is_error.then_some(Elapsed::new(SetBy::Us, Progress::Called));
        assert_eq!(ours, (Verdict::Failure, rejected), "a limit of our own is ours to set");
    }
    // A client that wasn't told of our limit didn't keep to it.
    let service = layer().layer(service_fn(|_: Request<()>| async {
        sleep(ms(95)).await;
        Err::<Response<String>, BoxError>("connection reset".into())
    }));
    let untold = service.oneshot(get()).in_scope(within(ms(100), SetBy::Us)).await;
    assert_eq!(judged(untold), (Verdict::Failure, None));
    // The coarsest of what it was told counts: 90 ms of 90.5.
    let coarse = builder().send(DeadlineHeader::EnvoyExpectedRqTimeoutMs).build().unwrap();
    let limit = Duration::from_micros(100_500);
    let told = counts_under(&coarse, code("4"), ms(90), limit, SetBy::Caller).await;
    assert_eq!(told, (Verdict::Neutral, callers));

    // What doesn't come of the deadline stays what it is, however late.
    let failed = || status(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(counts(failed(), ms(95), ms(100), SetBy::Caller).await, (Verdict::Failure, None));
    assert_eq!(counts(status(StatusCode::OK), ms(95), ms(100), SetBy::Caller).await, (Verdict::Success, None));
}

/// What `set_timeout` of tonic's requests does: the client gives up by itself.
#[tokio::test(start_paused = true)]
async fn a_shorter_limit_that_the_request_came_with_is_its_callers() {
    let by_caller = Some(Elapsed::new(SetBy::Caller, Progress::Called));
    for has_deadline in [false, true] {
        for (after, expected) in [(ms(30), (Verdict::Neutral, by_caller)), (ms(29), (Verdict::Failure, None))] {
            let service = layer().layer(service_fn(move |_: Request<()>| async move {
                sleep(after).await;
                Err::<Response<String>, BoxError>("timeout expired".into())
            }));
            let mut request = grpc();
            request.headers_mut().insert("grpc-timeout", HeaderValue::from_static("30m"));
            let call = service.oneshot(request);
            let result = if has_deadline { call.in_scope(within(ms(100), SetBy::Us)).await } else { call.await };
            assert_eq!(judged(result), expected, "{after:?}");
        }
    }
}

#[test]
fn what_cannot_work_is_refused() {
    let margin = |margin| builder().margin(margin).build().map(drop);
    for good in [Duration::ZERO, ms(10_000)] {
        assert_eq!(margin(good), Ok(()));
    }
    assert_eq!(margin(ms(10_001)).unwrap_err().field, "margin");
    assert_eq!(PropagateDeadlineLayer::builder("").build().map(drop).unwrap_err().field, "name");
    let mut config = PropagateDeadlineConfig::new("ml_service");
    assert_eq!(config.margin, ms(10));
    config.send = vec![DeadlineHeader::GrpcTimeout; 2];
    assert_eq!(PropagateDeadlineLayer::from_config(config).map(drop).unwrap_err().field, "send");
}

#[tokio::test(start_paused = true)]
async fn services_that_cannot_hold_a_response_of_ours_are_rejected_in_their_own_types() {
    struct NoDefault;
    let service = || service_fn(|_: Request<()>| std::future::pending::<Result<Response<NoDefault>, BoxError>>());
    let late = || within(ms(5), SetBy::Caller);
    let as_error = builder().reject_as_error().build().unwrap().layer(service());
    let error = as_error.oneshot(get()).in_scope(late()).await.map(drop).unwrap_err();
    assert!(error.downcast::<Rejection>().unwrap().reason() == Reason::TIMEOUT);
    let with = builder().reject_with(|r: Rejection| Err(r.to_string().into())).build().unwrap().layer(service());
    let error = with.oneshot(get()).in_scope(late()).await.map(drop).unwrap_err();
    assert_eq!(error.to_string(), "ml_service took longer than the caller waits");
}

proptest! {
    /// Through any number of services, each of which takes some time, what arrives is never more than what was left.
    #[test]
    fn a_deadline_only_shrinks_on_its_way(
        limit in 1_u64..100_000_000_000,
        hops in proptest::collection::vec((0_u64..100_000_000, 0_u64..20), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut left = Duration::from_nanos(limit);
            for (takes, margin) in hops {
                let (takes, margin) = (Duration::from_nanos(takes), ms(margin));
                let Some(rest) = left.checked_sub(takes).and_then(|left| left.checked_sub(margin)) else {
                    break;
                };
                let layer = builder().margin(margin).build().unwrap();
                let Ok(arrived) = told(&layer, grpc(), "grpc-timeout", Some(within(left - takes, SetBy::Caller))).await else {
                    assert_eq!(rest, Duration::ZERO);
                    break;
                };
                let arrived = arrived[0].to_str().unwrap();
                let (number, unit) = arrived.split_at(arrived.len() - 1);
                let nanos = match unit { "n" => 1, "u" => 1_000, "m" => 1_000_000, other => panic!("{other}") };
                left = Duration::from_nanos(number.parse::<u64>().unwrap() * nanos);
                assert!(left <= rest, "{left:?} of {rest:?}");
            }
        });
    }
}
