//! The drain, in paused time.

use std::{convert::Infallible, future::pending, io, pin::Pin, sync::Mutex, time::Duration};

use backstop_core::{Deadline, Scope, SetBy, scope};
use backstop_health::{Component, Drain, Health, HealthConfig, Level, Readiness};
use backstop_kit::Attempt;
use http::{Request, Response, StatusCode, Version};
use tower::{Layer, ServiceExt, service_fn};

use crate::common::{Clock, running, secs};

/// The seconds at which each moment of the drain comes.
async fn moments(drain: &Drain, clock: &Clock) -> [u128; 4] {
    let second = async |moment: Pin<Box<dyn Future<Output = ()>>>| {
        moment.await;
        (clock.elapsed() + 500) / 1000
    };
    tokio::join!(
        second(Box::pin(drain.begun())),
        second(Box::pin(drain.listener_closes())),
        second(Box::pin(drain.requests_end())),
        second(Box::pin(drain.exits())),
    )
    .into()
}

/// Sends a signal after each of these waits, in seconds.
fn signal(drain: &Drain, waits: &[u64]) {
    let waits = Mutex::new(waits.to_vec());
    tokio::spawn(drain.on(move || {
        let wait = waits.lock().unwrap().remove(0);
        tokio::time::sleep(secs(wait))
    }));
}

