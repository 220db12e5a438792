//! Active probes: fall, rise, interval, timeout, one at a time.

use std::{
    collections::VecDeque,
    future::pending,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use backstop_health::{Component, ComponentState, Health, Level, ProbeConfig, Readiness};
use tokio::time::Instant;

use crate::common::{Clock, millis, running, secs};

fn down() -> io::Error {
    io::Error::other("connection refused")
}

fn state(health: &Health) -> ComponentState {
    health.component("database").unwrap().state()
}

/// Probes with these results in turn. Returns what was seen after each.
async fn seen_after(component: Component, results: &[bool]) -> Vec<ComponentState> {
    let health = running([component]);
    let script: Arc<Mutex<VecDeque<bool>>> = Arc::new(Mutex::new(results.iter().copied().collect()));
    let (seen, to_see) = (Arc::new(Mutex::new(Vec::new())), health.clone());
    let before = Arc::clone(&seen);
    let probe = health.probe("database", move || {
        before.lock().unwrap().push(state(&to_see));
        let next = script.lock().unwrap().pop_front();
        async move {
            match next {
                Some(true) => Ok(()),
                Some(false) => Err(down()),
                None => pending().await,
            }
        }
    });
    let probe = probe.unwrap().until(tokio::time::sleep(secs(6) * (results.len() as u32 + 3)));
    probe.await;
    let seen = seen.lock().unwrap();
    seen[1..=results.len()].to_vec()
}

#[tokio::test(start_paused = true)]
async fn three_failures_in_a_row_make_it_bad_and_two_successes_good() {
    use ComponentState::{Critical, Degraded, Healthy, Unknown};
    let results = [true, false, false, true, false, false, false, true, false, true, true, false];
    let seen = seen_after(Component::essential("database"), &results).await;
    let expected = [
        Healthy, Healthy, Healthy, Healthy, Healthy, Healthy, Degraded, Degraded, Degraded, Degraded, Healthy, Healthy,
    ];
    assert_eq!(seen, expected);
    let seen =
        seen_after(Component::essential("database").without_fallback(), &[false, false, false, true, true]).await;
    assert_eq!(seen, [Unknown, Unknown, Critical, Critical, Healthy]);
}

#[tokio::test(start_paused = true)]
async fn it_is_called_every_five_seconds_more_or_less_and_never_twice_at_a_time() {
    let health = running([Component::essential("database")]);
    let clock = Clock::start();
    let running = Arc::new(AtomicUsize::new(0));
    let begun = Arc::new(Mutex::new(Vec::new()));
    let (now_running, begins) = (Arc::clone(&running), Arc::clone(&begun));
    // Each call hangs.
    let probe = health.probe("database", move || {
        struct Call(Arc<AtomicUsize>);
        impl Drop for Call {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Relaxed);
            }
        }
        assert_eq!(now_running.fetch_add(1, Relaxed), 0);
        begins.lock().unwrap().push(Instant::now());
        let call = Call(Arc::clone(&now_running));
        async move {
            let _call = call;
            pending::<io::Result<()>>().await
        }
    });
    tokio::spawn(probe.unwrap());
    clock.at(1000.0).await;
    let begun = begun.lock().unwrap();
    let waits: Vec<_> = begun.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.iter().all(|wait| (secs(4)..=secs(6) + millis(2)).contains(wait)), "{waits:?}");
    assert!(waits.iter().min() < Some(&millis(4_500)) && waits.iter().max() > Some(&millis(5_500)), "{waits:?}");
    assert_eq!(state(&health), ComponentState::Degraded);
    assert_eq!(health.view().components().next().unwrap().message(), Some("the probe fails: it took too long"));
    assert!(running.load(Relaxed) <= 1);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_leaves_the_component_unknown() {
    let health = running([Component::essential("database")]);
    let clock = Clock::start();
    let probe = tokio::spawn(health.probe("database", || async { io::Result::Ok(()) }).unwrap());
    clock.at(1.0).await;
    assert_eq!(state(&health), ComponentState::Healthy);
    let second = health.probe("database", || async { io::Result::Ok(()) });
    assert_eq!(second.unwrap_err().field, "component");
    probe.abort();
    clock.at(23.9).await;
    assert_eq!(state(&health), ComponentState::Healthy);
    clock.at(24.0).await;
    assert_eq!(state(&health), ComponentState::Unknown);
    // Another one takes over.
    tokio::spawn(health.probe("database", || async { io::Result::Ok(()) }).unwrap());
    clock.at(25.0).await;
    assert_eq!(state(&health), ComponentState::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_ends_on_purpose_is_forgotten() {
    let health = running([Component::essential("database")]);
    let clock = Clock::start();
    health.report("database", Level::Healthy, "", secs(86_400)).unwrap();
    drop(health.probe("database", || async { io::Result::Ok(()) }).unwrap());
    assert_eq!(state(&health), ComponentState::Healthy);
    let probe = health.probe("database", || async { Err(down()) }).unwrap();
    tokio::spawn(probe.until(tokio::time::sleep(secs(30))));
    clock.at(29.0).await;
    assert_eq!(state(&health), ComponentState::Degraded);
    clock.at(30.0).await;
    assert_eq!(state(&health), ComponentState::Healthy);
    clock.at(100.0).await;
    assert_eq!(state(&health), ComponentState::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_the_probe_and_the_component_is_unknown() {
    let health = running([Component::essential("database")]);
    let clock = Clock::start();
    let mut calls = 0;
    let probe = health.probe("database", move || {
        calls += 1;
        let second = calls == 2;
        async move {
            assert!(!second, "the probe is broken");
            io::Result::Ok(())
        }
    });
    let task = tokio::spawn(probe.unwrap());
    assert!(task.await.unwrap_err().is_panic());
    clock.at(31.0).await;
    assert_eq!(state(&health), ComponentState::Unknown);
}

#[tokio::test(start_paused = true)]
async fn after_a_while_without_results_a_failure_is_not_taken_for_good_news() {
    let health = running([Component::essential("database")]);
    let clock = Clock::start();
    let mut calls = 0;
    let probe = health.probe("database", move || {
        calls += 1;
        let calls = calls;
        async move {
            match calls {
                1 => Ok(()),
                // A refusal of ours is no result.
                2..=8 => Err(backstop_core::Rejection::refused(
                    backstop_core::name!("bulkhead"),
                    backstop_core::Reason::TIMEOUT,
                )),
                _ => pending().await,
            }
        }
    });
    tokio::spawn(probe.unwrap());
    clock.at(1.0).await;
    assert_eq!(state(&health), ComponentState::Healthy);
    for second in 25..90 {
        clock.at(f64::from(second)).await;
        assert_ne!(state(&health), ComponentState::Healthy, "{second}");
    }
    assert_eq!(state(&health), ComponentState::Degraded);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_started_again_keeps_the_bad_state_until_it_is_good() {
    let health = running([Component::optional("database")]);
    let clock = Clock::start();
    let first = tokio::spawn(health.probe("database", || async { io::Result::Err(down()) }).unwrap());
    clock.at(20.0).await;
    assert_eq!(state(&health), ComponentState::Degraded);
    first.abort();
    first.await.unwrap_err();
    let is_up = Arc::new(AtomicBool::new(false));
    let now_up = Arc::clone(&is_up);
    let probe = health.probe("database", move || {
        let result = if now_up.load(Relaxed) { Ok(()) } else { Err(down()) };
        async move { result }
    });
    tokio::spawn(probe.unwrap());
    for second in 21..40 {
        clock.at(f64::from(second)).await;
        assert_eq!(state(&health), ComponentState::Degraded, "{second}");
    }
    is_up.store(true, Relaxed);
    clock.at(52.0).await;
    assert_eq!(state(&health), ComponentState::Healthy);
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_last_handle_and_when_the_service_drains() {
    let health = running([Component::essential("database"), Component::optional("search")]);
    let hang = || async { pending::<io::Result<()>>().await };
    let probe = tokio::spawn(health.probe("database", hang).unwrap());
    let until_drain = tokio::spawn(health.probe("search", hang).unwrap());
    tokio::time::sleep(secs(1)).await;
    health.drain().begin();
    until_drain.await.unwrap();
    probe.await.unwrap();

    let health = running([Component::essential("database")]);
    let probe = tokio::spawn(health.probe("database", hang).unwrap());
    tokio::time::sleep(secs(1)).await;
    drop(health);
    probe.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_service_that_starts_during_an_outage_is_ready_after_the_first_results() {
    let health = running([Component::essential("database").without_fallback(), Component::essential("ml")]);
    let clock = Clock::start();
    tokio::spawn(health.probe("database", || async { io::Result::Err(down()) }).unwrap());
    clock.at(0.1).await;
    assert_eq!(health.readiness(), Readiness::Starting);
    tokio::spawn(health.probe("ml", || async { io::Result::Err(down()) }).unwrap());
    clock.at(0.2).await;
    assert_eq!(health.readiness(), Readiness::Ready);
    clock.at(40.0).await;
    assert_eq!((health.readiness(), health.level()), (Readiness::Ready, Level::Critical));
}

#[tokio::test]
async fn settings_are_checked() {
    let field = |change: fn(&mut ProbeConfig)| {
        let mut config = ProbeConfig::default();
        change(&mut config);
        let database = Component::essential("database").probe_config(config);
        Health::builder().component(database).build().unwrap_err().field
    };
    assert_eq!(field(|config| config.every = secs(0)), "probe.every");
    assert_eq!(field(|config| config.timeout = secs(6)), "probe.timeout");
    assert_eq!(field(|config| config.fall = 0), "probe.fall");
    assert_eq!(field(|config| config.rise = 1_001), "probe.rise");
    let health = running([Component::essential("database")]);
    assert_eq!(health.probe("datastore", || async { io::Result::Ok(()) }).unwrap_err().field, "component");
}
