//! Calls that are delayed or hang.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use axum::body::Body;
use backstop_fault::{Fault, FaultConfig, FaultLayer, Level};
use http::{Request, StatusCode};
use tokio::time::{advance, sleep, timeout};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};

use crate::support::{always, answering, armed, get, started, started_for_functions};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn at_most_16_calls_are_held_and_the_others_are_made_as_usual() {
    let (layer, handle) = started_for_functions(always(Fault::Hang));
    let calls: Vec<_> = (0..16).map(|_| task::spawn(layer.layer(answering()).oneshot(get("/")))).collect();
    let mut held = calls;
    held.iter_mut().for_each(|call| assert_pending!(call.poll()));
    for _ in 0..3 {
        assert_eq!(layer.layer(answering()).oneshot(get("/")).await.unwrap().status(), StatusCode::OK);
        assert!(handle.call(async || Ok::<_, std::io::Error>(7)).await.is_ok());
    }
    let status = handle.status();
    assert_eq!((status.held, status.not_held, status.run.unwrap().hits), (16, 6, 16));

    // A place is free again once its call is dropped.
    held.pop();
    let mut next = task::spawn(handle.call(async || Ok::<_, std::io::Error>(7)));
    assert_pending!(next.poll());
    assert_eq!(handle.status().held, 16);
    drop((held, next));
    assert_eq!(handle.status().held, 0);
}

#[tokio::test(start_paused = true)]
async fn the_cap_holds_across_runs_and_reloads() {
    let (layer, handle) = started(always(Fault::Hang));
    let hold = || task::spawn(layer.layer(answering()).oneshot(get("/")));
    let mut old: Vec<_> = (0..10).map(|_| hold()).collect();
    old.iter_mut().for_each(|call| assert_pending!(call.poll()));
    handle.stop("ada", "next").unwrap();
    handle.start(always(Fault::Hang)).unwrap();
    // The calls of the old run aren't polled yet, and keep their places until then.
    let mut new: Vec<_> = (0..6).map(|_| hold()).collect();
    new.iter_mut().for_each(|call| assert_pending!(call.poll()));
    assert_ready_ok!(hold().poll());
    assert_eq!(handle.status().held, 16);
    old.iter_mut().for_each(|call| _ = assert_ready_ok!(call.poll()));
    assert_eq!(handle.status().held, 6);

    let mut config = FaultConfig::new("edge");
    (config.armed, config.max_share, config.max_held) = (true, 1.0, 7);
    handle.reload(config).unwrap();
    let mut seventh = hold();
    assert_pending!(seventh.poll());
    assert_ready_ok!(hold().poll());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_run_wakes_every_held_call() {
    let (layer, handle) = started_for_functions(always(Fault::delay(30 * SECOND)));
    let mut call = task::spawn(layer.layer(answering()).oneshot(get("/")));
    let mut function = task::spawn(handle.call(async || Ok::<_, std::io::Error>(7)));
    assert_pending!(call.poll());
    assert_pending!(function.poll());
    handle.stop("ada", "enough").unwrap();
    assert!(call.is_woken() && function.is_woken());
    assert_ready_ok!(call.poll());
    assert_ready_ok!(function.poll());
    assert_eq!(handle.status().held, 0);
}

#[tokio::test(start_paused = true)]
async fn held_calls_go_on_within_a_second_when_the_level_gets_worse_without_other_traffic() {
    let is_degraded = Arc::new(AtomicBool::new(false));
    let level = Arc::clone(&is_degraded);
    let layer = FaultLayer::builder("edge")
        .arm()
        .max_share(1.0)
        .level(move || if level.load(Relaxed) { Level::Critical } else { Level::Healthy })
        .build()
        .unwrap();
    layer.handle().start(always(Fault::Hang)).unwrap();
    let worse = async {
        sleep(20 * SECOND).await;
        is_degraded.store(true, Relaxed);
    };
    let call = layer.layer(answering()).oneshot(get("/"));
    let (_, answer) = tokio::join!(worse, timeout(21 * SECOND, call));
    assert_eq!(answer.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_at_any_poll_frees_its_place() {
    // Held for three polls or more, then made, then pending in the service.
    for polls in 0..6 {
        let (layer, handle) = started_for_functions(always(Fault::delay(3 * SECOND)));
        let slow = service_fn(|_: Request<Body>| async {
            sleep(2 * SECOND).await;
            Ok::<_, std::convert::Infallible>(http::Response::new(Body::empty()))
        });
        let mut call = task::spawn(layer.layer(slow).oneshot(get("/")));
        let mut function = task::spawn(handle.call(sleep_then_seven));
        let mut is_done = false;
        for _ in 0..polls {
            is_done = !is_done && call.poll().is_ready() | function.poll().is_ready();
            advance(SECOND).await;
        }
        assert_eq!(handle.status().held, if (1..=3).contains(&polls) { 2 } else { 0 }, "after {polls} polls");
        drop((call, function));
        assert_eq!(handle.status().held, 0, "dropped after {polls} polls");
    }
}

async fn sleep_then_seven() -> std::io::Result<u8> {
    sleep(2 * SECOND).await;
    Ok(7)
}

#[tokio::test(start_paused = true)]
async fn a_held_call_uses_the_service_that_was_ready_and_others_are_not_in_its_way() {
    let layer = armed().build().unwrap();
    layer.handle().start(always(Fault::delay(SECOND)).path_prefix("/slow")).unwrap();
    // Panics if it is called without a permit.
    let limited = ConcurrencyLimitLayer::new(2).layer(answering());
    let mut service = layer.layer(limited);
    let mut slow = task::spawn(service.ready().await.unwrap().call(get("/slow")));
    assert_pending!(slow.poll());
    assert_eq!(service.ready().await.unwrap().call(get("/")).await.unwrap().status(), StatusCode::OK);
    advance(SECOND).await;
    assert_ready_ok!(slow.poll());
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_keeps_held_calls_held() {
    let (layer, handle) = started(always(Fault::Hang).until(300 * SECOND));
    let run = handle.status().run.unwrap().id;
    let beats = async {
        for _ in 0..2 {
            sleep(50 * SECOND).await;
            assert!(handle.heartbeat(run));
        }
    };
    let began = tokio::time::Instant::now();
    let (answer, ()) = tokio::join!(layer.layer(answering()).oneshot(get("/")), beats);
    answer.unwrap();
    assert_eq!(began.elapsed(), 160 * SECOND);
}

/// A waker that is the last owner of its task, as those of many executors: its drop drops the task.
struct Owner {
    _task: Mutex<Option<Box<dyn Send>>>,
}

impl Wake for Owner {
    fn wake(self: Arc<Self>) {}
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_drops_another_held_call_does_not_deadlock() {
    for ends_by_poll in [false, true] {
        let (layer, handle) = started(always(Fault::Hang));
        let hold = || {
            let mut call = Box::pin(layer.layer(answering()).oneshot(get("/")));
            assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            call
        };
        let (inner, mut outer) = (hold(), hold());
        let waker = Waker::from(Arc::new(Owner { _task: Mutex::new(Some(Box::new(inner))) }));
        assert!(outer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        assert_eq!(handle.status().held, 2);
        if ends_by_poll {
            assert!(outer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert_eq!(handle.status().held, 1);
        } else {
            drop(outer);
            assert_eq!(handle.status().held, 0);
        }
    }
}
