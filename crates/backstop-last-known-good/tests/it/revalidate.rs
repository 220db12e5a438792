//! What is a little stale is served at once, and fetched anew once, in the background.

#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::body::Body;
use backstop_core::{Degradation, Freshness, Inspect, Reason, Scope};
use backstop_last_known_good::{
    LastKnownGoodLayer, Refresh, StaleWhileRevalidateConfig, StaleWhileRevalidateLayer, name,
};
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::time::{Instant, advance, timeout};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use crate::support::{get, request, response};

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: &str = "max-age=60, stale-while-revalidate=600";

/// What the primary does.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answer(&'static str, &'static str),
    Fail,
    Hang,
    Panic,
}

/// A stack around a primary, and the refreshes that wait to be run.
#[derive(Clone)]
struct Shop {
    does: Arc<Mutex<Does>>,
    calls: Arc<Mutex<Vec<String>>>,
    waiting: Arc<Mutex<Vec<Refresh>>>,
    known: LastKnownGoodLayer,
    refreshing: StaleWhileRevalidateLayer,
}

impl Shop {
    fn new() -> Self {
        Self::with(LastKnownGoodLayer::new(name!("shop")))
    }

    fn with(known: LastKnownGoodLayer) -> Self {
        let waiting: Arc<Mutex<Vec<Refresh>>> = Arc::default();
        let queue = Arc::clone(&waiting);
        let execute = move |refresh| queue.lock().unwrap().push(refresh);
        let refreshing = StaleWhileRevalidateLayer::builder(known.handle(), execute)
            .refresh_timeout(SECOND)
            .max_refreshes(2)
            .build()
            .unwrap();
        let does = Arc::new(Mutex::new(Does::Answer(WINDOW, "first")));
        Self { does, calls: Arc::default(), waiting, known, refreshing }
    }

