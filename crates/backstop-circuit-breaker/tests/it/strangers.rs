//! Callers who leave before there is a result don't keep a circuit from closing, however many there are.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]
#![expect(clippy::disallowed_methods, reason = "callers are tasks of their own")]

use backstop_core::{
    Deadline, Reason, SetBy,
    scope::{self, Scope},
};
use std::{
    convert::Infallible,
    future::{poll_fn, ready},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use backstop_circuit_breaker::{CircuitBreakerBuilder, CircuitBreakerLayer, CircuitState, Rejection, name};
use http::{Request, Response, StatusCode};
use tokio::{
    task::JoinSet,
    time::{Instant, advance, sleep, timeout},
};
use tower::{Layer, ServiceExt, service_fn};

use CircuitState::{Closed, Open};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);
/// What the dependency takes to answer.
const TAKES: Duration = Duration::from_millis(50);
const STRANGERS: u32 = 300;

fn builder(wait: Duration) -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder("upstream").wait(wait)
}

async fn call(layer: CircuitBreakerLayer, running: Arc<AtomicUsize>) -> bool {
    struct Running(Arc<AtomicUsize>);

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Relaxed);
        }
    }

    let service = layer.layer(service_fn(move |_: Request<()>| {
        running.fetch_add(1, Relaxed);
        let running = Running(Arc::clone(&running));
        async move {
            sleep(TAKES).await;
            drop(running);
            Ok::<_, Infallible>(Response::new(()))
        }
    }));
    service.oneshot(Request::new(())).await.unwrap().extensions().get::<Rejection>().is_none()
}

/// Opens the circuit of a dependency that is well from then on.
async fn open(layer: &CircuitBreakerLayer) {
    while layer.handle().state() == Closed {
        let down = service_fn(|_: Request<()>| {
            ready(Ok::<_, Infallible>(Response::builder().status(StatusCode::BAD_GATEWAY).body(()).unwrap()))
        });
        layer.layer(down).oneshot(Request::new(())).await.unwrap();
    }
}

/// How a caller waits.
#[derive(Clone, Copy)]
enum Waits {
    /// It tells for how long, and that ends the call.
    Until(Duration),
    /// It hangs up.
    HangsUpAfter(Duration),
}

/// Whether it was let in.
async fn call_of(waits: Waits, layer: &CircuitBreakerLayer, running: &Arc<AtomicUsize>) -> bool {
    let call = call(layer.clone(), Arc::clone(running));
    match waits {
        Waits::HangsUpAfter(time) => timeout(time, call).await.unwrap_or(true),
        Waits::Until(time) => {
            let mut scope = Scope::narrowed(Deadline::after(time, SetBy::Caller));
            let (mut call, mut ends) = (Some(Box::pin(call)), pin!(sleep(time)));
            poll_fn(|cx| {
                if let Some(call) = &mut call
                    && let Poll::Ready(let_in) = scope.enter(|| call.as_mut().poll(cx))
                {
                    return Poll::Ready(let_in);
                }
                ends.as_mut().poll(cx).map(|()| {
                    scope::end(SetBy::Caller, || call = None);
                    true
                })
            })
            .await
        }
    }
}

/// After how long the circuit closed, with so many strangers who ask again and again, each `n` for the `n`th time as
/// `waits` says, and one honest caller a second; and how many calls ran at once at most while it wasn't closed.
async fn recovers(wait: Duration, waits: fn(u32, u32) -> Waits) -> (Duration, usize) {
    let layer = builder(wait).build().unwrap();
    open(&layer).await;
    let began = Instant::now();
    let running = Arc::default();
    let mut tasks = JoinSet::new();
    for stranger in 0..STRANGERS {
        let (layer, running) = (layer.clone(), Arc::clone(&running));
        tasks.spawn(async move {
            sleep(MILLI * (stranger % 10)).await;
            let mut times = 0;
            loop {
                if call_of(waits(stranger, times), &layer, &running).await {
                    times += 1;
                } else {
                    sleep(50 * MILLI).await;
                }
            }
        });
    }
    tasks.spawn({
        let (layer, running) = (layer.clone(), Arc::clone(&running));
        async move {
            sleep(SECOND / 2 + MILLI / 2).await;
            loop {
                tokio::spawn(call(layer.clone(), Arc::clone(&running)));
                sleep(SECOND).await;
            }
        }
    });
    let mut most = 0;
    while layer.handle().state() != Closed {
        most = most.max(running.load(Relaxed));
        sleep(MILLI).await;
        assert!(began.elapsed() < 100 * wait, "it never closes");
    }
    (began.elapsed(), most)
}

#[tokio::test(start_paused = true)]
async fn callers_with_tiny_deadlines_delay_recovery_by_no_wait() {
    for wait in [SECOND, 2 * SECOND] {
        let (took, most) = recovers(wait, |stranger, _| Waits::Until(MILLI * (5 + stranger % 30))).await;
        // The wait, and two honest callers.
        assert!(took < wait + 2 * SECOND + SECOND / 10, "{took:?}");
        assert_eq!(most, 1, "no more probes than are allowed");
    }
}

