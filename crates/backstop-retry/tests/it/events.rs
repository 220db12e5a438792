//! What an operator sees.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{sync::Mutex, time::Duration};

use axum::body::Body;
use backstop_core::{ErrorRef, Outcome, Rejection, SetBy};
use backstop_kit::Progress;
use backstop_retry::{Repeat, RetryBudget, RetryLayer};
use backstop_test::{LogEvent, LogEvents, Logs};
use http::{HeaderName, Method, Request, Response};
use tower::{Layer, Service, ServiceExt};
use tracing::Level;

use crate::support::{
    self, BoxError, Chunks, Then, Upstream, circuit_open, elapsed, get, grpc, rejected, response, text, timed_out,
    with_header, with_method,
};

/// The fields of each event of the layer. The message is prose, and the delay is random.
fn fields(events: LogEvents) -> Vec<String> {
    let events = events.with_target("backstop::retry").into_iter();
    let fields = |event: LogEvent| {
        assert_eq!(event.level(), Level::DEBUG);
        let field =
            |(name, value): (&str, &str)| if name == "delay_ms" { name.to_owned() } else { format!("{name}={value}") };
        event.fields().map(field).collect::<Vec<_>>().join(" ")
    };
    events.map(fields).collect()
}

async fn events<E: 'static, L>(layer: &L, upstream: Upstream<E>, request: Request<Body>) -> Vec<String>
where
    L: Layer<Upstream<E>>,
    L::Service: Service<Request<Body>>,
{
    let logs = Logs::new();
    let _guard = logs.listen();
    _ = layer.layer(upstream).oneshot(request).await;
    fields(logs.events())
}

