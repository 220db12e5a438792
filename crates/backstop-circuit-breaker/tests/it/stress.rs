//! Many tasks on real threads, in real time, over a service whose faults come and go.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the helpers of a test may fail it, as the test itself may"
)]
#![expect(clippy::disallowed_methods, reason = "the callers are tasks of their own")]

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_circuit_breaker::{
    CircuitBreakerBuilder, CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, OnDrop, Rejection, Window,
};
use http::{Request, Response, StatusCode};
use tokio::{
    task::yield_now,
    time::{Instant, sleep, timeout},
};
use tower::{Layer, ServiceExt, service_fn};

use CircuitState::{Closed, HalfOpen, Open};

const WAIT: Duration = Duration::from_millis(10);
const LEASE: Duration = Duration::from_millis(20);
const PROBES: u32 = 3;
const CALLERS: usize = 16;
const OUTAGES: u32 = 12;
/// What a loaded machine may add.
const PATIENCE: Duration = Duration::from_secs(20);

fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder("upstream")
        .wait(WAIT)
        .probe_lease(LEASE)
        .max_concurrent_probes(PROBES)
        .success_threshold(2)
        .on_drop(OnDrop::Failure)
}

#[derive(Default)]
struct Upstream {
    faulty: AtomicBool,
    calls: AtomicU64,
}

impl Upstream {
    /// While it is faulty: an error, a bad answer, an answer that takes longer than a lease, or a hang, in turn.
    async fn answer(&self) -> Result<Response<()>, io::Error> {
        let call = self.calls.fetch_add(1, Relaxed);
        if call.is_multiple_of(3) {
            yield_now().await;
        }
        let mut response = Response::new(());
        if self.faulty.load(Relaxed) {
            match call % 4 {
                0 => return Err(io::ErrorKind::ConnectionRefused.into()),
                1 => *response.status_mut() = StatusCode::BAD_GATEWAY,
                2 => sleep(LEASE * 2).await,
                _ => std::future::pending().await,
            }
        }
        Ok(response)
    }
}

/// Calls without end, and gives up on calls that hang.
async fn calls(layer: CircuitBreakerLayer, upstream: Arc<Upstream>, stop: Arc<AtomicBool>, refused: Arc<AtomicU64>) {
    while !stop.load(Relaxed) {
        let upstream = Arc::clone(&upstream);
        let service = layer.layer(service_fn(move |_: Request<()>| {
            let upstream = Arc::clone(&upstream);
            async move { upstream.answer().await }
        }));
        let result = timeout(LEASE * 3, service.oneshot(Request::new(()))).await;
        if let Ok(Ok(response)) = result
            && response.extensions().get::<Rejection>().is_some()
        {
            refused.fetch_add(1, Relaxed);
        }
        yield_now().await;
    }
}

/// Looks at the circuit without end.
fn watch(handle: CircuitBreakerHandle, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<u32> {
    std::thread::spawn(move || {
        let mut events = handle.events();
        let (mut last, mut opened) = (None, 0);
        let mut generation = 0;
        while !stop.load(Relaxed) {
            let counts = handle.counts();
            assert!(counts.probes <= PROBES, "{counts:?}");
            assert!(counts.failures <= counts.calls, "{counts:?}");
            assert!(handle.generation() >= generation);
            generation = handle.generation();
            while let Some(event) = events.try_next() {
                let allowed = [(Closed, Open), (Open, HalfOpen), (HalfOpen, Open), (HalfOpen, Closed)];
                assert!(allowed.contains(&(event.from, event.to)), "{event:?}");
                if let Some((seq, to)) = last {
                    assert!(event.seq > seq);
                    // One state at a time: each transition starts where the one before it ended.
                    assert!(event.seq > seq + 1 || event.from == to, "{event:?}");
                }
                last = Some((event.seq, event.to));
                opened += u32::from(event.to == Open);
            }
            std::thread::yield_now();
        }
        opened
    })
}

async fn becomes(handle: &CircuitBreakerHandle, is: impl Fn(CircuitState) -> bool) -> Duration {
    let started = Instant::now();
    let mut state = handle.subscribe();
    timeout(PATIENCE, state.wait_for(is)).await.expect("the circuit is wedged").unwrap();
    started.elapsed()
}

async fn survives(layer: CircuitBreakerLayer) {
    let handle = layer.handle();
    let upstream = Arc::new(Upstream::default());
    let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| tokio::spawn(calls(layer.clone(), Arc::clone(&upstream), Arc::clone(&stop), Arc::clone(&refused))))
        .collect();
    let watcher = watch(handle.clone(), Arc::clone(&stop));
    let slowest = AtomicU32::new(0);
    for _ in 0..OUTAGES {
        upstream.faulty.store(true, Relaxed);
        becomes(&handle, |state| state != Closed).await;
        sleep(WAIT * 3).await;
        upstream.faulty.store(false, Relaxed);
        let healed = becomes(&handle, |state| state == Closed).await;
        slowest.fetch_max(healed.as_millis() as u32, Relaxed);
    }
    stop.store(true, Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(watcher.join().unwrap() > 0);
    assert!(refused.load(Relaxed) > 0);
    assert_eq!(handle.state(), Closed);
    assert_eq!(handle.counts().probes, 0);
    // The dependency was well: a probe that still hung holds its lease, and a late failure may cost one wait more.
    // Beyond that only the machine's own load counts.
    let slowest = Duration::from_millis(slowest.load(Relaxed).into());
    assert!(slowest < (WAIT + LEASE) * 3 + Duration::from_secs(2), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_never_wedges_counting_failures_in_a_row() {
    survives(builder().build().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_never_wedges_counting_the_last_calls() {
    survives(builder().failure_rate(0.2).window(100).min_calls(10).build().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_never_wedges_counting_the_last_second_and_slow_calls() {
    let window = Window::Time(Duration::from_secs(1));
    let builder = builder().failure_rate(0.2).window(window).min_calls(10).slow_calls(LEASE, 0.5);
    survives(builder.build().unwrap()).await;
}
