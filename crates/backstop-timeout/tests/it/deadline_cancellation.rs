//! Wherever a request is given up, what it held is free at once, and what is dropped knows whose limit it was.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use backstop_core::scope::{self, EndedBy};
use backstop_timeout::DeadlineLayer;
use http::{Request, Response, Version};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit, service_fn};

const LIMIT: Duration = Duration::from_millis(100);

fn layer() -> DeadlineLayer {
    DeadlineLayer::builder("edge").limit(LIMIT).build().unwrap()
}

type Seen = Arc<Mutex<Vec<Option<EndedBy>>>>;

/// Notes, when it is dropped, whose limit dropped it.
struct Notes(Seen);

impl Drop for Notes {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(scope::ended_by());
    }
}

/// A call that hangs and holds something.
fn hung(
    seen: &Seen,
) -> impl Service<Request<()>, Response = Response<String>, Error = Infallible, Future: Send> + Clone + use<> {
    let seen = Arc::clone(seen);
    service_fn(move |_: Request<()>| {
        let notes = Notes(Arc::clone(&seen));
        async move {
            let _notes = notes;
            pending().await
        }
    })
}

fn taken(seen: &Seen) -> Vec<Option<EndedBy>> {
    std::mem::take(&mut *seen.lock().unwrap())
}

fn grpc(timeout: &str) -> Request<()> {
    let request = Request::post("/a.B/C").version(Version::HTTP_2).header("content-type", "application/grpc");
    request.header("grpc-timeout", timeout).body(()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_the_deadline_drops_knows_whose_it_was() {
    let seen = Seen::default();
    layer().layer(hung(&seen)).oneshot(Request::new(())).await.unwrap();
    assert_eq!(taken(&seen), [Some(EndedBy::OurLimit)]);
    for timeout in ["1n", "99m"] {
        layer().layer(hung(&seen)).oneshot(grpc(timeout)).await.unwrap();
        assert_eq!(taken(&seen), [Some(EndedBy::CallersLimit)], "{timeout}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_drops_is_dropped_at_once_and_is_nobodys_limit() {
    let seen = Seen::default();
    for polls in 0..3 {
        let mut call = task::spawn(layer().layer(hung(&seen)).call(Request::new(())));
        for _ in 0..polls {
            assert_pending!(call.poll());
            advance(Duration::from_millis(10)).await;
        }
        // Also when the time is up and nobody has polled since.
        advance(LIMIT).await;
        drop(call);
        let expected: &[_] = if polls == 0 { &[] } else { &[None] };
        assert_eq!(taken(&seen), expected, "dropped after {polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn no_permit_is_lost_wherever_the_call_is_dropped() {
    let seen = Seen::default();
    let limited = ConcurrencyLimit::new(hung(&seen), 1);
    let service = layer().layer(limited.clone());
    let is_free = || {
        let mut next = task::spawn(limited.clone());
        assert_ready_ok!(next.enter(|cx, mut next| next.poll_ready(cx)));
    };
    // Before its first poll; while it waits for the permit; while it holds it.
    drop(service.clone().call(Request::new(())));
    is_free();

    let mut holds = task::spawn(service.clone().call(Request::new(())));
    assert_pending!(holds.poll());
    let mut waits = task::spawn(service.clone().call(Request::new(())));
    assert_pending!(waits.poll());
    drop(waits);
    drop(holds);
    assert_eq!(taken(&seen), [None], "the one that waited was never called");
    is_free();

    // And of one that is over the permit is free before its future is dropped.
    let mut over = task::spawn(service.clone().call(Request::new(())));
    assert_pending!(over.poll());
    advance(LIMIT * 2).await;
    assert_ready_ok!(over.poll());
    is_free();
}
