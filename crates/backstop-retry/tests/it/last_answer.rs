//! The answer of last resort.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    future::pending,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use crate::support::{
    BoxError, Chunks, Refusing, Then, Upstream, circuit_open, elapsed, get, ml, ms, rejected, response, text, with_body,
};
use axum::body::Body;
use backstop_core::{Degradation, Freshness, Reason, Rejection, Scope, SetBy, name, scope};
use backstop_kit::Progress;
use backstop_retry::{Retried, RetryBudget, RetryLayer, StopReason};
use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::time::sleep_until;
use tower::{Layer, ServiceExt};

fn reset() -> BoxError {
    io::Error::from(io::ErrorKind::ConnectionReset).into()
}

#[tokio::test(start_paused = true)]
async fn when_attempts_run_out_the_last_response_is_returned_untouched() {
    let upstream = Upstream::<BoxError>::new(|n, _| async move {
        let mut answer = with_body(503, Chunks::body(["attempt"], Then::Hang));
        answer.headers_mut().insert("x-attempt", n.into());
        Ok(answer)
    });
    let answer = RetryLayer::new(ml()).layer(upstream).oneshot(get()).await.unwrap();
    assert_eq!(answer.headers()["x-attempt"], "3");
    let mut body = answer.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "attempt");
}

#[tokio::test(start_paused = true)]
async fn when_attempts_run_out_the_last_error_is_returned_as_it_was() {
    let upstream = Upstream::<BoxError>::new(|n, _| async move { Err::<_, BoxError>(format!("attempt {n}").into()) });
    let error = RetryLayer::new(ml()).layer(upstream).oneshot(get()).await.unwrap_err();
    assert_eq!(error.to_string(), "attempt 3");
}

