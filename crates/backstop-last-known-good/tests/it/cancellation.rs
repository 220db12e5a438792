//! Whoever gives up, at whatever moment, leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axum::body::Body;
use backstop_last_known_good::{LastKnownGoodLayer, NotStored, Refresh, StaleWhileRevalidateLayer};
use http::Request;
use http_body_util::BodyExt;
use tokio::time::{advance, timeout};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use crate::support::{Behaves, TestStore, begin, body_of, get, request, response, send};

const STEP: Duration = Duration::from_millis(10);

fn layer(store: &TestStore) -> LastKnownGoodLayer<TestStore> {
    LastKnownGoodLayer::builder("shop").principal(|_| Some("ann")).store(store.clone()).build().unwrap()
}

/// Polls a future that many times, letting a step of time pass between, and drops it. Whether it ended.
pub(crate) async fn give_up_after<F: Future>(polls: usize, future: F) -> bool {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        if poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await {
            return true;
        }
        advance(STEP).await;
    }
    false
}

#[tokio::test(start_paused = true)]
async fn an_answer_given_up_at_any_point_is_stored_whole_or_not_at_all() {
    let mut polls = 0;
    loop {
        let store = TestStore::new(Behaves::Slowly(STEP));
        let layer = layer(&store);
        let ended = give_up_after(polls, send(&layer, get("/", &[]), response(200, &[], "good"))).await;
        let puts = store.puts();
        advance(STEP * 100).await;
        assert_eq!(store.puts(), puts, "nothing goes on by itself");
        store.now(Behaves::Well);
        match body_of(&layer, get("/", &[])).await {
            Ok(body) => assert_eq!(body, "good"),
            Err(reason) => assert!(!ended && reason == NotStored::Missing, "after {polls}: {reason}"),
        }
        if ended {
            break;
        }
        polls += 1;
    }
    assert!(polls >= 5, "{polls}: two look-ups and three puts");
}

#[tokio::test(start_paused = true)]
async fn a_write_given_up_while_the_store_forgets_is_remembered() {
    for polls in 1..3 {
        let store = TestStore::new(Behaves::Well);
        let layer = layer(&store);
        send(&layer, get("/", &[]), response(200, &[], "old")).await;
        advance(STEP).await;
        store.now(Behaves::Slowly(Duration::from_millis(45)));
        assert!(!give_up_after(polls, begin(&layer, request("DELETE", "/", &[]), response(204, &[], ""))).await);
        store.now(Behaves::Well);
        assert_eq!(body_of(&layer, get("/", &[])).await, Err(NotStored::Missing), "after {polls}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_drops_the_call_inside() {
    struct Running(Arc<AtomicUsize>);
    impl Drop for Running {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let running = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&running);
    let hung = service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let running = Running(Arc::clone(&counted));
        async move {
            let _running = running;
            std::future::pending::<Result<http::Response<Body>, Infallible>>().await
        }
    });
    let store = TestStore::new(Behaves::Well);
    let layer = layer(&store);
    for method in ["GET", "POST", "OPTIONS"] {
        let call = layer.layer(hung.clone()).oneshot(request(method, "/", &[]));
        assert!(timeout(STEP, call).await.is_err());
        assert_eq!(running.load(Ordering::SeqCst), 0, "{method}");
    }
    assert_eq!(store.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_look_up_given_up_at_any_point_does_no_harm() {
    let store = TestStore::new(Behaves::Well);
    let layer = layer(&store);
    send(&layer, get("/", &[]), response(200, &[], "good")).await;
    store.now(Behaves::Slowly(STEP));
    for polls in 0..4 {
        give_up_after(polls, layer.handle().answer::<Body>(get("/", &[]).into_parts().0)).await;
    }
    store.now(Behaves::Well);
    assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn a_look_up_of_what_is_stale_given_up_at_any_point_starts_nothing_and_leaves_nothing() {
    let (store, calls) = (TestStore::new(Behaves::Well), Arc::new(AtomicUsize::new(0)));
    let (layer, refreshes) = (layer(&store), Arc::new(Mutex::new(Vec::<Refresh>::new())));
    let (counted, handed) = (Arc::clone(&calls), Arc::clone(&refreshes));
    let primary = service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let control = [("cache-control", "max-age=60, stale-while-revalidate=600")];
        async move { Ok::<_, Infallible>(response(200, &control, "good")) }
    });
    let refreshing =
        StaleWhileRevalidateLayer::new(layer.handle(), move |refresh| handed.lock().unwrap().push(refresh));
    let shop = ServiceBuilder::new().layer(refreshing).layer(layer.clone()).service(primary);
    let ask = || async { shop.clone().oneshot(get("/", &[])).await.unwrap().into_body().collect().await.unwrap() };
    ask().await;
    advance(STEP * 9000).await;
    store.now(Behaves::Slowly(STEP));
    let mut polls = 0;
    while !give_up_after(polls, ask()).await {
        assert_eq!((calls.load(Ordering::SeqCst), refreshes.lock().unwrap().len()), (1, 0), "after {polls}");
        polls += 1;
    }
    assert_eq!(polls, 4, "three look-ups");
    // Who stayed was served, and had the only refresh.
    ask().await;
    let refresh: Vec<_> = std::mem::take(&mut *refreshes.lock().unwrap());
    assert_eq!((calls.load(Ordering::SeqCst), refresh.len()), (1, 1));
    drop(refresh);
    ask().await;
    assert_eq!(refreshes.lock().unwrap().len(), 1, "another may be had");
}

#[tokio::test(start_paused = true)]
async fn a_served_body_may_be_dropped_half_read() {
    let store = TestStore::new(Behaves::Well);
    let layer = layer(&store);
    send(&layer, get("/", &[]), response(200, &[], "good")).await;
    let answer = layer.handle().answer::<Body>(get("/", &[]).into_parts().0).await.unwrap();
    drop(Pin::new(&mut answer.into_value().into_body()).frame());
    assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "good");
}
