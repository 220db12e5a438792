//! What the response tells of its attempts.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use crate::support::{
    BoxError, Chunks, Then, Upstream, circuit_open, get, grpc, ms, response, text, with_header, with_method,
};
use axum::body::Body;
use backstop_kit::NotCopied;
use backstop_retry::{Repeat, Retried, RetryBuilder, RetryLayer, StopReason};
use http::{Method, Request};
use tower::{Layer, ServiceExt};

fn builder() -> RetryBuilder {
    RetryLayer::builder("ml").backoff_base(ms(1)).backoff_cap(ms(1)).max_body(10)
}

async fn told<E: 'static>(
    layer: RetryLayer,
    upstream: Upstream<E>,
    request: Request<Body>,
) -> Option<(u32, Option<StopReason>)> {
    let answer = layer.layer(upstream).oneshot(request).await.ok().unwrap();
    answer.extensions().get().map(|retried: &Retried| (retried.attempts(), retried.stop()))
}

async fn told_by_default(statuses: &[u16], request: Request<Body>) -> Option<(u32, Option<StopReason>)> {
    told(builder().build().unwrap(), Upstream::statuses(statuses.to_vec()), request).await
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_took_one_attempt_and_wants_no_other_tells_nothing() {
    for status in [200, 404, 500] {
        assert_eq!(told_by_default(&[status], get()).await, None);
    }
    let mut once = get();
    once.extensions_mut().insert(Repeat::Never);
    assert_eq!(told_by_default(&[503], once).await, None, "it passed straight through");
}

#[tokio::test(start_paused = true)]
async fn an_answer_tells_how_many_attempts_it_took_and_why_there_were_no_more() {
    assert_eq!(told_by_default(&[503, 200], get()).await, Some((2, None)));
    assert_eq!(told_by_default(&[503, 503, 404], get()).await, Some((3, None)));
    assert_eq!(told_by_default(&[503], get()).await, Some((3, Some(StopReason::MaxAttempts))));
    assert_eq!(told_by_default(&[503], with_method(Method::POST)).await, Some((1, Some(StopReason::NotIdempotent))));
    let error_first =
        Upstream::<BoxError>::new(|n, _| async move { if n == 1 { Err("lost".into()) } else { Ok(response(200)) } });
    assert_eq!(told(builder().build().unwrap(), error_first, get()).await, Some((2, None)));
}

#[tokio::test(start_paused = true)]
async fn every_other_reason_is_told_too() {
    let asking = |seconds: &'static str| {
        Upstream::<BoxError>::new(move |_, _| async move { Ok(with_header(503, "retry-after", seconds)) })
    };
    let layer = || builder().build().unwrap();
    assert_eq!(told(layer(), asking("3600"), get()).await, Some((1, Some(StopReason::ServerDelay))));
    let short = builder().total(ms(1500)).build().unwrap();
    assert_eq!(told(short, asking("1"), get()).await, Some((2, Some(StopReason::NoTimeLeft))));
    let stopping = Upstream::<BoxError>::new(|n, _| async move { Ok(grpc("14", (n == 2).then_some("-1"))) });
    assert_eq!(told(layer(), stopping, get()).await, Some((2, Some(StopReason::ServerSaidStop))));
    let mut early = get();
    early.headers_mut().insert("early-data", "1".parse().unwrap());
    assert_eq!(told_by_default(&[425], early).await, Some((1, Some(StopReason::EarlyData))));

    let reading = Upstream::<BoxError>::new(|_, request| async {
        text(request.into_body()).await;
        Ok(response(503))
    });
    let long = Request::put("/").body(Chunks::body(["hello ", "wide ", "world"], Then::End)).unwrap();
    let (attempts, stop) = told(layer(), reading, long).await.unwrap();
    assert!(matches!((attempts, stop), (1, Some(StopReason::NotReplayable(NotCopied::Body(_))))), "{stop:?}");

    let drawn = builder().build().unwrap();
    let mut all = Vec::new();
    for _ in 0..200 {
        all.push(told(drawn.clone(), Upstream::statuses([503]), get()).await);
    }
    for attempts in [1, 2] {
        assert!(all.contains(&Some((attempts, Some(StopReason::Budget)))), "after {attempts}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_earlier_answer_tells_why_the_last_attempt_is_not_in_its_place() {
    let layer = || builder().total(ms(1000)).build().unwrap();
    let then_open =
        Upstream::<BoxError>::new(|n, _| async move { Ok(if n == 1 { response(503) } else { circuit_open() }) });
    assert_eq!(told(layer(), then_open, get()).await, Some((2, Some(StopReason::Refused))));
    let then_hung = Upstream::<BoxError>::new(|n, _| async move {
        if n > 1 { std::future::pending().await } else { Ok(response(503)) }
    });
    assert_eq!(told(layer(), then_hung, get()).await, Some((2, Some(StopReason::TotalPassed))));
}

#[tokio::test(start_paused = true)]
async fn the_outermost_layer_that_has_something_to_tell_is_the_one_that_is_seen() {
    let stack =
        builder().build().unwrap().layer(builder().max_attempts(2).build().unwrap().layer(Upstream::statuses([503])));
    let answer = stack.oneshot(get()).await.unwrap();
    assert_eq!(answer.extensions().get::<Retried>().unwrap().attempts(), 3);

    let inner = builder().max_attempts(2).build().unwrap().layer(Upstream::statuses([503, 200]));
    let answer = builder().build().unwrap().layer(inner).oneshot(get()).await.unwrap();
    assert_eq!(answer.extensions().get::<Retried>().unwrap().attempts(), 2, "the outer one has nothing to tell");
}

#[tokio::test(start_paused = true)]
async fn answers_without_room_for_it_tell_nothing() {
    let layer = builder().discard_replaced().build().unwrap();
    let answer = layer.layer(Upstream::statuses([503])).oneshot(get()).await.unwrap();
    assert_eq!(answer.extensions().get::<Retried>(), None);
}
