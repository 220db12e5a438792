//! Circuits, heartbeats and backlogs.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::channel,
    },
    thread,
};

use backstop_circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer, Recovery};
use backstop_health::{Component, ComponentState, Health, Level};

use crate::common::{Clock, running, secs};

fn circuit(name: &'static str) -> CircuitBreakerHandle {
    CircuitBreakerLayer::builder(name).consecutive_failures(1).wait(secs(10)).wait_jitter(0.0).build().unwrap().handle()
}

fn state(health: &Health, name: &str) -> ComponentState {
    health.component(name).unwrap().state()
}

async fn fail(circuit: &CircuitBreakerHandle) {
    circuit.call(|| async { Err::<(), _>(std::io::Error::other("down")) }).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_is_degraded_and_critical_only_without_a_fallback() {
    let [ml, database] = ["ml", "database"].map(circuit);
    let health = running([
        Component::essential("ml").circuit(ml.clone()),
        Component::essential("database").circuit(database.clone()).without_fallback(),
    ]);
    let clock = Clock::start();
    clock.at(1.0).await;
    assert_eq!((state(&health, "ml"), state(&health, "database")), (ComponentState::Healthy, ComponentState::Healthy));
    ml.isolate();
    clock.at(4.0).await;
    assert_eq!((state(&health, "ml"), health.level()), (ComponentState::Degraded, Level::Degraded));
    assert_eq!(health.view().components().next().unwrap().message(), Some("circuit ml is isolated"));
    clock.at(100.0).await;
    assert_eq!(health.level(), Level::Degraded);
    database.isolate();
    clock.at(111.0).await;
    assert_eq!((state(&health, "database"), health.level()), (ComponentState::Critical, Level::Critical));
    ml.close();
    database.close();
    clock.at(142.0).await;
    assert_eq!(health.level(), Level::Degraded);
    clock.at(172.0).await;
    assert_eq!(health.level(), Level::Healthy);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_without_calls_is_unknown_a_minute_after_its_wait() {
    let ml = circuit("ml");
    let health = running([Component::optional("ml").circuit(ml.clone())]);
    let clock = Clock::start();
    fail(&ml).await;
    clock.at(69.0).await;
    assert_eq!(state(&health, "ml"), ComponentState::Degraded);
    clock.at(71.0).await;
    assert_eq!(state(&health, "ml"), ComponentState::Unknown);
    // A call comes, and fails: the circuit is open again.
    fail(&ml).await;
    clock.at(72.0).await;
    assert_eq!(state(&health, "ml"), ComponentState::Degraded);
    clock.at(140.0).await;
    assert_eq!(state(&health, "ml"), ComponentState::Degraded);
    clock.at(143.0).await;
    assert_eq!(state(&health, "ml"), ComponentState::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_silent_heartbeat_is_degraded_and_never_critical() {
    let health = running([Component::essential("importer").heartbeat(secs(30)).without_fallback()]);
    let clock = Clock::start();
    let importer = health.heartbeat("importer").unwrap();
    assert_eq!(state(&health, "importer"), ComponentState::Unknown);
    importer.beat();
    clock.at(29.0).await;
    assert_eq!(state(&health, "importer"), ComponentState::Healthy);
    clock.at(30.0).await;
    assert_eq!(state(&health, "importer"), ComponentState::Degraded);
    clock.at(100.0).await;
    assert_eq!(health.level(), Level::Degraded);
    importer.beat();
    clock.at(101.0).await;
    assert_eq!(state(&health, "importer"), ComponentState::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_never_came_is_silent() {
    let health = running([Component::optional("importer").heartbeat(secs(30))]);
    let clock = Clock::start();
    clock.at(29.0).await;
    assert_eq!(state(&health, "importer"), ComponentState::Unknown);
    clock.at(30.0).await;
    assert_eq!(state(&health, "importer"), ComponentState::Degraded);
}

#[tokio::test(start_paused = true)]
async fn a_backlog_that_panics_is_unknown_and_the_rest_goes_on() {
    let is_broken = Arc::new(AtomicBool::new(false));
    let queue = Component::optional("queue").backlog(10, {
        let is_broken = Arc::clone(&is_broken);
        move || {
            assert!(!is_broken.load(Relaxed), "the queue is gone");
            0
        }
    });
    let health = running([queue, Component::optional("search")]);
    let clock = Clock::start();
    clock.at(1.0).await;
    is_broken.store(true, Relaxed);
    clock.at(4.0).await;
    assert_eq!(state(&health, "queue"), ComponentState::Unknown);
    assert_eq!(health.view().components().next().unwrap().message(), Some("reading the backlog panicked"));
    // The driver still lets reports expire.
    health.report("search", Level::Degraded, "", secs(1)).unwrap();
    clock.at(11.0).await;
    assert_eq!(state(&health, "search"), ComponentState::Healthy);
    is_broken.store(false, Relaxed);
    clock.at(12.0).await;
    assert_eq!(state(&health, "queue"), ComponentState::Healthy);
}

#[tokio::test(start_paused = true)]
async fn without_a_driver_one_caller_at_a_time_reads_a_backlog() {
    let (reads, (entered, has_entered), (release, released)) =
        (Arc::new(AtomicU64::new(0)), channel(), channel::<()>());
    let (count, released) = (Arc::clone(&reads), Mutex::new(released));
    let queue = Component::optional("queue").backlog(10, move || {
        // The first reading is the builder's.
        if count.fetch_add(1, Relaxed) == 1 {
            entered.send(()).unwrap();
            released.lock().unwrap().recv().unwrap();
        }
        0
    });
    let health = Health::builder().components([queue, Component::essential("database")]).build().unwrap();
    health.report("database", Level::Degraded, "slow", None).unwrap();
    tokio::time::advance(secs(1)).await;
    let (runtime, other) = (tokio::runtime::Handle::current(), health.clone());
    let stuck = thread::spawn(move || {
        let _paused_time = runtime.enter();
        _ = other.view();
    });
    has_entered.recv().unwrap();
    assert_eq!(health.view().level(), Level::Healthy);
    // The others don't wait for it, and see what becomes due.
    for _ in 0..3 {
        tokio::time::advance(secs(1)).await;
        _ = health.view();
    }
    assert_eq!((health.view().level(), reads.load(Relaxed)), (Level::Degraded, 2));
    release.send(()).unwrap();
    stuck.join().unwrap();
    tokio::time::advance(secs(1)).await;
    _ = health.view();
    assert_eq!(reads.load(Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_bad_at_80_percent_and_good_at_50() {
    let len = Arc::new(AtomicU64::new(79));
    let health = running([Component::essential("queue").backlog(100, {
        let len = Arc::clone(&len);
        move || len.load(Relaxed)
    })]);
    let clock = Clock::start();
    for (second, waiting, expected) in [
        (1.0, 79, ComponentState::Healthy),
        (2.0, 80, ComponentState::Degraded),
        (3.0, 51, ComponentState::Degraded),
        (4.0, 50, ComponentState::Healthy),
        (5.0, 79, ComponentState::Healthy),
        (6.0, u64::MAX, ComponentState::Degraded),
    ] {
        len.store(waiting, Relaxed);
        clock.at(second).await;
        assert_eq!(state(&health, "queue"), expected, "{waiting} at {second}");
    }
}

#[tokio::test]
async fn a_component_is_declared_once_and_consistently() {
    let field = |components: Vec<Component>| Health::builder().components(components).build().unwrap_err().field;
    assert_eq!(field(vec![Component::essential("a"), Component::optional("a")]), "component");
    assert_eq!(field(vec![Component::essential("a b")]), "component");
    assert_eq!(field(vec![Component::essential("service")]), "component");
    assert_eq!(field(vec![Component::optional("a").without_fallback()]), "without_fallback");
    assert!(Health::builder().component(Component::optional("a").local().without_fallback()).build().is_ok());
    assert_eq!(field(vec![Component::optional("a").heartbeat(secs(0))]), "heartbeat");
    assert_eq!(field(vec![Component::optional("a").backlog(0, || 0)]), "backlog");
    let health = Health::builder().component(Component::optional("a")).build().unwrap();
    assert_eq!(health.heartbeat("a").unwrap_err().field, "component");
}

#[tokio::test(start_paused = true)]
async fn a_recovering_circuit_is_degraded_until_it_closes_and_unknown_without_calls() {
    let builder = CircuitBreakerLayer::builder("ml").consecutive_failures(1).success_threshold(1).wait(secs(10));
    let ml = builder.recovery(Recovery::ramp([0.5])).build().unwrap().handle();
    let health = running([Component::optional("ml").circuit(ml.clone())]);
    let clock = Clock::start();
    let well = async || _ = ml.call(|| async { Ok::<(), std::io::Error>(()) }).await;
    fail(&ml).await;
    clock.at(10.0).await;
    well().await;
    clock.at(11.0).await;
    assert_eq!(state(&health, "ml"), ComponentState::Degraded);
    assert_eq!(health.view().components().next().unwrap().message(), Some("circuit ml is recovering"));
    // Its step ends after a minute, and then nobody calls for another one.
    clock.at(129.0).await;
    assert_eq!(state(&health, "ml"), ComponentState::Degraded);
    clock.at(132.0).await;
    assert_eq!(state(&health, "ml"), ComponentState::Unknown);
    for _ in 0..2 {
        well().await;
    }
    clock.at(133.0).await;
    assert_eq!(state(&health, "ml"), ComponentState::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_only_observes_is_healthy_whatever_it_would_do() {
    let ml = circuit("ml");
    ml.observe_only();
    let health = running([Component::optional("ml").circuit(ml.clone())]);
    let clock = Clock::start();
    fail(&ml).await;
    clock.at(1.0).await;
    assert_eq!(state(&health, "ml"), ComponentState::Healthy);
}

#[tokio::test]
async fn only_a_handle_that_shows_a_circuits_state_is_a_circuit() {
    let keyed = CircuitBreakerLayer::builder("tenants").build_keyed(10, |tenant: &u32| *tenant).unwrap();
    let error = Health::builder().component(Component::optional("a").circuit(keyed.handle())).build().unwrap_err();
    assert_eq!((error.field.as_ref(), error.value.as_str()), ("circuit", "tenants"));
    let other = Health::builder().build().unwrap();
    let error = Health::builder().component(Component::optional("a").circuit(other)).build().unwrap_err();
    assert_eq!(error.field, "circuit");
}
