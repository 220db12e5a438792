//! A circuit that nobody calls closes by the calls of a prober.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]
#![expect(clippy::disallowed_methods, reason = "a prober is spawned, and so are callers")]

use backstop_core::{Name, Reason};
use std::{
    convert::Infallible,
    future::{pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_circuit_breaker::{
    CircuitBreakerBuilder, CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, CircuitStatus, OnDrop, Rejection,
};
use http::{Request, Response, StatusCode};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, advance, sleep},
};
use tower::{Layer, ServiceExt, service_fn};

use CircuitState::{Closed, HalfOpen, Open};

const WAIT: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder("upstream").consecutive_failures(1)
}

async fn call(layer: &CircuitBreakerLayer, status: StatusCode) -> bool {
    let answers = service_fn(move |_: Request<()>| {
        let mut response = Response::new(());
        *response.status_mut() = status;
        ready(Ok::<_, Infallible>(response))
    });
    let response = layer.layer(answers).oneshot(Request::new(())).await.unwrap();
    response.extensions().get::<Rejection>().is_none()
}

/// A circuit that has just opened.
async fn opened(builder: CircuitBreakerBuilder) -> (CircuitBreakerLayer, CircuitBreakerHandle) {
    let layer = builder.build().unwrap();
    let handle = layer.handle();
    call(&layer, StatusCode::BAD_GATEWAY).await;
    assert_eq!(handle.state(), Open);
    (layer, handle)
}

/// What probes find, and how many there were.
#[derive(Clone, Default)]
struct Dependency {
    fails: Arc<AtomicBool>,
    calls: Arc<AtomicU32>,
}

impl Dependency {
    fn calls(&self) -> u32 {
        self.calls.load(Relaxed)
    }

    fn probe(&self, circuit: &CircuitBreakerHandle) -> JoinHandle<()> {
        let this = self.clone();
        tokio::spawn(circuit.prober(move || {
            this.calls.fetch_add(1, Relaxed);
            ready(if this.fails.load(Relaxed) { Err("down") } else { Ok(()) })
        }))
    }
}

