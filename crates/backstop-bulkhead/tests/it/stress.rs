//! Many tasks on real threads, in real time, over a bulkhead that is much too small, and changes its size.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]
#![expect(clippy::disallowed_methods, reason = "the callers are tasks of their own")]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::body::Body;
use backstop_bulkhead::{BulkheadLayer, Rejection};
use http::{Request, Response};
use tokio::{task::yield_now, time::timeout};
use tower::{Layer, ServiceExt, service_fn};

const CALLERS: u64 = 32;
const CALLS: u64 = 2_000;
const LARGEST: u32 = 4;
/// What a loaded machine may add.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts who runs.
struct Running(Arc<AtomicU32>);

impl Running {
    fn enter(count: &Arc<AtomicU32>) -> Self {
        let running = count.fetch_add(1, SeqCst) + 1;
        assert!(running <= LARGEST, "{running} at once");
        Self(Arc::clone(count))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_permit_is_lost_and_never_too_many_run() {
    let layer = BulkheadLayer::builder("upstream").max_concurrent(LARGEST).max_waiting(16).build().unwrap();
    let (running, answered) = (Arc::<AtomicU32>::default(), Arc::<AtomicU64>::default());
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (layer, running, answered) = (layer.clone(), Arc::clone(&running), Arc::clone(&answered));
            let service = service_fn(move |_: Request<Body>| {
                let running = Running::enter(&running);
                async move {
                    let _running = running;
                    yield_now().await;
                    Ok::<_, Infallible>(Response::new(Body::from("text")))
                }
            });
            tokio::spawn(async move {
                for call in 0..CALLS {
                    let response = layer.layer(service.clone()).oneshot(Request::new(Body::empty()));
                    match (caller + call) % 8 {
                        // Leaves at some time.
                        0 => {
                            let mut response = std::pin::pin!(response);
                            for _ in 0..call % 5 {
                                tokio::select! {
                                    biased;
                                    _ = &mut response => break,
                                    () = yield_now() => {}
                                }
                            }
                        }
                        1 => drop(response.await.unwrap()),
                        2 => layer.handle().set_max_concurrent(1 + (call as u32 % LARGEST)).unwrap(),
                        _ => {
                            let response = response.await.unwrap();
                            if response.extensions().get::<Rejection>().is_none() {
                                axum::body::to_bytes(response.into_body(), 99).await.unwrap();
                                answered.fetch_add(1, SeqCst);
                            }
                        }
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        timeout(PATIENCE, caller).await.expect("a lost wake-up").unwrap();
    }
    let handle = layer.handle();
    assert_eq!((handle.in_use(), handle.waiting(), running.load(SeqCst)), (0, 0, 0));
    assert!(answered.load(SeqCst) > 0);
}