#[tokio::test(start_paused = true)]
async fn callers_whose_deadlines_creep_up_delay_recovery_by_no_wait() {
    let wait = 5 * SECOND;
    let creeps = |stranger, times| Waits::Until((MILLI * (1 + stranger % 10 + times)).min(TAKES - MILLI));
    let (took, most) = recovers(wait, creeps).await;
    assert!(took < wait + 2 * SECOND + SECOND / 10, "{took:?}");
    assert_eq!(most, 1);
}

#[tokio::test(start_paused = true)]
async fn callers_who_hang_up_delay_recovery_by_one_wait_at_most() {
    let wait = SECOND;
    let (took, _) = recovers(wait, |stranger, _| Waits::HangsUpAfter(MILLI * (5 + stranger % 30))).await;
    assert!(took < 2 * wait + 2 * SECOND + SECOND / 10, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn callers_who_hang_up_get_no_more_probes_than_allowed_before_a_whole_wait_has_passed() {
    let wait = 10 * SECOND;
    let layer = builder(wait).build().unwrap();
    open(&layer).await;
    advance(wait).await;
    let running = Arc::default();
    for _ in 0..100 {
        assert!(call_of(Waits::HangsUpAfter(TAKES / 2), &layer, &running).await);
        let mut probe = Box::pin(call(layer.clone(), Arc::clone(&running)));
        assert!(poll_fn(|cx| Poll::Ready(probe.as_mut().poll(cx))).await.is_pending());
        assert!(!call(layer.clone(), Arc::clone(&running)).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_a_layer_further_in_refuses_is_no_caller_who_left() {
    let wait = SECOND;
    let layer = builder(wait).build().unwrap();
    open(&layer).await;
    advance(wait).await;
    for _ in 0..100 {
        advance(wait / 10).await;
        let full = service_fn(|_: Request<()>| {
            let mut response = Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(()).unwrap();
            response.extensions_mut().insert(Rejection::refused(name!("upstream"), Reason::BULKHEAD_FULL));
            ready(Ok::<_, Infallible>(response))
        });
        layer.layer(full).oneshot(Request::new(())).await.unwrap();
    }
    let running = Arc::default();
    let mut probe = Box::pin(call(layer.clone(), Arc::clone(&running)));
    assert!(poll_fn(|cx| Poll::Ready(probe.as_mut().poll(cx))).await.is_pending());
    assert!(!call(layer.clone(), Arc::clone(&running)).await, "one probe at a time, as configured");
}

#[tokio::test(start_paused = true)]
async fn a_caller_whose_time_was_too_short_becomes_a_probe_when_nobody_else_came_for_a_wait() {
    let wait = 10 * SECOND;
    let layer = builder(wait).build().unwrap();
    let handle = layer.handle();
    let running = Arc::default();
    let hurried = || call_of(Waits::Until(TAKES / 2), &layer, &running);
    open(&layer).await;
    advance(wait).await;
    assert!(hurried().await);
    assert!(!hurried().await);
    // A quarter longer than the wait, so that a caller who comes as often as that comes first.
    advance(wait).await;
    assert!(!hurried().await);
    advance(wait / 4).await;
    assert!(hurried().await);
    // Those who have more time than that, or have no deadline, come at once.
    assert!(!hurried().await);
    assert!(call_of(Waits::Until(2 * TAKES), &layer, &running).await);
    assert!(call(layer.clone(), Arc::clone(&running)).await);
    assert_eq!(handle.state(), Closed);

    // What was learned holds until the circuit closes.
    open(&layer).await;
    advance(wait).await;
    assert!(hurried().await);
    call_of(Waits::Until(2 * TAKES), &layer, &running).await;
    assert_eq!(handle.counts().probe_successes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_time_that_proves_long_enough_is_no_longer_too_short() {
    let wait = 10 * SECOND;
    let layer = builder(wait).build().unwrap();
    let running = Arc::default();
    open(&layer).await;
    advance(wait).await;
    // Twice as long isn't believed either.
    assert!(call_of(Waits::Until(TAKES - MILLI), &layer, &running).await);
    let enough = || call_of(Waits::Until(TAKES + MILLI), &layer, &running);
    assert!(!enough().await);
    advance(wait + wait / 4).await;
    // Two in a row: the first has shown that it is.
    assert!(enough().await);
    assert!(enough().await);
    assert_eq!(layer.handle().state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_waits_longer_for_those_who_were_too_hurried() {
    let wait = 10 * SECOND;
    let layer = builder(wait).build().unwrap();
    let handle = layer.handle();
    let running = Arc::default();
    open(&layer).await;
    advance(wait).await;
    assert!(call_of(Waits::Until(TAKES / 2), &layer, &running).await);
    // A real failure opens it again.
    let down = service_fn(|_: Request<()>| {
        ready(Ok::<_, Infallible>(Response::builder().status(StatusCode::BAD_GATEWAY).body(()).unwrap()))
    });
    layer.layer(down).oneshot(Request::new(())).await.unwrap();
    assert_eq!(handle.state(), Open);
    advance(wait).await;
    assert!(!call_of(Waits::Until(TAKES / 2), &layer, &running).await);
    assert_eq!(handle.state(), Open, "it waits for somebody with more time");
    advance(wait + wait / 4).await;
    assert!(call_of(Waits::Until(TAKES / 2), &layer, &running).await);
    assert_eq!(handle.state(), CircuitState::HalfOpen);
}