    fn now(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// The refreshes that were handed to the executor since this was asked last.
    fn handed(&self) -> Vec<Refresh> {
        std::mem::take(&mut *self.waiting.lock().unwrap())
    }

    async fn answer(&self, asked: Request<Body>) -> Response<Body> {
        let this = self.clone();
        let primary = service_fn(move |asked: Request<Body>| {
            this.calls.lock().unwrap().push(asked.uri().to_string());
            let does = *this.does.lock().unwrap();
            async move {
                Ok::<_, Infallible>(match does {
                    Does::Answer(control, body) => response(200, &[("cache-control", control)], body),
                    Does::Fail => response(503, &[], ""),
                    Does::Hang => pending().await,
                    Does::Panic => panic!("the primary's own"),
                })
            }
        });
        let stack = ServiceBuilder::new().layer(self.refreshing.clone()).layer(self.known.clone()).service(primary);
        stack.oneshot(asked).await.unwrap()
    }

    async fn body(&self, asked: Request<Body>) -> String {
        let body = self.answer(asked).await.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    /// One whose stored answer is stale, and whose primary has a new one.
    async fn stale() -> Self {
        let shop = Self::new();
        assert_eq!(shop.body(get("/", &[])).await, "first");
        advance(SECOND * 90).await;
        shop.now(Does::Answer(WINDOW, "second"));
        shop
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_is_served_at_once_and_refreshed_by_one() {
    let shop = Shop::stale().await;
    for _ in 0..5 {
        assert_eq!(shop.body(get("/", &[])).await, "first");
    }
    assert_eq!(shop.calls(), 1, "nothing runs but on the executor");
    let mut refreshes = shop.handed();
    assert_eq!(refreshes.len(), 1);
    refreshes.remove(0).await;
    assert_eq!(shop.calls(), 2);
    assert_eq!(shop.body(get("/", &[])).await, "second");
    assert_eq!((shop.calls(), shop.handed().len()), (2, 0), "which is fresh");
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_reported_with_its_age_and_a_fresh_one_is_not() {
    let shop = Shop::new();
    shop.body(get("/", &[])).await;
    for (seconds, expected) in [(30, None), (60, Some(90))] {
        advance(SECOND * seconds).await;
        let mut scope = Scope::new();
        let mut call = Box::pin(shop.answer(get("/", &[])));
        let answer = std::future::poll_fn(|cx| scope.enter(|| call.as_mut().poll(cx))).await;
        let reports = scope.take_reports();
        let record = answer.extensions().get::<Degradation>();
        assert_eq!(reports.first().map(|report| report.freshness().age().unwrap().as_secs()), expected);
        assert_eq!(record.is_some(), expected.is_some());
        if let (Some(record), [report]) = (record, &reports[..]) {
            assert!(record.is(report));
            assert!(matches!(record.freshness(), Freshness::Stale { .. }));
            assert_eq!((record.source(), record.reason()), (&name!("shop"), Reason::REVALIDATING));
        }
        assert_eq!(answer.headers()["age"], expected.unwrap_or(30).to_string());
    }
    assert_eq!(shop.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_ask_for_it_is_served_by_the_primary() {
    for control in [
        "",
        "max-age=60",
        "must-revalidate, max-age=60, stale-while-revalidate=600",
        "s-maxage=60, stale-while-revalidate=600",
    ] {
        let shop = Shop::new();
        shop.now(Does::Answer(control, "first"));
        shop.body(get("/", &[])).await;
        shop.body(get("/", &[])).await;
        assert_eq!((shop.calls(), shop.handed().len()), (2, 0), "{control}");
    }
    let shop = Shop::new();
    shop.body(get("/", &[])).await;
    advance(SECOND * 660).await;
    shop.now(Does::Answer(WINDOW, "second"));
    assert_eq!(shop.body(get("/", &[])).await, "second", "beyond the window");
}

/// These may not be stale, so that their `stale-while-revalidate` means nothing (RFC 9111 §5.2.2.2, §5.2.2.8, §5.2.2.10).
#[tokio::test(start_paused = true)]
async fn what_may_not_be_stale_is_the_primarys_even_while_it_is_fresh() {
    let by_user = || LastKnownGoodLayer::builder("shop").principal(|head| head.headers.get("x-user").cloned()).build();
    let of_ann = || get("/", &[("x-user", "ann")]);
    for (control, shared, personal) in [
        ("must-revalidate, max-age=60, stale-while-revalidate=600", false, false),
        ("proxy-revalidate, max-age=60, stale-while-revalidate=600", false, true),
        ("s-maxage=60, max-age=60, stale-while-revalidate=600", false, true),
        ("max-age=60, stale-while-revalidate=600", true, true),
    ] {
        for (asked, is_served) in [(get("/", &[]), shared), (of_ann(), personal)] {
            let shop = Shop::with(by_user().unwrap());
            let again = || {
                let mut again = get("/", &[]);
                again.headers_mut().clone_from(asked.headers());
                again
            };
            shop.now(Does::Answer(control, "first"));
            shop.body(again()).await;
            shop.now(Does::Answer(control, "second"));
            for (seconds, refreshes) in [(30, 0), (60, 1)] {
                advance(SECOND * seconds).await;
                let expected = if is_served { ("first", refreshes) } else { ("second", 0) };
                assert_eq!((&*shop.body(again()).await, shop.handed().len()), expected, "{control} {seconds}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_with_an_opinion_is_served_by_the_primary() {
    let shop = Shop::stale().await;
    let mut calls = shop.calls();
    let mut is_asked = async |request| {
        shop.body(request).await;
        calls += 1;
        shop.calls() == calls
    };
    for field in [
        "cache-control",
        "pragma",
        "range",
        "if-range",
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
    ] {
        assert!(is_asked(get("/", &[(field, "no-store")])).await, "{field}");
    }
    let mut with_a_body = get("/", &[]);
    *with_a_body.body_mut() = Body::from("which?");
    assert!(is_asked(with_a_body).await);
    assert!(is_asked(request("HEAD", "/", &[])).await);
    // It is about its connection.
    assert!(is_asked(get("/", &[("connection", "upgrade"), ("upgrade", "websocket")])).await);
    assert_eq!(shop.handed().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_no_server_could_switch_to_is_answered_from_the_store_as_any_request() {
    for fields in [&[("connection", "upgrade")][..], &[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")]] {
        let shop = Shop::stale().await;
        shop.now(Does::Answer(WINDOW, "second"));
        assert_eq!(shop.body(get("/", fields)).await, "first", "{fields:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_or_hangs_or_panics_changes_nothing_and_the_next_request_tries_again() {
    for trouble in [Does::Fail, Does::Hang, Does::Panic] {
        let shop = Shop::stale().await;
        shop.now(trouble);
        for _ in 0..3 {
            assert_eq!(shop.body(get("/", &[])).await, "first");
            let mut refreshes = shop.handed();
            assert_eq!(refreshes.len(), 1, "{trouble:?}");
            let (begun, refresh) = (Instant::now(), refreshes.remove(0));
            let panicked =
                tokio::task::LocalSet::new().run_until(async { tokio::task::spawn_local(refresh).await }).await;
            assert_eq!(panicked.is_err(), matches!(trouble, Does::Panic));
            assert!(begun.elapsed() <= SECOND + SECOND / 100, "{trouble:?}");
        }
        shop.now(Does::Answer(WINDOW, "second"));
        shop.body(get("/", &[])).await;
        shop.handed().remove(0).await;
        assert_eq!(shop.body(get("/", &[])).await, "second");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_is_dropped_leaves_the_way_free_for_another() {
    let shop = Shop::stale().await;
    shop.now(Does::Hang);
    for polled in [false, true] {
        shop.body(get("/", &[])).await;
        let mut refreshes = shop.handed();
        assert_eq!(refreshes.len(), 1);
        if polled {
            assert!(timeout(SECOND / 2, &mut refreshes[0]).await.is_err());
        }
        shop.body(get("/", &[])).await;
        assert_eq!(shop.handed().len(), 0, "one is on its way");
        drop(refreshes);
    }
    shop.body(get("/", &[])).await;
    assert_eq!(shop.handed().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_refreshes_run_than_are_allowed() {
    let shop = Shop::new();
    let paths = ["/a", "/b", "/c"];
    for path in paths {
        shop.body(get(path, &[])).await;
    }
    advance(SECOND * 90).await;
    for path in paths {
        assert_eq!(shop.body(get(path, &[])).await, "first");
    }
    assert_eq!(shop.handed().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_finds_it_gone_forgets_it() {
    let shop = Shop::stale().await;
    shop.body(get("/", &[])).await;
    let gone = shop.handed().remove(0);
    shop.now(Does::Answer("no-store", "secret"));
    gone.await;
    assert_eq!(shop.body(get("/", &[])).await, "secret");
    assert_eq!(shop.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_is_served_though_the_primary_is_not_ready() {
    let shop = Shop::stale().await;
    let (inner, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    handle.allow(0);
    let mut stack = ServiceBuilder::new().layer(shop.refreshing.clone()).layer(shop.known.clone()).service(inner);
    std::future::poll_fn(|cx| stack.poll_ready(cx)).await.unwrap();
    let answer = stack.call(get("/", &[])).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "first");
    assert!(timeout(SECOND, stack.call(get("/other", &[]))).await.is_err(), "this one must wait");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_served_or_refreshed_for_another() {
    let by_user = LastKnownGoodLayer::builder("shop").principal(|head| head.headers.get("x-user").cloned());
    let shop = Shop::with(by_user.build().unwrap());
    let of = |user| get("/", &[("x-user", user)]);
    shop.now(Does::Answer("private, max-age=60, stale-while-revalidate=600", "ann's"));
    shop.body(of("ann")).await;
    shop.now(Does::Answer("private, max-age=60, stale-while-revalidate=600", "ben's"));
    assert_eq!(shop.body(of("ben")).await, "ben's");
    advance(SECOND * 90).await;
    assert_eq!(shop.body(of("ann")).await, "ann's");
    assert_eq!(shop.body(of("ben")).await, "ben's");
    assert_eq!(shop.handed().len(), 2, "one each");
}

#[test]
fn what_is_out_of_bounds_is_refused_by_its_name() {
    let known = LastKnownGoodLayer::new(name!("shop"));
    let builder = || StaleWhileRevalidateLayer::builder(known.handle(), drop);
    assert_eq!(builder().refresh_timeout(Duration::ZERO).build().unwrap_err().field, "refresh_timeout");
    assert_eq!(builder().refresh_timeout(SECOND * 3601).build().unwrap_err().field, "refresh_timeout");
    assert_eq!(builder().max_refreshes(0).build().unwrap_err().field, "max_refreshes");
    assert_eq!(builder().max_refreshes(1_000_001).build().unwrap_err().field, "max_refreshes");
    assert!(builder().build().is_ok());
}

/// These settings of refreshes.
fn refreshes(refresh_timeout: Duration, max_refreshes: usize) -> StaleWhileRevalidateConfig {
    let mut config = StaleWhileRevalidateConfig::default();
    (config.refresh_timeout, config.max_refreshes) = (refresh_timeout, max_refreshes);
    config
}

#[tokio::test(start_paused = true)]
async fn a_reload_holds_for_refreshes_that_begin_afterwards_and_counts_those_that_run() {
    let shop = Shop::new();
    for path in ["/a", "/b", "/c"] {
        shop.body(get(path, &[])).await;
    }
    advance(SECOND * 90).await;
    shop.now(Does::Hang);
    shop.body(get("/a", &[])).await;
    let first = shop.handed();
    assert_eq!(first.len(), 1);

    let handle = shop.refreshing.handle();
    handle.reload(refreshes(SECOND * 5, 1)).unwrap();
    shop.body(get("/b", &[])).await;
    assert_eq!(shop.handed().len(), 0, "the one that runs is as many as may run");
    handle.reload(refreshes(SECOND * 5, 2)).unwrap();
    shop.body(get("/b", &[])).await;
    let second = shop.handed();
    assert_eq!(second.len(), 1);

    for (refresh, limit) in first.into_iter().zip([SECOND]).chain(second.into_iter().zip([SECOND * 5])) {
        let start = Instant::now();
        refresh.await;
        assert_eq!(start.elapsed(), limit);
    }
}

#[test]
fn an_inventory_shows_the_settings_as_they_were_reloaded() {
    let handle = Shop::new().refreshing.handle();
    handle.reload(refreshes(SECOND * 5, 1)).unwrap();
    assert_eq!((handle.name().as_str(), handle.kind()), ("shop", "stale-while-revalidate"));
    assert_eq!(handle.settings(), [("refresh_timeout", (SECOND * 5).into()), ("max_refreshes", 1_usize.into())]);
}

#[test]
fn a_wrong_reload_is_refused_and_changes_nothing() {
    let shop = Shop::new();
    let handle = shop.refreshing.handle();
    let wrong = [(Duration::ZERO, 1, "refresh_timeout"), (SECOND, 0, "max_refreshes")];
    for (refresh_timeout, max_refreshes, field) in wrong {
        let config = refreshes(refresh_timeout, max_refreshes);
        assert_eq!(handle.check(&config).unwrap_err().field, field);
        assert_eq!(handle.reload(config).unwrap_err().field, field);
        assert_eq!((handle.refresh_timeout(), handle.max_refreshes()), (SECOND, 2));
    }
}

#[cfg(feature = "serde")]
#[test]
fn the_settings_of_refreshes_are_read_from_a_file() {
    use proptest::prelude::*;

    let samples =
        (any::<u64>(), 0..usize::MAX / 2).prop_map(|(nanos, max)| refreshes(Duration::from_nanos(nanos), max));
    let known = LastKnownGoodLayer::new(name!("shop"));
    let build = |config| StaleWhileRevalidateLayer::builder(known.handle(), drop).with_config(config).build();
    let fields = &["refresh_timeout", "max_refreshes"];
    backstop_test::assert_config_file("", &StaleWhileRevalidateConfig::default(), fields, samples, build);
}
