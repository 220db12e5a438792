//! Settings that change while calls run.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{convert::Infallible, future::pending, time::Duration};

use backstop_circuit_breaker::{
    CircuitBreakerConfig, CircuitBreakerLayer,
    CircuitState::{Closed, HalfOpen, Open},
    OnDrop, SlowCalls, Wait, Window,
};
use http::{Request, Response, StatusCode};
use tokio::time::{advance, sleep};
use tokio_test::{assert_pending, task};
use tower::{Layer, Service, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("upstream")
}

/// The defaults, but for what `change` changes.
fn changed(change: impl FnOnce(&mut CircuitBreakerConfig)) -> CircuitBreakerConfig {
    let mut config = config();
    change(&mut config);
    config
}

fn layer(config: CircuitBreakerConfig) -> CircuitBreakerLayer {
    CircuitBreakerLayer::from_config(config).unwrap()
}

async fn call_for(layer: &CircuitBreakerLayer, status: StatusCode, takes: Duration) -> Response<()> {
    let answers = service_fn(move |_: Request<()>| async move {
        if !takes.is_zero() {
            sleep(takes).await;
        }
        let mut response = Response::new(());
        *response.status_mut() = status;
        Ok::<_, Infallible>(response)
    });
    layer.layer(answers).oneshot(Request::new(())).await.unwrap()
}

async fn fail(layer: &CircuitBreakerLayer, calls: usize) {
    for _ in 0..calls {
        call_for(layer, StatusCode::BAD_GATEWAY, Duration::ZERO).await;
    }
}

