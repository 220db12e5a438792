//! Many threads report, read and drain at once.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
};

use backstop_core::{EventLog, Inspect, Value};
use backstop_health::{Component, Health, Level};

use crate::common::secs;

const THREADS: usize = 4;
const REPORTS: usize = 2_000;

#[test]
fn changes_are_told_in_their_order_and_the_last_one_is_the_truth() {
    // Without damping, each report may change the level.
    let health = Health::builder()
        .components(["a", "b"].map(Component::essential))
        .degrade_after(secs(0))
        .critical_after(secs(0))
        .recover_after(secs(0))
        .max_recover_after(secs(0))
        .build()
        .unwrap();
    let log = EventLog::new(THREADS * REPORTS * 4);
    health.report_to(&log);
    let mut levels = health.subscribe();
    let (begin, done) = (Barrier::new(THREADS), AtomicBool::new(false));
    thread::scope(|scope| {
        let reporters: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (health, begin) = (health.clone(), &begin);
                scope.spawn(move || {
                    let component = if thread % 2 == 0 { "a" } else { "b" };
                    let reporter = health.reporter(component, format!("r{thread}")).unwrap();
                    begin.wait();
                    for report in 0..REPORTS {
                        let level = [Level::Healthy, Level::Degraded, Level::Critical][(report + thread) % 3];
                        reporter.report(level, "").unwrap();
                    }
                    // The last word of each is a bad one, but for the first's.
                    reporter.report(if thread == 1 { Level::Degraded } else { Level::Healthy }, "").unwrap();
                })
            })
            .collect();
        let looker = scope.spawn(|| {
            while !done.load(SeqCst) {
                let view = health.view();
                // What is shown belongs together.
                let worst = view.components().map(backstop_health::ComponentView::level).max();
                assert_eq!(worst, Some(view.level()));
            }
        });
        reporters.into_iter().for_each(|reporter| reporter.join().unwrap());
        done.store(true, SeqCst);
        looker.join().unwrap();
    });

    assert_eq!((health.level(), health.view().level()), (Level::Degraded, Level::Degraded));
    assert_eq!(levels.level(), Level::Degraded);
    for component in ["service", "a", "b"] {
        let mut now = Value::from("healthy");
        let events = log.after(0);
        let of = events.iter().filter(|event| event.fields[0] == ("component", component.to_owned().into()));
        let mut changes = 0;
        for event in of {
            assert_eq!(event.fields[1], ("from", now), "{component}");
            now = event.fields[2].1.clone();
            changes += 1;
        }
        assert!(changes > 100, "{component}: {changes}");
        assert_eq!(now, if component == "a" { "healthy" } else { "degraded" }.into());
    }
}

#[test]
fn a_drain_is_begun_by_one_of_many_and_hurried_by_another() {
    let health = Health::builder().build().unwrap();
    let (begin, drain) = (Barrier::new(THREADS), health.drain());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                begin.wait();
                drain.begin();
            });
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let began = tokio::time::Instant::now();
        drain.exits().await;
        assert!(began.elapsed() < secs(1));
    });
}
