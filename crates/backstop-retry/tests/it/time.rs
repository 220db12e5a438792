//! How long is waited, and when the time is up.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    future::pending,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use crate::support::{self, Chunks, Drips, Then, Upstream, get, ml, ms, response, with_header};
use axum::body::Body;
use backstop_core::{
    Deadline, Scope, SetBy,
    scope::{self, EndedBy},
};
use backstop_retry::{Backoff, BackoffFn, RetryBuilder, RetryLayer};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use proptest::prelude::*;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, Service, ServiceExt};

fn builder() -> RetryBuilder {
    RetryLayer::builder("ml")
}

async fn status(layer: &RetryLayer, upstream: &Upstream) -> u16 {
    layer.layer(upstream.clone()).oneshot(get()).await.unwrap().status().as_u16()
}

/// Runs `future` in a scope with this deadline.
async fn within<F: Future>(limit: Duration, set_by: SetBy, future: F) -> F::Output {
    let mut scope = Scope::narrowed(Deadline::after(limit, set_by));
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| scope.enter(|| future.as_mut().poll(cx))).await
}

fn asking(retry_after: &'static str) -> Upstream {
    Upstream::new(move |_, _| async move { Ok(with_header(503, "retry-after", retry_after)) })
}

#[tokio::test(start_paused = true)]
async fn waits_grow_to_the_cap_and_stay_below_it() {
    let layer = builder().max_attempts(6).backoff_base(ms(100)).backoff_cap(ms(400)).build().unwrap();
    let mut longest = [Duration::ZERO; 5];
    for _ in 0..200 {
        let upstream = Upstream::statuses([503]);
        status(&layer, &upstream).await;
        for (longest, gap) in longest.iter_mut().zip(upstream.gaps()) {
            *longest = gap.max(*longest);
        }
    }
    // A timer fires at the next whole millisecond.
    for (longest, ceiling) in longest.into_iter().zip([100, 200, 400, 400, 400]) {
        assert!(longest <= ms(ceiling + 1) && longest > ms(ceiling * 9 / 10), "{longest:?} of {ceiling} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn callers_do_not_share_their_jitter_however_layer_and_service_are_cloned() {
    let layer = builder().seed(7).backoff_base(Duration::from_secs(5)).build().unwrap();
    let service = layer.layer(Upstream::statuses([503]));
    let mut waits = Vec::new();
    for retry in [layer.clone().layer(Upstream::statuses([503])), service.clone(), service.clone(), service] {
        let begun = Instant::now();
        _ = retry.oneshot(get()).await;
        waits.push(begun.elapsed());
    }
    waits.sort_unstable();
    waits.dedup();
    assert_eq!(waits.len(), 4, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn the_servers_delay_is_a_minimum_to_which_jitter_adds() {
    for seed in 0..100 {
        let upstream = asking("2");
        status(&builder().seed(seed).build().unwrap(), &upstream).await;
        for (gap, jitter) in upstream.gaps().into_iter().zip([100, 200]) {
            assert!(gap >= ms(2000) && gap <= ms(2001 + jitter), "{gap:?}");
        }
    }
}

/// The third answer names a delay, in the way that `asks` adds it.
async fn gaps_around_a_named_delay(backoff: Backoff, asks: fn() -> Response<Body>) -> Vec<u128> {
    let upstream = Upstream::new(move |n, _| async move { Ok(if n == 3 { asks() } else { response(503) }) });
    let builder = builder().max_attempts(6).backoff(backoff).backoff_base(ms(100)).backoff_cap(ms(10_000)).seed(7);
    status(&builder.build().unwrap(), &upstream).await;
    upstream.gaps().iter().map(Duration::as_millis).collect()
}

#[tokio::test(start_paused = true)]
async fn the_backoff_starts_anew_after_a_delay_that_the_server_named() {
    // Each wait is between half of its ceiling and all of it: 100, 200; 2000 and 100 more; 100, 200.
    for asks in [|| with_header(503, "retry-after", "2"), || support::grpc("14", Some("2000"))] {
        let gaps = gaps_around_a_named_delay(Backoff::EqualJitter, asks).await;
        let bounds = [50..=101, 100..=201, 2050..=2101, 50..=101, 100..=201];
        assert!(gaps.iter().zip(&bounds).all(|(gap, bounds)| bounds.contains(gap)), "{gaps:?}");
        let gaps = gaps_around_a_named_delay(Backoff::Decorrelated, asks).await;
        assert!((2100..=2301).contains(&gaps[2]) && (100..=301).contains(&gaps[3]), "{gaps:?}");
    }
    // A closure is told how many attempts were made, as ever.
    let counted = Backoff::Custom(BackoffFn::new(|attempts, _| ms(1000) * attempts));
    let gaps = gaps_around_a_named_delay(counted, || with_header(503, "retry-after", "2")).await;
    assert_eq!(gaps, [1000, 2000, 5000, 4000, 5000]);
}

#[tokio::test(start_paused = true)]
async fn several_grpc_pushbacks_end_the_retrying() {
    let upstream = Upstream::new(|_, _| async {
        let mut response = support::grpc("14", Some("10"));
        response.headers_mut().append("grpc-retry-pushback-ms", "10".parse().unwrap());
        Ok(response)
    });
    status(&RetryLayer::new(ml()), &upstream).await;
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn both_forms_of_the_servers_delay_are_understood_and_a_date_in_the_past_means_now() {
    let at = |date: &'static str| {
        Upstream::new(move |_, _| async move {
            let mut response = with_header(429, "date", "Wed, 21 Oct 2015 07:28:00 GMT");
            response.headers_mut().insert("retry-after", date.parse().unwrap());
            Ok(response)
        })
    };
    let layer = builder().max_attempts(2).build().unwrap();
    for (date, least) in [("Wed, 21 Oct 2015 07:28:05 GMT", 5000), ("Wed, 21 Oct 2015 07:27:00 GMT", 0)] {
        let upstream = at(date);
        status(&layer, &upstream).await;
        let gap = upstream.gaps()[0];
        assert!(gap >= ms(least) && gap <= ms(least + 101), "{gap:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_a_longer_delay_than_is_allowed_gets_its_answer_returned_at_once() {
    let layer = builder().max_retry_after(Duration::from_secs(2)).build().unwrap();
    for (asked, calls) in [("2", 3), ("3", 1), ("99999999999", 1)] {
        let upstream = asking(asked);
        let begun = Instant::now();
        let answer = layer.layer(upstream.clone()).oneshot(get()).await.unwrap();
        assert_eq!(answer.headers()["retry-after"], asked);
        assert_eq!(upstream.calls(), calls, "{asked}");
        assert!(calls > 1 || begun.elapsed().is_zero());
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_that_does_not_fit_into_the_callers_deadline_ends_it_at_once() {
    for set_by in [SetBy::Us, SetBy::Caller] {
        let upstream = asking("2");
        let begun = Instant::now();
        let status = within(ms(1500), set_by, status(&RetryLayer::new(ml()), &upstream)).await;
        assert_eq!((status, upstream.calls()), (503, 1));
        assert!(begun.elapsed().is_zero());
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_counted_from_the_answer_and_not_from_when_its_body_was_kept() {
    let upstream = Upstream::new(|_, _| async {
        let mut slow = with_header(503, "retry-after", "1");
        *slow.body_mut() = Body::new(SlowEnd(Box::pin(sleep(ms(60)))));
        Ok(slow)
    });
    let layer = builder().max_attempts(2).backoff_base(ms(1)).build().unwrap();
    status(&layer, &upstream).await;
    assert!(upstream.gaps()[0] <= ms(1002), "{:?}", upstream.gaps());
}

/// A body that ends after a while.
struct SlowEnd(Pin<Box<tokio::time::Sleep>>);

impl http_body::Body for SlowEnd {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.as_mut().poll(cx).map(|()| None)
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_total_passes_in_a_later_attempt_the_last_answer_is_returned() {
    let upstream = Upstream::new(|n, _| async move { if n == 1 { Ok(response(503)) } else { pending().await } });
    let layer = builder().total(Duration::from_secs(3)).build().unwrap();
    let begun = Instant::now();
    assert_eq!(status(&layer, &upstream).await, 503);
    assert_eq!((upstream.calls(), begun.elapsed()), (2, Duration::from_secs(3)));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_woken_too_late_ends_with_the_last_answer_and_no_further_call() {
    let upstream = Upstream::statuses([503]);
    let layer = builder().total(Duration::from_secs(3)).build().unwrap();
    let mut call = tokio_test::task::spawn(layer.layer(upstream.clone()).oneshot(get()));
    tokio_test::assert_pending!(call.poll());
    // As on a machine that was asleep.
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(call.await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_total_drops_knows_of_it() {
    struct Asks(Arc<Mutex<Vec<Option<EndedBy>>>>);
    impl Drop for Asks {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(scope::ended_by());
        }
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let asks = Arc::clone(&seen);
    let upstream = Upstream::new(move |n, _| {
        let asks = Asks(Arc::clone(&asks));
        async move {
            let _asks = asks;
            if n == 1 { Ok(response(503)) } else { pending().await }
        }
    });
    status(&builder().total(Duration::from_secs(3)).build().unwrap(), &upstream).await;
    assert_eq!(*seen.lock().unwrap(), [None, Some(EndedBy::OurLimit)]);
}

#[tokio::test(start_paused = true)]
async fn the_first_attempt_is_told_its_deadline_and_not_ended_for_lack_of_another_answer() {
    let upstream = Upstream::new(|_, _| async {
        assert_eq!(scope::time_left(), Some(Duration::from_secs(3)));
        sleep(Duration::from_secs(4)).await;
        assert_eq!(scope::time_left(), Some(Duration::ZERO));
        Ok(response(503))
    });
    let layer = builder().total(Duration::from_secs(3)).build().unwrap();
    assert_eq!(status(&layer, &upstream).await, 503);
    assert_eq!(upstream.calls(), 1, "there is no time left for another");
}

#[tokio::test(start_paused = true)]
async fn each_attempt_sees_the_earlier_of_total_and_the_callers_deadline() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    let upstream = Upstream::new(move |_, _| {
        sees.lock().unwrap().push(scope::deadline().map(|deadline| (deadline.instant(), deadline.set_by())));
        async { Ok(response(503)) }
    });
    let begun = Instant::now();
    within(Duration::from_secs(2), SetBy::Caller, status(&RetryLayer::new(ml()), &upstream)).await;
    assert_eq!(*seen.lock().unwrap(), [Some((begun + Duration::from_secs(2), SetBy::Caller)); 3]);
}

#[tokio::test(start_paused = true)]
async fn readiness_of_a_later_attempt_counts_into_the_total_and_the_last_answer_is_returned() {
    let layer = builder().total(Duration::from_secs(3)).build().unwrap();
    let begun = Instant::now();
    let upstream = Upstream::statuses([503]);
    let busy = ReadyOnce { ready: true, upstream: upstream.clone() };
    assert_eq!(layer.layer(busy).oneshot(get()).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((upstream.calls(), begun.elapsed()), (1, Duration::from_secs(3)));
}

/// As a service whose only permit is gone: no clone of it is ever ready.
struct ReadyOnce {
    ready: bool,
    upstream: Upstream,
}

impl Clone for ReadyOnce {
    fn clone(&self) -> Self {
        Self { ready: false, upstream: self.upstream.clone() }
    }
}

impl Service<Request<Body>> for ReadyOnce {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <Upstream as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.ready { self.upstream.poll_ready(cx) } else { Poll::Pending }
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.upstream.call(request)
    }
}

/// What comes of an upstream's body.
#[derive(Clone, Copy, Debug)]
enum Sends {
    Nothing,
    Whole,
    /// More than can be kept.
    TooMuch,
    /// A little every so many milliseconds, for ever.
    Drips(u64),
    Hangs,
}

impl Sends {
    fn body(self) -> Body {
        match self {
            Self::Nothing => Body::empty(),
            Self::Whole => Body::from("down"),
            Self::TooMuch => Body::from(vec![b'x'; 32 * 1024 + 1]),
            Self::Drips(every) => Drips::body(ms(every)),
            Self::Hangs => Chunks::body(["down"], Then::Hang),
        }
    }

    /// Whether there is an earlier answer in every later attempt.
    const fn is_kept(self) -> bool {
        matches!(self, Self::Nothing | Self::Whole)
    }
}

fn sends() -> impl Strategy<Value = Sends> {
    let drips = (5..300_u64).prop_map(Sends::Drips);
    prop_oneof![Just(Sends::Nothing), Just(Sends::Whole), Just(Sends::TooMuch), drips, Just(Sends::Hangs)]
}

fn backoff() -> impl Strategy<Value = Backoff> {
    let closure = (0..100_000_u64, 0..3_u32).prop_map(|(wait, grows)| {
        Backoff::Custom(BackoffFn::new(move |attempts, _| Duration::from_micros(wait) * attempts.pow(grows)))
    });
    let formulas = [Backoff::FullJitter, Backoff::EqualJitter, Backoff::Decorrelated, Backoff::Constant];
    prop_oneof![4 => proptest::sample::select(formulas.to_vec()), 1 => closure]
}

/// Milliseconds up to 24 h, of any magnitude.
fn up_to_24_h() -> impl Strategy<Value = u64> {
    let hours = 24 * 60 * 60 * 1000;
    prop_oneof![1..200_u64, 1..100_000_u64, 1..=hours, Just(hours)]
}

proptest! {
    #[test]
    fn all_attempts_and_waits_together_never_pass_the_total_nor_the_callers_deadline(
        attempts in 2..=1000_u32,
        total in up_to_24_h(),
        backoff in backoff(),
        base in up_to_24_h(),
        cap in up_to_24_h(),
        callers in proptest::option::of(up_to_24_h()),
        hung in 2..50_usize,
        server in proptest::option::of(prop_oneof![0..60_u64, 0..100_000_u64]),
        sends in sends(),
        seed: u64,
    ) {
        let knobs = builder().max_attempts(attempts).total(ms(total)).max_retry_after(ms(total)).seed(seed).no_budget();
        // In their order, so that each of them builds.
        let cap = 1 + cap % total;
        let knobs = knobs.backoff(backoff).backoff_base(ms(1 + base % cap)).backoff_cap(ms(cap));
        let layer = knobs.build().unwrap();
        let upstream = Upstream::new(move |n, _| async move {
            if n == hung {
                // As under a timeout, which is what ends an attempt where there is no earlier answer.
                let end = scope::deadline().unwrap().instant();
                if sends.is_kept() { pending().await } else { sleep_until(end).await }
            }
            let mut answer = server.map_or_else(|| response(503), |s| with_header(503, "retry-after", &s.to_string()));
            *answer.body_mut() = sends.body();
            Ok(answer)
        });
        let paused = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        paused.block_on(async {
            let begun = Instant::now();
            let limit = callers.unwrap_or(u64::MAX / 2);
            let answered = within(ms(limit), SetBy::Caller, status(&layer, &upstream)).await;
            let limit = ms(limit.min(total));
            prop_assert_eq!(answered, 503);
            prop_assert!(begun.elapsed() <= limit, "{:?} of {:?}", begun.elapsed(), limit);
            let last_call = *upstream.call_times().last().unwrap() - begun;
            prop_assert!(last_call < limit, "a call at {:?} of {:?}", last_call, limit);
            prop_assert!(upstream.calls() <= attempts as usize);
            Ok(())
        })?;
    }
}