fn layer() -> RetryLayer {
    RetryLayer::builder("ml").max_attempts(2).max_body(10).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_answered_says_nothing() {
    for status in [200, 302, 404] {
        assert_eq!(events(&layer(), Upstream::statuses([status]), get()).await, Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_not_worth_repeating_says_so() {
    let not_transient = ["name=ml attempt=1 reason=not-transient"];
    assert_eq!(events(&layer(), Upstream::statuses([500]), get()).await, not_transient);
    let told = events(&layer(), Upstream::statuses([503, 500]), get()).await;
    assert_eq!(told, ["name=ml attempt=1 delay_ms reason=status-503", "name=ml attempt=2 reason=not-transient"]);
    let refused = Upstream::<BoxError>::new(|_, _| async { Ok(circuit_open()) });
    let line = "name=ml attempt=1 reason=refused error=inner rejected the call: circuit-open";
    assert_eq!(events(&layer(), refused, get()).await, [line]);

    let harsh = |result: Result<&Response<Body>, ErrorRef<'_>>| match result {
        Ok(_) => Outcome::success(),
        Err(_) => Outcome::failure(),
    };
    let layer = RetryLayer::builder("ml").classify_fn(harsh).build().unwrap();
    let lost = || Upstream::<BoxError>::new(|_, _| async { Err("lost".into()) });
    assert_eq!(events(&layer, lost(), get()).await, ["name=ml attempt=1 reason=not-transient error=lost"]);
}

#[tokio::test(start_paused = true)]
async fn each_retry_and_its_end_are_told_once_with_their_reasons() {
    let told = events(&layer(), Upstream::statuses([503]), get()).await;
    assert_eq!(told, ["name=ml attempt=1 delay_ms reason=status-503", "name=ml attempt=2 reason=max-attempts"]);
    let refused =
        Upstream::<BoxError>::new(|n, _| async move { if n == 1 { Err("lost".into()) } else { Ok(circuit_open()) } });
    let told = events(&layer(), refused, get()).await;
    assert_eq!(told, ["name=ml attempt=1 delay_ms reason=error error=lost", "name=ml attempt=2 reason=refused"]);
}

async fn every_reason_is_told<L>(layer: &L)
where
    L: Layer<Upstream<BoxError>>,
    L::Service: Service<Request<Body>>,
{
    let answers: [fn() -> Response<Body>; 3] = [|| response(503), || grpc("14", None), timed_out];
    for (answer, reason) in answers.into_iter().zip(["status-503", "grpc-14", "timeout error=inner took too long"]) {
        let upstream = Upstream::<BoxError>::new(move |_, _| async move { Ok(answer()) });
        let told = events(layer, upstream, get()).await;
        assert_eq!(told[0], format!("name=ml attempt=1 delay_ms reason={reason}"));
    }
}

#[tokio::test(start_paused = true)]
async fn each_retry_tells_what_went_wrong() {
    every_reason_is_told(&layer()).await;
    let rejection = || timed_out().extensions().get::<Rejection>().cloned().unwrap();
    let as_error = Upstream::<BoxError>::new(move |_, _| async move { Err(rejection().into()) });
    let expected = format!("name=ml attempt=1 delay_ms reason=timeout error={}", rejection());
    assert_eq!(events(&layer(), as_error, get()).await[0], expected);
}

#[tokio::test(start_paused = true)]
async fn the_reasons_are_the_same_where_a_closure_judges() {
    let layer = RetryLayer::builder("ml")
        .max_attempts(2)
        .classify_fn(|_: Result<&Response<Body>, ErrorRef<'_>>| Outcome::failure().transient());
    let layer = layer.build().unwrap();
    every_reason_is_told(&layer).await;
    let lost = Upstream::<BoxError>::new(|_, _| async { Err("lost".into()) });
    assert_eq!(events(&layer, lost, get()).await[0], "name=ml attempt=1 delay_ms reason=error error=lost");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_can_not_be_replayed_says_so() {
    let put = |chunks: &[&'static str]| {
        Request::put("/secret?token=1").body(Chunks::body(chunks.iter().copied(), Then::End)).unwrap()
    };
    let reading = || {
        Upstream::<BoxError>::new(|_, request| async {
            text(request.into_body()).await;
            Ok(response(503))
        })
    };
    assert_eq!(
        events(&layer(), reading(), put(&["hello ", "wide ", "world"])).await,
        ["name=ml attempt=1 reason=not-replayable detail=the body is larger than the buffer"]
    );
    let held = Mutex::new(Vec::new());
    let uploading = Upstream::<BoxError>::new(move |_, request: Request<Body>| {
        held.lock().unwrap().push(request.into_body());
        async { Ok(response(503)) }
    });
    assert_eq!(events(&layer(), uploading, put(&["hello"])).await, ["name=ml attempt=1 reason=uploading"]);
}

#[tokio::test(start_paused = true)]
async fn every_other_retry_that_is_not_made_says_why() {
    let failing = || Upstream::statuses([503]);
    let why = |reason: &str| [format!("name=ml attempt=1 reason={reason}")];
    assert_eq!(events(&layer(), failing(), with_method(Method::POST)).await, why("not-idempotent"));
    assert_eq!(events(&layer(), failing(), with_method(Method::CONNECT)).await, why("upgrade"));
    let upgrade = Request::get("/").header("connection", "upgrade").header("upgrade", "websocket");
    assert_eq!(events(&layer(), failing(), upgrade.body(Body::empty()).unwrap()).await, why("upgrade"));
    let never = Request::get("/").extension(Repeat::Never).body(Body::empty()).unwrap();
    // Its caller has said so, and it passes straight through.
    assert_eq!(events(&layer(), failing(), never).await, Vec::<String>::new());
    let counting = RetryLayer::builder("ml").attempt_header(HeaderName::from_static("x-attempt")).build().unwrap();
    let repeated = Request::get("/").header("x-attempt", "1").body(Body::empty()).unwrap();
    assert_eq!(events(&counting, failing(), repeated).await, why("outer-tier"));
    let asking = |seconds: &'static str| {
        Upstream::<BoxError>::new(move |_, _| async move { Ok(with_header(503, "retry-after", seconds)) })
    };
    assert_eq!(events(&layer(), asking("3600"), get()).await, why("server-delay"));
    let short = RetryLayer::builder("ml").total(support::ms(1000)).build().unwrap();
    assert_eq!(events(&short, asking("1"), get()).await, why("no-time-left"));
    let mut early = get();
    early.headers_mut().insert("early-data", "1".parse().unwrap());
    assert_eq!(events(&layer(), Upstream::statuses([425]), early).await, why("early-data"));

    let stopping =
        |code: &'static str| Upstream::<BoxError>::new(move |_, _| async move { Ok(grpc(code, Some("-1"))) });
    assert_eq!(events(&layer(), stopping("14"), get()).await, why("server-said-stop"));
    assert_eq!(events(&layer(), stopping("8"), get()).await, why("not-transient"), "without a delay it isn't worth it");
    let budget = RetryBudget::builder().reserve_per_second(0).burst(1).build().unwrap();
    let poor = RetryLayer::builder("ml").budget(budget).build().unwrap();
    let told = events(&poor, failing(), get()).await;
    assert_eq!(told, ["name=ml attempt=1 delay_ms reason=status-503", "name=ml attempt=2 reason=budget"]);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_answer_that_is_returned_says_why() {
    let layer = RetryLayer::builder("ml").total(support::ms(1000)).build().unwrap();
    let hangs = Upstream::<BoxError>::new(|n, _| async move {
        if n == 1 { Ok(response(503)) } else { std::future::pending().await }
    });
    let told = events(&layer, hangs, get()).await;
    assert_eq!(told, ["name=ml attempt=1 delay_ms reason=status-503", "name=ml attempt=2 reason=total-passed"]);
    let never_ready = Upstream::<BoxError>::new(|n, _| async move {
        let progress = Progress::NotReady;
        let not_ready = elapsed(SetBy::Us, progress);
        Ok(if n == 1 { response(503) } else { rejected(not_ready) })
    });
    let told = events(&layer, never_ready, get()).await;
    let error = "error=inner was not ready in time";
    let expected = ["name=ml attempt=2 delay_ms reason=timeout", "name=ml attempt=3 reason=max-attempts"];
    assert_eq!(told[1..], expected.map(|line| format!("{line} {error}")));
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_that_outlasts_the_total_is_told_of_when_it_fails_and_when_it_is_dropped() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let layer =
        RetryLayer::builder("ml").total(Duration::from_secs(3)).max_retry_after(Duration::ZERO).build().unwrap();
    let upstream = |takes: u64| {
        Upstream::<BoxError>::new(move |_, _| async move {
            tokio::time::sleep(Duration::from_secs(takes)).await;
            Ok(response(503))
        })
    };
    layer.layer(upstream(4)).oneshot(get()).await.unwrap();
    let told = "name=ml attempt=1 total_ms=3000.0";
    assert_eq!(fields(logs.take()), [told, "name=ml attempt=1 reason=no-time-left"]);

    for patience in [2, 5] {
        let call = layer.layer(upstream(60)).oneshot(get());
        assert!(tokio::time::timeout(Duration::from_secs(patience), call).await.is_err());
        assert_eq!(fields(logs.events()).len(), usize::from(patience > 3));
    }
    assert_eq!(fields(logs.events()), [told]);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_told_without_secrets_and_as_the_user_says() {
    let lost = || Upstream::<BoxError>::new(|_, _| async { Err("GET https://bob:secret@ml/?key=1 failed".into()) });
    let shown = events(&layer(), lost(), get()).await;
    let error = "error=GET https://ml/ failed";
    assert_eq!(shown[0], format!("name=ml attempt=1 delay_ms reason=error {error}"));
    assert_eq!(shown[1], format!("name=ml attempt=2 reason=max-attempts {error}"));

    let silent = RetryLayer::builder("ml").max_attempts(2).error_text(|_| None).build().unwrap();
    assert_eq!(events(&silent, lost(), get()).await[0], "name=ml attempt=1 delay_ms reason=error");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_known_where_answers_are_discarded_whatever_a_closure_says() {
    let layer = RetryLayer::builder("ml")
        .discard_replaced()
        .classify_fn(|_: Result<&Response<Body>, ErrorRef<'_>>| Outcome::failure().transient())
        .build()
        .unwrap();
    let refused = Upstream::<BoxError>::new(|_, _| async { Ok(circuit_open()) });
    let line = "name=ml attempt=1 reason=refused error=inner rejected the call: circuit-open";
    assert_eq!(events(&layer, refused, get()).await, [line]);
    let unavailable = Upstream::<BoxError>::new(|_, _| async { Ok(response(503)) });
    assert_eq!(events(&layer, unavailable, get()).await[0], "name=ml attempt=1 delay_ms reason=status-503");
}