async fn pass(time: Duration) {
    sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_circuit_closes_by_the_probers_calls_alone() {
    let (_layer, handle) = opened(builder().success_threshold(3)).await;
    let (began, dependency) = (Instant::now(), Dependency::default());
    dependency.probe(&handle);
    pass(WAIT - SECOND).await;
    assert_eq!((handle.status(), dependency.calls()), (CircuitStatus::Open, 0));
    // All but the last success at once, and that one after a whole wait without a call.
    pass(2 * SECOND).await;
    assert_eq!((handle.state(), dependency.calls(), handle.counts().probe_successes), (HalfOpen, 2, 2));
    handle.subscribe().wait_for(|state| state == Closed).await.unwrap();
    assert_eq!((dependency.calls(), began.elapsed().as_secs()), (3, 2 * WAIT.as_secs()));
    // And then it rests.
    pass(100 * WAIT).await;
    assert_eq!(dependency.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_idle_circuit_that_one_success_closes_waits_for_a_call_first() {
    let (_layer, handle) = opened(builder().success_threshold(1)).await;
    let dependency = Dependency::default();
    dependency.probe(&handle);
    pass(WAIT + SECOND).await;
    assert_eq!((handle.status(), dependency.calls()), (CircuitStatus::ProbeDue, 0));
    pass(WAIT).await;
    assert_eq!((handle.state(), dependency.calls()), (Closed, 1));
}

#[tokio::test(start_paused = true)]
async fn an_idle_circuit_opens_again_when_the_prober_finds_the_dependency_down() {
    let (_layer, handle) = opened(builder()).await;
    let dependency = Dependency::default();
    dependency.fails.store(true, Relaxed);
    dependency.probe(&handle);
    pass(10 * WAIT + SECOND).await;
    assert_eq!((handle.status(), dependency.calls()), (CircuitStatus::Open, 10));
    dependency.fails.store(false, Relaxed);
    pass(2 * WAIT).await;
    assert_eq!(handle.state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn a_prober_that_is_well_closes_no_circuit_whose_calls_fail() {
    let (layer, handle) = opened(builder()).await;
    let dependency = Dependency::default();
    dependency.probe(&handle);
    for _ in 0..100 {
        pass(WAIT / 4).await;
        call(&layer, StatusCode::BAD_GATEWAY).await;
        assert_ne!(handle.state(), Closed);
    }
    // One success a wait, and the failing call after it opens again.
    assert!(dependency.calls() <= 25, "{}", dependency.calls());
}

#[tokio::test(start_paused = true)]
async fn a_prober_closes_no_circuit_whose_calls_hang() {
    let (layer, handle) = opened(builder().on_drop(OnDrop::Ignore).wait(5 * SECOND)).await;
    let dependency = Dependency::default();
    dependency.probe(&handle);
    pass(6 * SECOND).await;
    assert_eq!(handle.counts().probe_successes, 1);
    let hangs = layer.layer(service_fn(|_: Request<()>| pending::<Result<Response<()>, Infallible>>()));
    let _hung = tokio::spawn(hangs.oneshot(Request::new(())));
    // Its lease is six waits long.
    pass(29 * SECOND).await;
    assert_eq!((handle.state(), handle.counts().probes, dependency.calls()), (HalfOpen, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_supplies_the_success_that_the_prober_leaves_to_it() {
    let (layer, handle) = opened(builder()).await;
    let dependency = Dependency::default();
    dependency.probe(&handle);
    pass(WAIT + SECOND).await;
    assert_eq!((handle.state(), dependency.calls()), (HalfOpen, 1));
    assert!(call(&layer, StatusCode::OK).await);
    assert_eq!((handle.state(), dependency.calls()), (Closed, 1));
}

#[tokio::test(start_paused = true)]
async fn probes_and_calls_together_are_no_more_than_the_allowed_number() {
    for allowed in [1, 3] {
        let (layer, handle) = opened(builder().success_threshold(50).max_concurrent_probes(allowed).wait(SECOND)).await;
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let asks = {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            move || {
                let (running, most) = (Arc::clone(&running), Arc::clone(&most));
                async move {
                    most.fetch_max(running.fetch_add(1, Relaxed) + 1, Relaxed);
                    sleep(SECOND / 10).await;
                    running.fetch_sub(1, Relaxed);
                }
            }
        };
        for _ in 0..4 {
            let asks = asks.clone();
            tokio::spawn(handle.prober(move || {
                let asked = asks();
                async move {
                    asked.await;
                    Ok::<_, Infallible>(())
                }
            }));
        }
        for _ in 0..200 {
            let asks = asks.clone();
            let service = layer.layer(service_fn(move |_: Request<()>| {
                let asked = asks();
                async move {
                    asked.await;
                    Ok::<_, Infallible>(Response::new(()))
                }
            }));
            tokio::spawn(service.oneshot(Request::new(())));
            pass(SECOND / 20).await;
            if handle.state() == Closed {
                break;
            }
            assert!(handle.counts().probes <= allowed);
            assert!(most.load(Relaxed) <= allowed as usize);
        }
        assert_eq!(handle.state(), Closed);
        assert_eq!(most.load(Relaxed), allowed as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_fails_when_its_lease_has_passed() {
    let (_layer, handle) = opened(builder().probe_lease(10 * SECOND)).await;
    tokio::spawn(handle.prober(pending::<Result<(), Infallible>>));
    pass(WAIT + 5 * SECOND).await;
    assert_eq!((handle.state(), handle.counts().probes), (HalfOpen, 1));
    pass(6 * SECOND).await;
    assert_eq!(handle.status(), CircuitStatus::Open);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_a_layer_of_ours_refuses_says_nothing() {
    let (_layer, handle) = opened(builder()).await;
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    tokio::spawn(handle.prober(move || {
        let call = counted.fetch_add(1, Relaxed);
        let full = Rejection::refused(Name::new("bulkhead").unwrap(), Reason::BULKHEAD_FULL);
        ready(if call < 3 { Err(full) } else { Ok(()) })
    }));
    pass(WAIT + SECOND).await;
    assert_eq!(handle.state(), HalfOpen);
    pass(2 * WAIT).await;
    assert_eq!((handle.state(), calls.load(Relaxed)), (Closed, 5));
}

#[tokio::test(start_paused = true)]
async fn a_prober_leaves_an_isolated_circuit_alone() {
    let (_layer, handle) = opened(builder()).await;
    let dependency = Dependency::default();
    handle.isolate();
    dependency.probe(&handle);
    pass(100 * WAIT).await;
    assert_eq!((handle.status(), dependency.calls()), (CircuitStatus::Isolated, 0));
    // One that was isolated while it waited, too.
    handle.close();
    let (_layer, handle) = opened(builder()).await;
    dependency.probe(&handle);
    pass(WAIT / 2).await;
    handle.isolate();
    pass(100 * WAIT).await;
    assert_eq!(dependency.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_prober_stops_at_its_signal_and_gives_its_permit_back() {
    let (layer, handle) = opened(builder().on_drop(OnDrop::Failure)).await;
    let (drain, drained) = oneshot::channel::<()>();
    let prober = tokio::spawn(handle.prober(pending::<Result<(), Infallible>>).until(drained));
    pass(WAIT + SECOND).await;
    assert_eq!(handle.counts().probes, 1);
    drain.send(()).unwrap();
    prober.await.unwrap();
    assert_eq!((handle.state(), handle.counts().probes), (HalfOpen, 0));
    assert!(call(&layer, StatusCode::OK).await);

    // The same where it is dropped.
    let (_layer, handle) = opened(builder().on_drop(OnDrop::Failure)).await;
    let prober = tokio::spawn(handle.prober(pending::<Result<(), Infallible>>));
    pass(WAIT + SECOND).await;
    prober.abort();
    _ = prober.await;
    assert_eq!((handle.state(), handle.counts().probes), (HalfOpen, 0));
}

#[tokio::test(start_paused = true)]
async fn a_prober_ends_with_its_circuit() {
    let layer = builder().build().unwrap();
    let closed = Dependency::default().probe(&layer.handle());
    drop(layer);
    closed.await.unwrap();
    let (layer, handle) = opened(builder()).await;
    let waiting = Dependency::default().probe(&handle);
    pass(SECOND).await;
    drop((layer, handle));
    let began = Instant::now();
    waiting.await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_is_a_failure() {
    let (_layer, handle) = opened(builder()).await;
    let prober = tokio::spawn(handle.prober(|| -> std::future::Ready<Result<(), Infallible>> { panic!("on purpose") }));
    pass(WAIT + SECOND).await;
    assert!(prober.await.unwrap_err().is_panic());
    assert_eq!(handle.status(), CircuitStatus::Open);
}

#[tokio::test(start_paused = true)]
async fn a_handle_tells_an_open_circuit_that_may_be_tried_from_one_that_waits() {
    let (layer, handle) = opened(builder()).await;
    assert_eq!((handle.status(), handle.status().as_str()), (CircuitStatus::Open, "open"));
    advance(WAIT).await;
    assert_eq!((handle.state(), handle.status().as_str()), (Open, "probe-due"));
    call(&layer, StatusCode::OK).await;
    assert_eq!(handle.status().to_string(), "half-open");
    call(&layer, StatusCode::OK).await;
    assert_eq!(handle.status().to_string(), "closed");
    handle.isolate();
    assert_eq!(handle.status().to_string(), "isolated");
}

/// Opens the circuits of so many keys, and returns which keys were probed how often.
async fn probed_keys(keys: u32) -> (Vec<u32>, usize, bool) {
    let layer = builder().build_keyed(keys + 1, |request: &Request<u32>| *request.body()).unwrap();
    let handle = layer.handle();
    let service = layer.layer(service_fn(|request: Request<u32>| {
        let failed = *request.body() != u32::MAX;
        ready(Ok::<_, Infallible>(Response::builder().status(if failed { 502 } else { 200 }).body(()).unwrap()))
    }));
    for key in (0..keys).chain([u32::MAX]) {
        service.clone().oneshot(Request::new(key)).await.unwrap();
    }
    let (probed, running, most) =
        (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let prober = tokio::spawn({
        let (probed, running, most) = (Arc::clone(&probed), Arc::clone(&running), Arc::clone(&most));
        handle.prober(move |key: u32| {
            probed.lock().unwrap().push(key);
            most.fetch_max(running.fetch_add(1, Relaxed) + 1, Relaxed);
            let running = Arc::clone(&running);
            async move {
                sleep(SECOND / 10).await;
                running.fetch_sub(1, Relaxed);
                Ok::<_, Infallible>(())
            }
        })
    });
    pass(3 * WAIT).await;
    let all_closed = handle.list().iter().all(|(_, circuit)| circuit.state() == Closed);
    drop((layer, service, handle));
    prober.await.unwrap();
    let probed = probed.lock().unwrap().clone();
    (probed, most.load(Relaxed), all_closed)
}

#[tokio::test(start_paused = true)]
async fn circuits_of_idle_keys_close_by_a_bounded_number_of_probes_at_a_time() {
    for keys in [1, 16, 500] {
        let (mut probed, most, all_closed) = probed_keys(keys).await;
        probed.sort_unstable();
        // Two successes each, and nothing for the key that is well.
        let expected: Vec<_> = (0..keys).flat_map(|key| [key, key]).collect();
        assert_eq!(probed, expected);
        assert_eq!((most, all_closed), ((keys as usize).min(16), true));
    }
}
