//! A circuit for each key.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use backstop_circuit_breaker::{
    CircuitBreakerBuilder, CircuitBreakerLayer, CircuitState, KeyedCircuitBreakerHandle, KeyedCircuitBreakerLayer,
    Rejection,
};
use backstop_core::{ErrorRef, Outcome};
use http::{Request, Response, StatusCode};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};

use CircuitState::{Closed, HalfOpen, Open};

type Key = fn(&Request<StatusCode>) -> String;
type Keyed = KeyedCircuitBreakerLayer<String, Key>;

const WAIT: Duration = Duration::from_secs(60);

fn host(request: &Request<StatusCode>) -> String {
    request.uri().host().unwrap().to_owned()
}

fn layer(max_keys: u32) -> Keyed {
    let builder = CircuitBreakerLayer::builder("hosts").consecutive_failures(2).success_threshold(1);
    builder.build_keyed(max_keys, host as Key).unwrap()
}

fn request(host: &str, status: StatusCode) -> Request<StatusCode> {
    Request::get(format!("http://{host}/")).body(status).unwrap()
}

/// Whether the call was refused.
async fn call(layer: &Keyed, host: &str, status: StatusCode) -> bool {
    let answers = service_fn(|request: Request<StatusCode>| async move {
        let mut response = Response::new(());
        *response.status_mut() = request.into_body();
        Ok::<_, Infallible>(response)
    });
    let response = layer.layer(answers).oneshot(request(host, status)).await.unwrap();
    response.extensions().get::<Rejection>().is_some()
}

async fn fail(layer: &Keyed, host: &str) -> bool {
    call(layer, host, StatusCode::BAD_GATEWAY).await
}

async fn succeed(layer: &Keyed, host: &str) -> bool {
    call(layer, host, StatusCode::OK).await
}

fn state(layer: &Keyed, host: &str) -> Option<CircuitState> {
    layer.handle().get(&host.to_owned()).map(|circuit| circuit.state())
}

/// Whatever an application keeps for its operators.
struct Operators {
    hosts: KeyedCircuitBreakerHandle<String>,
}

#[tokio::test(start_paused = true)]
async fn a_handle_has_a_name_whatever_closures_the_layer_has() {
    let strictness = StatusCode::NOT_FOUND;
    let layer = CircuitBreakerLayer::builder("hosts")
        .consecutive_failures(1)
        .classify_fn(move |result: Result<&Response<()>, ErrorRef<'_>>| match result {
            Ok(response) if response.status() == strictness => Outcome::failure(),
            _ => Outcome::success(),
        })
        .build_keyed(10, |request: &Request<StatusCode>| host(request))
        .unwrap();
    let operators = Operators { hosts: layer.handle() };
    let answers = service_fn(async |request: Request<StatusCode>| {
        let mut response = Response::new(());
        *response.status_mut() = request.into_body();
        Ok::<_, Infallible>(response)
    });
    layer.layer(answers).oneshot(request("down", StatusCode::NOT_FOUND)).await.unwrap();
    assert_eq!(operators.hosts.get(&"down".to_owned()).map(|circuit| circuit.state()), Some(Open));
}