#[tokio::test(start_paused = true)]
async fn it_comes_in_steps() {
    let health = running([Component::optional("search")]);
    let (drain, clock) = (health.drain(), Clock::start());
    signal(&drain, &[100, 1_000]);
    assert!(!drain.has_begun());
    assert_eq!(moments(&drain, &clock).await, [100, 110, 125, 128]);
    assert!(drain.has_begun());
    // Afterwards, none of them waits.
    assert_eq!(moments(&drain, &clock).await, [128; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_it_at_once() {
    let health = running([]);
    let (drain, clock) = (health.drain(), Clock::start());
    signal(&drain, &[100, 3]);
    assert_eq!(moments(&drain, &clock).await, [100, 103, 103, 103]);
    drain.begin();
    assert_eq!(moments(&drain, &clock).await, [103; 4]);
}

#[tokio::test(start_paused = true)]
async fn its_times_can_be_set() {
    let health =
        Health::builder().serve_while_draining(secs(1)).finish_within(secs(2)).exit_within(secs(5)).build().unwrap();
    let (drain, clock) = (health.drain(), Clock::start());
    drain.begin();
    // What has begun isn't changed any more.
    health.reload(HealthConfig::default()).unwrap();
    assert_eq!(moments(&drain, &clock).await, [0, 1, 3, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_it_keeps_nothing_alive_and_does_not_end_without_it() {
    let health = running([]);
    let (drain, clock) = (health.drain(), Clock::start());
    let signals = tokio::spawn(drain.on(|| tokio::time::sleep(secs(60))));
    let moments = [
        tokio::spawn(drain.begun()),
        tokio::spawn(drain.listener_closes()),
        tokio::spawn(drain.requests_end()),
        tokio::spawn(drain.exits()),
    ];
    tokio::task::yield_now().await;
    drop((health, drain));
    signals.await.expect("the last handle is gone");
    clock.at(3_600.0).await;
    assert!(moments.iter().all(|moment| !moment.is_finished()));
}

#[tokio::test(start_paused = true)]
async fn a_drain_goes_on_without_handles() {
    let health = running([]);
    let (drain, clock) = (health.drain(), Clock::start());
    let closes = drain.listener_closes();
    drain.begin();
    drop((health, drain));
    closes.await;
    assert_eq!(clock.elapsed(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn from_its_begin_on_it_is_not_ready_and_keeps_its_level() {
    let health = running([Component::essential("database")]);
    let clock = Clock::start();
    health.report("database", Level::Degraded, "", secs(86_400)).unwrap();
    clock.at(20.0).await;
    assert_eq!((health.level(), health.readiness()), (Level::Degraded, Readiness::Ready));
    health.drain().begin();
    assert_eq!(health.readiness(), Readiness::Draining);
    for (second, level) in [(30.0, Level::Critical), (60.0, Level::Healthy), (200.0, Level::Healthy)] {
        health.report("database", level, "", secs(86_400)).unwrap();
        clock.at(second).await;
        assert_eq!((health.level(), health.status()), (Level::Degraded, level));
        assert_eq!(health.readiness(), Readiness::Draining);
    }
    assert_eq!(health.pin(Level::Healthy, secs(60), "ada", "too late").unwrap_err().field, "level");
}

#[tokio::test(start_paused = true)]
async fn a_server_has_until_its_requests_end_and_work_until_the_exit() {
    let health = running([]);
    let (drain, clock) = (health.drain(), Clock::start());
    assert_eq!(drain.serve(async { 7 }).await, Some(7));
    drain.begin();
    assert_eq!(drain.serve(pending::<()>()).await, None);
    assert_eq!(clock.elapsed() / 1000, 25);
    assert_eq!(drain.finish(tokio::time::sleep(secs(2))).await, Some(()));
    assert_eq!(drain.finish(pending::<()>()).await, None);
    assert_eq!(clock.elapsed() / 1000, 28);
    // A server that is done in time, though late, is not cut off.
    assert_eq!(drain.serve(async { "done" }).await, Some("done"));
}

async fn answer(drain: &Drain, version: Version, status: StatusCode) -> Response<Option<Duration>> {
    let service = drain.layer().layer(service_fn(move |_: Request<()>| async move {
        tokio::task::yield_now().await;
        let mut response = Response::new(scope::time_left());
        *response.status_mut() = status;
        Ok::<_, Infallible>(response)
    }));
    let mut request = Request::new(());
    *request.version_mut() = version;
    service.oneshot(request).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_layer_closes_connections_and_clips_deadlines_from_then_on() {
    let health = running([]);
    let (drain, clock) = (health.drain(), Clock::start());
    let before = answer(&drain, Version::HTTP_11, StatusCode::OK).await;
    assert!(before.headers().is_empty() && before.body().is_none());
    // The answer to a request that was there before closes its connection, too.
    let service = drain.layer().layer(service_fn(|_: Request<()>| async {
        tokio::time::sleep(secs(5)).await;
        Ok::<_, Infallible>(Response::new(()))
    }));
    let earlier = tokio::spawn(service.oneshot(Request::new(())));
    tokio::task::yield_now().await;
    drain.begin();
    assert_eq!(earlier.await.unwrap().unwrap().headers()["connection"], "close");
    clock.at(5.0).await;
    let after = answer(&drain, Version::HTTP_11, StatusCode::OK).await;
    assert_eq!(after.headers()["connection"], "close");
    // Until half a second before requests are cut off.
    assert_eq!(after.body().unwrap().as_millis(), 19_499);
    for (version, status) in [(Version::HTTP_2, 200), (Version::HTTP_11, 101)] {
        let response = answer(&drain, version, StatusCode::from_u16(status).unwrap()).await;
        assert!(response.headers().is_empty(), "{version:?} {status}");
    }
}

/// A call under a limit of a minute, as a timeout layer makes it. Answers how it ended.
async fn hung(_: Request<()>) -> Result<Response<SetBy>, Infallible> {
    let scope = Scope::narrowed(Deadline::after(secs(60), SetBy::Us));
    let call = || -> Pin<Box<dyn Future<Output = ()> + Send>> { Box::pin(pending()) };
    let mut call = std::pin::pin!(Attempt::start(scope, call));
    let ended = std::future::poll_fn(|cx| call.as_mut().poll(cx)).await;
    Ok(Response::new(ended.unwrap_err().set_by))
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_when_it_begins_ends_before_it_would_be_cut_off() {
    let health = running([]);
    let (drain, clock) = (health.drain(), Clock::start());
    let service = drain.layer().layer(service_fn(hung));
    let hung = tokio::spawn(service.oneshot(Request::new(())));
    clock.at(20.0).await;
    drain.begin();
    assert_eq!(*hung.await.unwrap().unwrap().body(), SetBy::Caller);
    assert_eq!(clock.elapsed() / 100, 200 + 245);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_ends_in_time_is_not_touched() {
    let health = running([]);
    let (drain, clock) = (health.drain(), Clock::start());
    let service = drain.layer().layer(service_fn(hung));
    let hung = tokio::spawn(service.oneshot(Request::new(())));
    clock.at(50.0).await;
    drain.begin();
    assert_eq!(*hung.await.unwrap().unwrap().body(), SetBy::Us);
    assert_eq!(clock.elapsed(), 60_000);
}

#[tokio::test(start_paused = true)]
async fn degradations_pass_through_the_layer() {
    use backstop_core::{Degradation, Freshness, Reason, name};
    let health = running([]);
    let drain = health.drain();
    drain.begin();
    let service = drain.layer().layer(service_fn(|_: Request<()>| async {
        scope::report(Degradation::new(name!("recs"), name!("cached"), 1, Reason::TIMEOUT, Freshness::Degraded));
        Ok::<_, io::Error>(Response::new(()))
    }));
    let mut scope = Scope::new();
    let mut future = Box::pin(service.oneshot(Request::new(())));
    std::future::poll_fn(|cx| scope.enter_as_reader(|| future.as_mut().poll(cx))).await.unwrap();
    assert_eq!(scope.take_reports().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn whatever_is_dropped_holds_nothing_up() {
    let health = running([Component::essential("database")]);
    let drain = health.drain();
    for polls in 0..3 {
        let mut all: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = vec![
            Box::pin(drain.begun()),
            Box::pin(drain.exits()),
            Box::pin(drain.on(|| tokio::time::sleep(secs(3_600)))),
            Box::pin(health.run()),
            Box::pin(health.probe("database", pending::<io::Result<()>>).unwrap()),
        ];
        for _ in 0..polls {
            for future in &mut all {
                _ = std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx))).await;
            }
            tokio::time::advance(secs(1)).await;
        }
        drop(all);
    }
    let clock = Clock::start();
    drain.begin();
    assert_eq!(moments(&drain, &clock).await, [0, 10, 25, 28]);
}
