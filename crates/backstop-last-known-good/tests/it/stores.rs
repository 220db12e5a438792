//! Whatever a store does, callers are answered, and soon.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    time::Duration,
};

use axum::body::Body;
use backstop_core::{Deadline, Scope, SetBy};
use backstop_kit::Attempt;
use backstop_last_known_good::{LastKnownGoodLayer, NotStored};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::support::{Behaves, Pieces, TestStore, begin, body_of, get, request, response, send};

const LIMIT: Duration = Duration::from_millis(50);

fn layer(store: &TestStore) -> LastKnownGoodLayer<TestStore> {
    LastKnownGoodLayer::builder("shop").store(store.clone()).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_hangs_or_holds_garbage_is_a_miss() {
    for trouble in [Behaves::Fails, Behaves::Hangs, Behaves::Corrupts] {
        for principal in [false, true] {
            let store = TestStore::new(Behaves::Well);
            let mut builder = LastKnownGoodLayer::builder("shop").store(store.clone());
            if principal {
                builder = builder.principal(|_| Some("ann"));
            }
            let layer = builder.build().unwrap();
            send(&layer, get("/", &[]), response(200, &[], "good")).await;
            store.now(trouble);
            let asked = Instant::now();
            assert_eq!(body_of(&layer, get("/", &[])).await, Err(NotStored::StoreFailed), "{trouble:?}");
            assert!(asked.elapsed() <= LIMIT + Duration::from_millis(1), "{trouble:?}");
            store.now(Behaves::Well);
            assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "good", "{trouble:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn callers_are_answered_though_the_store_fails_or_hangs() {
    for trouble in [Behaves::Fails, Behaves::Hangs, Behaves::Corrupts] {
        let store = TestStore::new(trouble);
        let layer = layer(&store);
        for (asked, answer) in [
            (get("/", &[]), response(200, &[], "good")),
            (get("/", &[]), response(200, &[("content-length", "4")], "good")),
            (get("/", &[]), response(200, &[], Body::empty())),
            (get("/", &[]), response(404, &[], "gone")),
            (request("POST", "/", &[]), response(200, &[], "done")),
        ] {
            let (status, begun) = (answer.status(), Instant::now());
            let (head, _) = send(&layer, asked, answer).await;
            assert_eq!(head.status, status);
            assert!(begun.elapsed() <= LIMIT + Duration::from_millis(1), "{trouble:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_a_bad_state_is_written_anew() {
    let store = TestStore::new(Behaves::Corrupts);
    let layer = layer(&store);
    for _ in 0..2 {
        send(&layer, get("/", &[]), response(200, &[], "good")).await;
    }
    store.now(Behaves::Well);
    assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_holds_back_the_end_of_a_body_and_no_more() {
    let store = TestStore::new(Behaves::Slowly(Duration::from_millis(10)));
    let (layer, pieces) = (layer(&store), Pieces::default());
    let answer = response(200, &[("content-length", "4")], pieces.body());
    let begun = Instant::now();
    let mut body = begin(&layer, get("/", &[]), answer).await.into_body();
    pieces.data("go");
    body.frame().await.unwrap().unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    pieces.data("od");
    pieces.end();
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "od");
    // What leads to the answer is looked for, then put, then the answer.
    assert_eq!(begun.elapsed(), Duration::from_millis(30));
    assert!(body.frame().await.is_none());
    assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn a_body_whose_last_piece_is_held_back_is_not_at_its_end() {
    let store = TestStore::new(Behaves::Hangs);
    let layer = layer(&store);
    let body = begin(&layer, get("/", &[]), response(200, &[], "good")).await.into_body();
    let mut body = tokio_test::task::spawn(body);
    let polled = body.enter(|cx, mut body| Pin::new(&mut *body).poll_frame(cx));
    assert!(polled.is_pending());
    assert!(!body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(4));
    tokio::time::sleep(LIMIT * 2).await;
    assert!(body.is_woken());
    let polled = body.enter(|cx, mut body| Pin::new(&mut *body).poll_frame(cx));
    assert!(polled.is_ready());
    assert!(body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn two_layers_may_share_a_store_that_keeps_their_answers_apart_by_name() {
    let store = TestStore::new(Behaves::Well);
    let named = |name| LastKnownGoodLayer::builder(name).store(store.clone()).build().unwrap();
    let (one, again, other) = (named("shop"), named("shop"), named("stock"));
    send(&one, get("/", &[]), response(200, &[], "good")).await;
    assert_eq!(body_of(&again, get("/", &[])).await.unwrap(), "good");
    assert_eq!(body_of(&other, get("/", &[])).await, Err(NotStored::Missing));
    send(&again, request("PUT", "/", &[]), response(204, &[], "")).await;
    assert_eq!(body_of(&one, get("/", &[])).await, Err(NotStored::Missing));
}

#[tokio::test(start_paused = true)]
async fn a_layer_serves_nothing_older_than_it_may_whoever_stored_it() {
    let store = TestStore::new(Behaves::Well);
    let hour = Duration::from_secs(60 * 60);
    let up_to = |age| LastKnownGoodLayer::builder("shop").max_stale(age).store(store.clone()).build().unwrap();
    let (patient, strict) = (up_to(hour * 24), up_to(hour));
    send(&patient, get("/", &[]), response(200, &[], "good")).await;
    tokio::time::advance(hour * 2).await;
    assert_eq!(body_of(&patient, get("/", &[])).await.unwrap(), "good");
    assert_eq!(body_of(&strict, get("/", &[])).await, Err(NotStored::TooStale));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_makes_no_timeout_of_an_answer() {
    const LEFT: Duration = Duration::from_millis(20);
    for (asked, answer) in [
        (get("/", &[]), response(200, &[], Body::empty())),
        (get("/", &[]), response(404, &[], "gone")),
        (request("POST", "/", &[]), response(200, &[], "done")),
    ] {
        let store = TestStore::new(Behaves::Hangs);
        let (layer, status) = (layer(&store), answer.status());
        let begun = Instant::now();
        let scope = Scope::narrowed(Deadline::after(LEFT, SetBy::Us));
        let mut attempt = pin!(Attempt::start(scope, || -> Pin<Box<dyn Future<Output = _> + Send>> {
            Box::pin(async move { begin(&layer, asked, answer).await })
        }));
        let answer = poll_fn(|cx| attempt.as_mut().poll(cx)).await;
        assert_eq!(answer.unwrap().status(), status);
        assert!(begun.elapsed() <= LEFT + Duration::from_millis(1));
    }
}

/// What was to be removed isn't served though nobody could wait for its removal.
#[tokio::test(start_paused = true)]
async fn what_could_not_be_removed_within_the_deadline_is_not_served() {
    let store = TestStore::new(Behaves::Well);
    let layer = layer(&store);
    send(&layer, get("/", &[]), response(200, &[], "old")).await;
    store.now(Behaves::Hangs);
    let mut scope = Scope::narrowed(Deadline::after(Duration::from_millis(1), SetBy::Us));
    let mut write = pin!(begin(&layer, request("PUT", "/", &[]), response(204, &[], "")));
    let begun = Instant::now();
    poll_fn(|cx| scope.enter(|| write.as_mut().poll(cx))).await;
    assert_eq!(begun.elapsed(), Duration::from_millis(1));
    store.now(Behaves::Well);
    assert_eq!(body_of(&layer, get("/", &[])).await, Err(NotStored::Missing));
}

#[tokio::test(start_paused = true)]
async fn what_another_process_stored_whose_clock_is_far_ahead_is_not_served_as_new() {
    for (ahead, expected) in [(5, Ok("theirs")), (3600, Err(NotStored::Missing))] {
        let store = TestStore::new(Behaves::Well);
        let theirs = layer(&store);
        // The clock of one that is made later begins at the time of day, which is paused in no test.
        tokio::time::advance(Duration::from_secs(ahead)).await;
        let ours = layer(&store);
        send(&theirs, get("/", &[]), response(200, &[], "theirs")).await;
        assert_eq!(body_of(&theirs, get("/", &[])).await.as_deref(), Ok("theirs"));
        assert_eq!(body_of(&ours, get("/", &[])).await.as_deref(), expected.as_ref().map(|body| &**body), "{ahead}");
        if expected.is_err() {
            send(&ours, get("/", &[]), response(200, &[], "ours")).await;
            assert_eq!(body_of(&ours, get("/", &[])).await.as_deref(), Ok("ours"), "it stands in nobody's way");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_may_be_older_than_what_is_there_waits_for_a_look_at_that() {
    const ROUND_TRIP: Duration = Duration::from_millis(10);
    let store = TestStore::new(Behaves::Well);
    let layer = layer(&store);
    send(&layer, get("/", &[]), response(200, &[("age", "60")], "good")).await;
    store.now(Behaves::Slowly(ROUND_TRIP));
    for (age, round_trips) in [("60", 3), ("0", 2)] {
        let begun = Instant::now();
        send(&layer, get("/", &[]), response(200, &[("age", age)], "good")).await;
        assert_eq!(begun.elapsed(), ROUND_TRIP * round_trips, "{age}");
    }
}