#[tokio::test(start_paused = true)]
async fn one_key_that_fails_does_not_cut_off_the_others() {
    let layer = layer(10);
    for _ in 0..2 {
        fail(&layer, "down").await;
        succeed(&layer, "up").await;
    }
    assert!(succeed(&layer, "down").await);
    assert!(!succeed(&layer, "up").await);
    assert_eq!((state(&layer, "down"), state(&layer, "up"), state(&layer, "new")), (Some(Open), Some(Closed), None));
    advance(WAIT).await;
    assert!(!succeed(&layer, "down").await);
    assert_eq!(state(&layer, "down"), Some(Closed));
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_closed_and_clean_makes_room() {
    let layer = layer(2);
    fail(&layer, "dirty").await;
    for host in ["a", "b", "c", "d"] {
        succeed(&layer, host).await;
        assert_eq!(layer.handle().len(), 2);
    }
    assert_eq!(layer.handle().unguarded(), 0);
    fail(&layer, "dirty").await;
    assert_eq!(state(&layer, "dirty"), Some(Open));
}

#[tokio::test(start_paused = true)]
async fn when_all_are_in_trouble_new_keys_pass_without_a_circuit_and_are_counted() {
    let layer = layer(2);
    for host in ["a", "b"] {
        fail(&layer, host).await;
        fail(&layer, host).await;
    }
    for _ in 0..5 {
        assert!(!fail(&layer, "new").await);
    }
    assert_eq!((layer.handle().len(), layer.handle().unguarded(), state(&layer, "new")), (2, 5, None));
    assert!(succeed(&layer, "a").await);
    // Room again.
    layer.handle().get(&"a".to_owned()).unwrap().reset();
    advance(Duration::from_secs(1)).await;
    assert!(!fail(&layer, "new").await);
    assert_eq!((state(&layer, "new"), layer.handle().unguarded()), (Some(Closed), 5));
}

/// After this long what a circuit knows means nothing any more: ten waits, and what a coarse clock adds.
const LONG_AGO: Duration = Duration::from_secs(11 * 60);

#[tokio::test(start_paused = true)]
async fn a_layer_full_of_keys_that_failed_once_long_ago_guards_a_new_key() {
    let slow = |builder: CircuitBreakerBuilder| builder.slow_calls(Duration::from_millis(1), 1.0);
    let builder = || CircuitBreakerLayer::builder("hosts").wait(WAIT);
    let builders = [
        builder(),
        builder().failure_rate(0.9).window(100),
        builder().failure_rate(0.9).window(Duration::from_secs(60)),
        slow(builder()),
        slow(builder().failure_rate(0.9).window(100)),
    ];
    for builder in builders {
        let layer = builder.build_keyed(50, host as Key).unwrap();
        for key in 0..50 {
            fail(&layer, &format!("dead-{key}")).await;
        }
        fail(&layer, "new").await;
        assert_eq!((state(&layer, "new"), layer.handle().unguarded()), (None, 1), "their failures are still news");
        advance(LONG_AGO).await;
        fail(&layer, "new").await;
        assert_eq!((state(&layer, "new"), layer.handle().unguarded()), (Some(Closed), 1), "{layer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_long_ago_makes_room_too() {
    let slow = Duration::from_millis(1);
    let layer =
        CircuitBreakerLayer::builder("hosts").slow_calls(slow, 0.5).wait(WAIT).build_keyed(1, host as Key).unwrap();
    let sleeps = service_fn(async |_: Request<StatusCode>| {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok::<_, Infallible>(Response::new(()))
    });
    layer.layer(sleeps).oneshot(request("a", StatusCode::OK)).await.unwrap();
    succeed(&layer, "b").await;
    assert_eq!(state(&layer, "b"), None);
    advance(LONG_AGO).await;
    succeed(&layer, "b").await;
    assert_eq!((state(&layer, "a"), state(&layer, "b")), (None, Some(Closed)));
}

#[tokio::test(start_paused = true)]
async fn open_and_half_open_circuits_make_room_once_their_wait_is_long_over_and_isolated_ones_never() {
    for probed in [false, true] {
        let layer = layer(2);
        for host in ["a", "isolated"] {
            fail(&layer, host).await;
        }
        layer.handle().get(&"isolated".to_owned()).unwrap().isolate();
        fail(&layer, "a").await;
        assert_eq!(state(&layer, "a"), Some(Open));
        if probed {
            advance(WAIT).await;
            let hangs = service_fn(|_: Request<StatusCode>| pending::<Result<Response<()>, Infallible>>());
            let mut probe = task::spawn(layer.layer(hangs).call(request("a", StatusCode::OK)));
            assert_pending!(probe.poll());
            drop(probe);
            assert_eq!(state(&layer, "a"), Some(HalfOpen));
        }
        for _ in 0..9 {
            advance(WAIT).await;
            fail(&layer, "new").await;
            assert_eq!(state(&layer, "new"), None);
        }
        advance(LONG_AGO).await;
        fail(&layer, "new").await;
        assert_eq!((state(&layer, "a"), state(&layer, "new")), (None, Some(Closed)));
        advance(LONG_AGO * 100).await;
        fail(&layer, "newer").await;
        assert_eq!((state(&layer, "isolated"), state(&layer, "newer")), (Some(CircuitState::Isolated), Some(Closed)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_circuit_with_a_call_under_way_makes_no_room() {
    let layer = layer(1);
    let hangs = service_fn(|_: Request<StatusCode>| pending::<Result<Response<()>, Infallible>>());
    let mut hung = task::spawn(layer.layer(hangs).call(request("a", StatusCode::OK)));
    assert_pending!(hung.poll());
    succeed(&layer, "b").await;
    assert_eq!((state(&layer, "a"), layer.handle().unguarded()), (Some(Closed), 1));
    drop(hung);
    advance(Duration::from_secs(1)).await;
    succeed(&layer, "b").await;
    assert_eq!((state(&layer, "a"), state(&layer, "b")), (None, Some(Closed)));
}

#[tokio::test(start_paused = true)]
async fn handles_list_the_circuits_and_act_on_them() {
    let layer = layer(10);
    fail(&layer, "a").await;
    succeed(&layer, "b").await;
    let mut listed = layer.handle().list();
    listed.sort_by(|one, other| one.0.cmp(&other.0));
    let failures: Vec<_> = listed.iter().map(|(key, circuit)| (key.as_str(), circuit.counts().failures)).collect();
    assert_eq!(failures, [("a", 1), ("b", 0)]);
    listed[1].1.isolate();
    assert!(succeed(&layer, "b").await);
    assert_eq!((layer.handle().name().as_str(), layer.handle().is_empty()), ("hosts", false));
}

#[tokio::test(start_paused = true)]
async fn a_refusing_circuit_asks_nothing_of_the_service_and_others_wait_in_their_futures() {
    let layer = layer(10);
    let hangs = service_fn(|_: Request<StatusCode>| pending::<Result<Response<()>, Infallible>>());
    let full = ConcurrencyLimitLayer::new(1).layer(hangs);
    let mut service = layer.layer(full);
    let mut first = task::spawn(service.ready().await.unwrap().call(request("a", StatusCode::OK)));
    assert_pending!(first.poll());
    let mut second = task::spawn(service.ready().await.unwrap().call(request("b", StatusCode::OK)));
    assert_pending!(second.poll());
    layer.handle().get(&"b".to_owned()).unwrap().isolate();
    let mut refused = task::spawn(service.ready().await.unwrap().call(request("b", StatusCode::OK)));
    let refused = assert_ready!(refused.poll()).unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_probe_gives_its_permit_back() {
    let layer = layer(10);
    fail(&layer, "a").await;
    fail(&layer, "a").await;
    advance(WAIT).await;
    let hangs = service_fn(|_: Request<StatusCode>| pending::<Result<Response<()>, Infallible>>());
    let mut probe = task::spawn(layer.layer(hangs).call(request("a", StatusCode::OK)));
    assert_pending!(probe.poll());
    assert_eq!(state(&layer, "a"), Some(HalfOpen));
    assert!(succeed(&layer, "a").await);
    drop(probe);
    assert!(!succeed(&layer, "a").await);
    assert_eq!(state(&layer, "a"), Some(Closed));
}

#[tokio::test(start_paused = true)]
async fn it_works_in_an_axum_router() {
    let layer = CircuitBreakerLayer::builder("paths")
        .consecutive_failures(1)
        .build_keyed(10, |request: &Request<Body>| request.uri().path().to_owned())
        .unwrap();
    let bad = || async { StatusCode::BAD_GATEWAY };
    let router = Router::new().route("/bad", get(bad)).route("/good", get(|| async {})).layer(layer);
    let call =
        async |path| router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap().status();
    assert_eq!(call("/bad").await, StatusCode::BAD_GATEWAY);
    assert_eq!(call("/bad").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(call("/good").await, StatusCode::OK);
}

#[test]
fn many_threads_share_the_circuits_and_keep_the_bound() {
    let layer = layer(50);
    let failed = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        for which in 0..4 {
            let (layer, failed) = (layer.clone(), Arc::clone(&failed));
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                runtime.block_on(async {
                    for round in 0..2_000_usize {
                        let host = format!("host-{}", (round * 7 + which) % 200);
                        succeed(&layer, &host).await;
                        if round < 2 {
                            fail(&layer, "down").await;
                            failed.fetch_add(1, Relaxed);
                        }
                        assert!(layer.handle().len() <= 50);
                    }
                });
            });
        }
    });
    // Whatever was evicted meanwhile, the failures were all counted in one place.
    assert_eq!((failed.load(Relaxed), state(&layer, "down")), (8, Some(Open)));
    assert!(layer.handle().list().len() <= 50);
}

#[test]
fn max_keys_is_checked() {
    for keys in [0, 16_777_217] {
        let builder = CircuitBreakerLayer::builder("hosts");
        assert_eq!(builder.build_keyed(keys, host as Key).unwrap_err().field, "max_keys");
    }
}

const fn is_shared<T: Clone + Send + Sync + 'static>() {}
const _: () = is_shared::<KeyedCircuitBreakerLayer<String, Key>>();
