//! Whatever is dropped gives back what it held, and knows whose limit it was.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use backstop_core::{
    Deadline, Scope, SetBy,
    scope::{self, EndedBy},
};
use backstop_timeout::TimeoutLayer;
use http::{Request, Response};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit, service_fn};

const LIMIT: Duration = Duration::from_millis(100);

fn layer() -> TimeoutLayer {
    TimeoutLayer::builder("upstream").limit(LIMIT).build().unwrap()
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

#[tokio::test(start_paused = true)]
async fn a_call_that_our_limit_ends_knows_that() {
    let seen = Seen::default();
    layer().layer(hung(&seen)).oneshot(Request::new(())).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [Some(EndedBy::OurLimit)]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_callers_deadline_ends_knows_that() {
    let seen = Seen::default();
    let mut scope = Scope::narrowed(Deadline::after(Duration::from_millis(10), SetBy::Caller));
    let mut call = task::spawn(scope.enter(|| layer().layer(hung(&seen)).call(Request::new(()))));
    assert_pending!(call.poll());
    advance(Duration::from_millis(11)).await;
    assert!(call.is_woken());
    assert!(assert_ready!(call.poll()).is_ok());
    assert_eq!(*seen.lock().unwrap(), [Some(EndedBy::CallersLimit)]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_caller_drops_is_dropped_at_once_and_is_nobodys_limit() {
    let seen = Seen::default();
    for polls in [0, 1, 2] {
        let mut call = task::spawn(layer().layer(hung(&seen)).call(Request::new(())));
        for _ in 0..polls {
            assert_pending!(call.poll());
            advance(Duration::from_millis(10)).await;
        }
        // Also when the time is up and nobody has polled since.
        advance(LIMIT).await;
        drop(call);
        assert_eq!(seen.lock().unwrap().pop(), Some(None), "dropped after {polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn the_permit_of_a_call_that_was_ended_is_free_before_its_future_is_dropped() {
    let seen = Seen::default();
    let limited = ConcurrencyLimit::new(hung(&seen), 1);
    let service = layer().layer(limited.clone());
    let mut call = task::spawn(service.oneshot(Request::new(())));
    assert_pending!(call.poll());
    let mut next = task::spawn(limited);
    assert_pending!(next.enter(|cx, mut next| next.poll_ready(cx)));
    advance(LIMIT * 2).await;
    assert!(assert_ready!(call.poll()).is_ok());
    assert!(assert_ready!(next.enter(|cx, mut next| next.poll_ready(cx))).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_while_waiting_leaves_nothing_behind() {
    let seen = Seen::default();
    let limited = ConcurrencyLimit::new(hung(&seen), 1);
    let service = layer().layer(limited.clone());
    let mut holder = task::spawn(service.clone().oneshot(Request::new(())));
    assert_pending!(holder.poll());
    let mut waiting = task::spawn(service.clone().oneshot(Request::new(())));
    assert_pending!(waiting.poll());
    drop(waiting);
    drop(holder);
    assert_eq!(*seen.lock().unwrap(), [None], "the one that waited was never called");
    let mut next = task::spawn(limited);
    assert!(assert_ready!(next.enter(|cx, mut next| next.poll_ready(cx))).is_ok());
}