#[tokio::test(start_paused = true)]
async fn a_refused_attempt_gives_way_to_the_upstreams_last_response() {
    let refused_as_error = || Err(Rejection::refused(name!("b"), Reason::CIRCUIT_OPEN).into());
    for as_error in [false, true] {
        let upstream = Upstream::<BoxError>::new(move |n, _| async move {
            match n {
                1 => Ok(with_body(503, Chunks::body(["down for ", "maintenance"], Then::End))),
                _ if as_error => refused_as_error(),
                _ => Ok(circuit_open()),
            }
        });
        let answer = RetryLayer::new(ml()).layer(upstream.clone()).oneshot(get()).await.unwrap();
        assert!(answer.extensions().get::<Rejection>().is_none());
        assert_eq!((answer.status(), upstream.calls()), (StatusCode::SERVICE_UNAVAILABLE, 2));
        assert_eq!(text(answer.into_body()).await, "down for maintenance");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_attempt_gives_way_to_the_upstreams_last_error() {
    let upstream =
        Upstream::<BoxError>::new(|n, _| async move { if n == 1 { Err(reset()) } else { Ok(circuit_open()) } });
    let error = RetryLayer::new(ml()).layer(upstream.clone()).oneshot(get()).await.unwrap_err();
    assert!(error.is::<io::Error>());
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_returned_where_the_last_response_was_too_long_or_too_slow_to_be_kept() {
    for body in [|| Body::from(vec![b'x'; 32 * 1024 + 1]), || Chunks::body(["slow"], Then::Hang)] {
        let upstream = Upstream::<BoxError>::new(move |n, _| async move {
            Ok(if n == 1 { with_body(503, body()) } else { circuit_open() })
        });
        let answer = RetryLayer::new(ml()).layer(upstream).oneshot(get()).await.unwrap();
        assert!(answer.extensions().get::<Rejection>().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn an_earlier_answer_stays_where_a_later_one_could_not_be_kept() {
    let upstream = Upstream::<BoxError>::new(|n, _| async move {
        Ok(match n {
            1 => with_body(503, "kept"),
            2 => with_body(502, vec![b'x'; 32 * 1024 + 1]),
            _ => circuit_open(),
        })
    });
    let answer = RetryLayer::new(ml()).layer(upstream).oneshot(get()).await.unwrap();
    assert_eq!((answer.status(), text(answer.into_body()).await), (StatusCode::SERVICE_UNAVAILABLE, "kept".into()));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_where_that_was_chosen() {
    let upstream =
        Upstream::<BoxError>::new(
            |n, _| async move { Ok(if n == 1 { with_body(503, "dropped") } else { circuit_open() }) },
        );
    let layer = RetryLayer::builder("ml").discard_replaced().build().unwrap();
    let answer = layer.layer(upstream).oneshot(get()).await.unwrap();
    assert!(answer.extensions().get::<Rejection>().is_some());
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_kept_an_attempt_outlasts_the_total_rather_than_have_no_answer() {
    let upstream = Upstream::<BoxError>::new(|n, _| async move {
        if n == 2 {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        Ok(response(if n == 1 { 503 } else { 200 }))
    });
    let layer = RetryLayer::builder("ml").total(Duration::from_secs(3)).discard_replaced().build().unwrap();
    assert_eq!(layer.layer(upstream).oneshot(get()).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_a_timeout_further_in_ends_at_the_total_gives_way_too() {
    let upstream = Upstream::<BoxError>::new(|n, _| async move {
        if n == 1 {
            return Ok(with_body(503, "upstream's own"));
        }
        sleep_until(scope::deadline().unwrap().instant()).await;
        Ok(rejected(elapsed(SetBy::Us, Progress::Called)))
    });
    let layer = RetryLayer::builder("ml").total(Duration::from_secs(3)).build().unwrap();
    let answer = layer.layer(upstream).oneshot(get()).await.unwrap();
    assert_eq!(text(answer.into_body()).await, "upstream's own");
}

/// The upstream's own answer, and then what a layer says whose service was not ready in time.
fn then_not_ready(as_error: bool) -> Refusing<BoxError> {
    let refusal = || elapsed(SetBy::Us, Progress::NotReady);
    Refusing(Upstream::new(move |n, _| async move {
        match n {
            1 => Ok(with_body(503, "upstream's own")),
            _ if as_error => Err(refusal().into()),
            _ => Ok(rejected(refusal())),
        }
    }))
}

#[tokio::test(start_paused = true)]
async fn a_last_attempt_that_was_never_sent_gives_way_to_the_upstreams_last_answer() {
    for as_error in [false, true] {
        let upstream = then_not_ready(as_error);
        let answer = RetryLayer::new(ml()).layer(upstream.clone()).oneshot(get()).await.unwrap();
        let retried = answer.extensions().get::<Retried>().copied().unwrap();
        assert_eq!((retried.attempts(), retried.stop()), (3, Some(StopReason::MaxAttempts)));
        assert_eq!(text(answer.into_body()).await, "upstream's own");
        assert_eq!(upstream.0.calls(), 3, "it is worth repeating, all the same");
    }
}

#[tokio::test(start_paused = true)]
async fn a_last_attempt_that_was_never_sent_gives_way_for_whatever_there_is_no_other() {
    let one = RetryBudget::builder().reserve_per_second(0).burst(1).build().unwrap();
    let upstream = then_not_ready(false);
    let layer = RetryLayer::builder("ml").budget(one).build().unwrap();
    let answer = layer.layer(upstream.clone()).oneshot(get()).await.unwrap();
    let retried = answer.extensions().get::<Retried>().copied().unwrap();
    assert_eq!((retried.attempts(), retried.stop()), (2, Some(StopReason::Budget)));
    assert_eq!(text(answer.into_body()).await, "upstream's own");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_refused_in_the_last_attempt_is_news_and_returned() {
    let upstream = Upstream::<BoxError>::new(|n, _| async move {
        if n == 1 { Ok(response(503)) } else { Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()) }
    });
    let error = RetryLayer::new(ml()).layer(upstream).oneshot(get()).await.unwrap_err();
    assert!(error.is::<io::Error>());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_its_own_timeout_ends_is_an_attempt_as_any_other() {
    let upstream = Upstream::<BoxError>::new(|n, _| async move {
        if n == 1 {
            return Ok(response(503));
        }
        tokio::time::sleep(ms(100)).await;
        Ok(rejected(elapsed(SetBy::Us, Progress::Called)))
    });
    let answer = RetryLayer::new(ml()).layer(upstream.clone()).oneshot(get()).await.unwrap();
    assert!(answer.extensions().get::<Rejection>().is_some(), "the last of three");
    assert_eq!(upstream.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_response_is_read_to_its_end_and_let_go_before_the_next_attempt() {
    struct Watched(Chunks, Arc<AtomicBool>);
    impl Drop for Watched {
        fn drop(&mut self) {
            self.1.store(true, Ordering::Relaxed);
        }
    }
    impl http_body::Body for Watched {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Pin::new(&mut self.0).poll_frame(cx)
        }
    }
    let gone = Arc::new(AtomicBool::new(false));
    let watched = Arc::clone(&gone);
    let upstream = Upstream::<BoxError>::new(move |n, _| {
        let gone = Arc::clone(&watched);
        async move {
            if n == 1 {
                return Ok(with_body(503, Body::new(Watched(Chunks::new(["a", "b"], Then::End), gone))));
            }
            assert!(gone.load(Ordering::Relaxed), "its connection is free again");
            Ok(response(200))
        }
    });
    let answer = RetryLayer::new(ml()).layer(upstream).oneshot(get()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

/// What moves up from attempts that report their number.
async fn reports_of(upstream: Upstream<BoxError>) -> Vec<usize> {
    let mut scope = Scope::new();
    let layer = RetryLayer::builder("ml").total(Duration::from_secs(3)).build().unwrap();
    let mut call = Box::pin(layer.layer(upstream).oneshot(get()));
    _ = std::future::poll_fn(|cx| scope.enter(|| call.as_mut().poll(cx))).await;
    scope.take_reports().iter().map(Degradation::position).collect()
}

fn report(attempt: usize) {
    scope::report(Degradation::new(name!("chain"), name!("source"), attempt, Reason::ERROR, Freshness::Degraded));
}

#[tokio::test(start_paused = true)]
async fn only_what_the_returned_attempt_reported_moves_up() {
    let answers = |statuses: [u16; 3]| {
        Upstream::new(move |n, _| async move {
            report(n);
            Ok(response(statuses[n - 1]))
        })
    };
    assert_eq!(reports_of(answers([200, 0, 0])).await, [1]);
    assert_eq!(reports_of(answers([503, 200, 0])).await, [2]);
    assert_eq!(reports_of(answers([503, 503, 503])).await, [3]);
}

#[tokio::test(start_paused = true)]
async fn the_answer_of_last_resort_comes_with_its_own_reports() {
    let refused = Upstream::<BoxError>::new(|n, _| async move {
        report(n);
        Ok(if n == 1 { response(503) } else { circuit_open() })
    });
    assert_eq!(reports_of(refused).await, [1]);
    let failed_then_hung = Upstream::<BoxError>::new(|n, _| async move {
        report(n);
        match n {
            1 => Ok(response(503)),
            2 => Err(reset()),
            _ => pending().await,
        }
    });
    assert_eq!(reports_of(failed_then_hung).await, [2]);
}