async fn succeed(layer: &CircuitBreakerLayer, calls: usize) {
    for _ in 0..calls {
        call_for(layer, StatusCode::OK, Duration::ZERO).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lower_threshold_keeps_the_counts_and_opens_with_the_next_failure() {
    let layer = layer(config());
    let handle = layer.handle();
    fail(&layer, 4).await;
    handle.reload(changed(|config| config.consecutive_failures = Some(3))).unwrap();
    assert_eq!((handle.state(), handle.counts().failures, handle.generation()), (Closed, 4, 0));
    fail(&layer, 1).await;
    assert_eq!(handle.state(), Open);
}

#[tokio::test(start_paused = true)]
async fn a_share_and_its_min_calls_change_in_place() {
    for window in [Window::Calls(100), Window::Time(10 * SECOND)] {
        let rate = |share, min_calls| {
            changed(|config| {
                (config.failure_rate, config.min_calls, config.window) = (Some(share), Some(min_calls), Some(window));
            })
        };
        let layer = layer(rate(0.5, 20));
        let handle = layer.handle();
        succeed(&layer, 9).await;
        fail(&layer, 1).await;
        handle.reload(rate(0.5, 5)).unwrap();
        fail(&layer, 7).await;
        assert_eq!((handle.state(), handle.counts().calls, handle.generation()), (Closed, 17, 0));
        handle.reload(rate(0.4, 5)).unwrap();
        fail(&layer, 1).await;
        assert_eq!(handle.state(), Open);
    }
}

#[tokio::test(start_paused = true)]
async fn another_window_starts_a_generation_without_a_transition() {
    let rate = |window| changed(|config| (config.failure_rate, config.window) = (Some(1.0), Some(window)));
    let windows = [Window::Calls(50), Window::Time(10 * SECOND), Window::Calls(60), Window::Time(20 * SECOND)];
    let layer = layer(config());
    let handle = layer.handle();
    let mut events = handle.events();
    let mut late = Vec::new();
    for (generation, window) in (1..).zip(windows) {
        fail(&layer, 4).await;
        let hangs = service_fn(|_: Request<()>| pending::<Result<Response<()>, Infallible>>());
        late.push(layer.layer(hangs).call(Request::new(())));
        handle.reload(rate(window)).unwrap();
        assert_eq!((handle.state(), handle.counts().failures, handle.generation()), (Closed, 0, generation));
    }
    // They are failures, but of windows that are gone.
    handle.reload(changed(|config| config.on_drop = OnDrop::Failure)).unwrap();
    drop(late);
    assert_eq!((handle.counts().failures, handle.generation()), (0, 5));
    fail(&layer, 5).await;
    assert_eq!(handle.state(), Open);
    assert_eq!((events.try_next().unwrap().seq, events.try_next()), (1, None));
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_ends_its_wait_and_counts_in_the_new_window_once_it_closes() {
    let layer = layer(config());
    let handle = layer.handle();
    fail(&layer, 5).await;
    handle
        .reload(changed(|config| {
            (config.failure_rate, config.window, config.min_calls) = (Some(1.0), Some(Window::Calls(2)), Some(2));
            (config.wait, config.success_threshold) = (Wait::Fixed(5 * SECOND), 1);
        }))
        .unwrap();
    assert_eq!((handle.state(), handle.remaining_wait(), handle.generation()), (Open, Some(60 * SECOND), 1));
    advance(60 * SECOND).await;
    succeed(&layer, 1).await;
    assert_eq!((handle.state(), handle.generation()), (Closed, 3));
    fail(&layer, 2).await;
    assert_eq!((handle.state(), handle.remaining_wait()), (Open, Some(5 * SECOND)));
}

#[tokio::test(start_paused = true)]
async fn a_half_open_circuit_has_room_for_more_probes_at_once() {
    let layer = layer(config());
    let handle = layer.handle();
    fail(&layer, 5).await;
    advance(60 * SECOND).await;
    let hangs = service_fn(|_: Request<()>| pending::<Result<Response<()>, Infallible>>());
    let mut probe = task::spawn(layer.layer(hangs).call(Request::new(())));
    assert_pending!(probe.poll());
    assert_eq!(call_for(&layer, StatusCode::OK, Duration::ZERO).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    handle
        .reload(changed(|config| {
            (config.max_concurrent_probes, config.success_threshold) = (2, 3);
        }))
        .unwrap();
    assert_eq!(call_for(&layer, StatusCode::OK, Duration::ZERO).await.status(), StatusCode::OK);
    assert_eq!((handle.state(), handle.counts().probe_successes), (HalfOpen, 1));
    handle.reload(changed(|config| config.success_threshold = 2)).unwrap();
    assert_eq!(call_for(&layer, StatusCode::OK, Duration::ZERO).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(probe);
    succeed(&layer, 1).await;
    assert_eq!(handle.state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn slow_calls_and_drops_count_as_they_were_told_last() {
    let layer = layer(config());
    let handle = layer.handle();
    let slow = |threshold| {
        changed(|config| {
            config.slow_calls = Some(SlowCalls::new(threshold, 1.0));
            (config.min_calls, config.on_drop) = (Some(2), OnDrop::FailureAfter(2 * SECOND));
        })
    };
    handle.reload(slow(3 * SECOND)).unwrap();
    call_for(&layer, StatusCode::OK, SECOND).await;
    assert_eq!((handle.generation(), handle.counts().slow), (1, 0));
    handle.reload(slow(SECOND)).unwrap();
    call_for(&layer, StatusCode::OK, SECOND).await;
    assert_eq!((handle.generation(), handle.counts().slow), (1, 1));

    let hangs = service_fn(|_: Request<()>| pending::<Result<Response<()>, Infallible>>());
    let mut hung = task::spawn(layer.layer(hangs).call(Request::new(())));
    assert_pending!(hung.poll());
    advance(2 * SECOND).await;
    drop(hung);
    assert_eq!(handle.counts().failures, 1);
    handle.reload(config()).unwrap();
    assert_eq!((handle.generation(), handle.counts().failures), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn refusals_and_waits_follow_what_they_were_told_last() {
    let layer = layer(changed(|config| config.retry_after_jitter = 0.0));
    let handle = layer.handle();
    handle
        .reload(changed(|config| {
            (config.consecutive_failures, config.retry_after_jitter) = (Some(1), 0.5);
            config.respect_retry_after = Some(100 * SECOND);
        }))
        .unwrap();
    let asks = service_fn(|_: Request<()>| async {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert("retry-after", 300.into());
        Ok::<_, Infallible>(response)
    });
    layer.layer(asks).oneshot(Request::new(())).await.unwrap();
    assert_eq!(handle.remaining_wait(), Some(100 * SECOND));
    let mut told = Vec::new();
    for _ in 0..50 {
        let refused = call_for(&layer, StatusCode::OK, Duration::ZERO).await;
        told.push(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap());
    }
    assert!(told.iter().all(|seconds| (100..=150).contains(seconds)) && told.iter().any(|seconds| *seconds > 110));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_work_changes_nothing() {
    let layer = layer(config());
    let handle = layer.handle();
    let zero = changed(|config| (config.consecutive_failures, config.wait) = (Some(1), Duration::ZERO.into()));
    assert_eq!(handle.reload(zero).unwrap_err().field, "wait");
    assert_eq!(handle.reload(CircuitBreakerConfig::new("downstream")).unwrap_err().field, "name");
    fail(&layer, 4).await;
    assert_eq!(handle.state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn a_keyed_layer_tells_all_its_circuits_and_those_to_come() {
    let layer = CircuitBreakerLayer::builder("hosts")
        .build_keyed(10, |request: &Request<(&'static str, StatusCode)>| request.body().0)
        .unwrap();
    let handle = layer.handle();
    let call = async |host, status| {
        let service = layer.layer(service_fn(|request: Request<(&'static str, StatusCode)>| async move {
            let mut response = Response::new(());
            *response.status_mut() = request.body().1;
            Ok::<_, Infallible>(response)
        }));
        service.oneshot(Request::new((host, status))).await.unwrap();
    };
    call("a", StatusCode::BAD_GATEWAY).await;
    let mut config = CircuitBreakerConfig::new("hosts");
    config.consecutive_failures = Some(2);
    assert_eq!(handle.get(&"a").unwrap().reload(config.clone()).unwrap_err().field, "name");
    handle.reload(config.clone()).unwrap();
    assert_eq!(handle.get(&"a").unwrap().counts().failures, 1);
    for host in ["a", "b", "b"] {
        call(host, StatusCode::BAD_GATEWAY).await;
        call(host, StatusCode::BAD_GATEWAY).await;
        assert_eq!(handle.get(&host).unwrap().state(), Open);
    }

    config.consecutive_failures = None;
    (config.failure_rate, config.window, config.min_calls) = (Some(1.0), Some(Window::Calls(3)), Some(3));
    handle.reload(config).unwrap();
    handle.get(&"b").unwrap().close();
    for host in ["b", "c"] {
        for state in [Closed, Closed, Open] {
            call(host, StatusCode::BAD_GATEWAY).await;
            assert_eq!(handle.get(&host).unwrap().state(), state);
        }
    }
    assert_eq!(handle.reload(CircuitBreakerConfig::new("others")).unwrap_err().field, "name");
}
