//! What an operator sees: events, metrics, the inventory.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use backstop_core::{EventLog, Inspect, Value};
use backstop_health::{Component, Health, Level};
use backstop_test::{LogEvent, Logs};
use tracing::{
    Event, Level as At, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

use crate::common::{Clock, running, secs};

const TARGET: &str = "backstop::health";

fn said(logs: &Logs, at: At, message: &str) -> Vec<LogEvent> {
    let events = logs.events().with_target(TARGET).at(at);
    events.iter().filter(|event| event.message() == message).cloned().collect()
}

#[tokio::test(start_paused = true)]
async fn each_change_of_the_level_is_logged_once_with_its_cause() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let health = running([Component::essential("database"), Component::optional("search")]);
    let clock = Clock::start();
    health.report("database", Level::Critical, "connection refused", secs(20)).unwrap();
    clock.at(200.0).await;
    let events = said(&logs, At::WARN, "the service's level got worse");
    let of = |event: &LogEvent| {
        ["from", "to", "component", "message"].map(|field| event.field(field).unwrap_or("none").to_owned())
    };
    let seen: Vec<_> = events.iter().map(of).collect();
    assert_eq!(
        seen,
        [
            ["healthy", "degraded", "database", "connection refused"],
            ["degraded", "critical", "database", "connection refused"],
        ]
    );
    let better = said(&logs, At::INFO, "the service's level got better");
    let seen: Vec<_> = better.iter().map(|event| event.field("to").unwrap().to_owned()).collect();
    assert_eq!(seen, ["degraded", "healthy"]);
}

#[tokio::test(start_paused = true)]
async fn whatever_an_operator_does_is_logged_with_who_why_and_for_how_long() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let health = running([Component::essential("database")]);
    let log = EventLog::new(16);
    health.report_to(&log);
    health.pin(Level::Degraded, secs(60), "ada", "load test").unwrap();
    health.unpin("ada", "load test").unwrap();
    health.report_by_hand("database", Level::Degraded, None, "ada", "load test").unwrap();
    health.pin(Level::Critical, secs(5), "ada", "load test").unwrap();
    tokio::time::sleep(secs(6)).await;
    for (message, level, until) in [
        ("the level is pinned", "degraded", Some("60000.0")),
        ("the level isn't pinned any more", "degraded", None),
        ("an operator reports a component", "degraded", Some("300000.0")),
        ("the level is pinned", "critical", Some("5000.0")),
    ] {
        let events = said(&logs, At::INFO, message);
        let event = events.iter().find(|event| event.field("level") == Some(level)).unwrap();
        assert_eq!((event.field("who"), event.field("reason")), (Some("ada"), Some("load test")), "{message}");
        assert_eq!(event.field("until_ms"), until, "{message}");
    }
    assert_eq!(said(&logs, At::INFO, "the pinned level has expired").len(), 1);

    let field = |fields: &[(&'static str, Value)], name| {
        fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.clone())
    };
    let events = log.after(0);
    let acts: Vec<_> = events.iter().filter_map(|event| Some((field(&event.fields, "operation")?, event))).collect();
    let operations: Vec<_> = acts.iter().map(|(operation, _)| operation.clone()).collect();
    assert_eq!(operations, ["pin", "unpin", "report-by-hand", "pin", "pin-expired"].map(Value::from));
    for ((_, event), until) in acts.iter().zip([Some(secs(60)), None, Some(secs(300)), Some(secs(5))]) {
        let [who, reason] = ["who", "reason"].map(|name| field(&event.fields, name));
        assert_eq!((who, reason), (Some("ada".into()), Some("load test".into())));
        assert_eq!(field(&event.fields, "until"), until.map(Value::from));
    }
}

#[tokio::test(start_paused = true)]
async fn a_component_that_flaps_fills_no_log() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let health = running([Component::essential("database")]);
    for _ in 0..100 {
        for level in [Level::Critical, Level::Healthy] {
            health.report("database", level, "", secs(60)).unwrap();
            tokio::time::sleep(secs(1)).await;
        }
    }
    assert_eq!(logs.events().with_target(TARGET).at(At::WARN).len(), 0);
}

/// A log that does this with each event.
struct Log<F>(F);

impl<F: Fn() + 'static> Subscriber for Log<F> {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn event(&self, _: &Event<'_>) {
        (self.0)();
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Health whose level changes at once.
fn undamped() -> Health {
    let health = Health::builder().component(Component::essential("database"));
    health
        .degrade_after(secs(0))
        .critical_after(secs(0))
        .recover_after(secs(0))
        .max_recover_after(secs(0))
        .build()
        .unwrap()
}

#[test]
fn a_log_that_panics_keeps_no_level_from_subscribers() {
    let health = undamped();
    let mut levels = health.subscribe();
    let report = || health.report("database", Level::Critical, "gone", None);
    tracing::subscriber::with_default(Log(|| panic!("the disk is full")), || {
        catch_unwind(AssertUnwindSafe(report)).unwrap_err()
    });
    assert_eq!((health.level(), levels.level()), (Level::Critical, Level::Critical));
}

/// A log that hangs at its first event until the sender is dropped, and says through the receiver that it does.
fn hanging_log() -> (Log<impl Fn() + Send + Sync + 'static>, Receiver<()>, Sender<()>) {
    let ((entered, has_entered), (release, released)) = (channel(), channel::<()>());
    let (entered, released) = (Mutex::new(entered), Mutex::new(released));
    let hangs = Log(move || {
        _ = entered.lock().unwrap().send(());
        // Ends at once after the release.
        _ = released.lock().unwrap().recv();
    });
    (hangs, has_entered, release)
}

#[test]
fn a_log_that_hangs_keeps_no_level_from_subscribers() {
    let health = undamped();
    let mut levels = health.subscribe();
    let (hangs, has_entered, release) = hanging_log();
    let reporter = health.clone();
    let report = move || reporter.report("database", Level::Critical, "gone", None).unwrap();
    let stuck = thread::spawn(|| tracing::subscriber::with_default(hangs, report));
    has_entered.recv().unwrap();
    assert_eq!(levels.level(), Level::Critical);
    for level in [Level::Degraded, Level::Healthy] {
        health.report("database", level, "", None).unwrap();
        assert_eq!((health.level(), levels.level()), (level, level));
    }
    drop(release);
    stuck.join().unwrap();
}

#[test]
fn a_drain_begins_though_the_log_hangs() {
    let health = undamped();
    let (hangs, has_entered, release) = hanging_log();
    let drain = health.drain();
    let stuck = thread::spawn(|| tracing::subscriber::with_default(hangs, move || drain.begin()));
    has_entered.recv().unwrap();
    assert!(health.drain().has_begun());
    drop(release);
    stuck.join().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_logged() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let health = running([]);
    for _ in 0..3 {
        health.drain().begin();
    }
    assert_eq!(said(&logs, At::INFO, "the service drains").len(), 1);
    assert_eq!(said(&logs, At::WARN, "the drain ends at once").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_inventory_shows_it_and_its_log_has_the_transitions() {
    let health = running([Component::essential("database").local()]);
    let clock = Clock::start();
    let log = EventLog::new(16);
    let of: &dyn Inspect = &health;
    of.report_to(&log);
    assert_eq!((of.name().as_str(), of.kind()), ("service", "health"));
    assert!(of.settings().contains(&("recover_after", secs(30).into())));
    health.report("database", Level::Degraded, "slow", None).unwrap();
    clock.at(5.0).await;
    let state = of.state();
    assert!(state.contains(&("level", "degraded".into())) && state.contains(&("readiness", "ready".into())));
    let Some((_, Value::List(components))) = state.iter().find(|(name, _)| *name == "components") else {
        panic!("{state:?}");
    };
    let Value::Map(database) = &components[0] else { panic!("{components:?}") };
    assert!(database.contains(&("message", "slow".to_owned().into())));
    let seen: Vec<_> =
        log.after(0).iter().map(|event| (event.fields[0].1.clone(), event.fields[2].1.clone())).collect();
    let seen: Vec<_> = seen.iter().map(|(of, to)| format!("{of:?} {to:?}")).collect();
    assert_eq!(
        seen,
        [
            r#"Text("readiness") Text("ready")"#,
            r#"Text("database") Text("degraded")"#,
            r#"Text("service") Text("degraded")"#
        ]
    );
}

#[cfg(feature = "metrics")]
#[tokio::test(start_paused = true)]
async fn gauges_show_the_level_each_component_and_readiness() {
    use backstop_test::Metrics;

    let health = Health::builder()
        .component(Component::essential("database"))
        .component(Component::optional("search"))
        .build()
        .unwrap();
    // The recorder comes later than the health.
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    tokio::spawn(health.run());
    let clock = Clock::start();
    let gauge = |component| metrics.gauge("health_level", &[("component", component)]);
    clock.at(1.0).await;
    assert_eq!((gauge("database"), gauge("search"), gauge("service")), (Some(-1.0), Some(-1.0), Some(0.0)));
    assert_eq!(metrics.gauge("health_ready", &[]), Some(0.0));
    health.report("database", Level::Critical, "", secs(86_400)).unwrap();
    health.report("search", Level::Degraded, "", secs(86_400)).unwrap();
    clock.at(30.0).await;
    assert_eq!((gauge("database"), gauge("search"), gauge("service")), (Some(2.0), Some(1.0), Some(2.0)));
    assert_eq!(metrics.gauge("health_ready", &[]), Some(1.0));
    let transitions =
        |component, to| metrics.counter("health_transitions_total", &[("component", component), ("to", to)]);
    assert_eq!((transitions("service", "degraded"), transitions("service", "critical")), (1, 1));
    assert_eq!((transitions("search", "degraded"), transitions("search", "critical")), (1, 0));
    backstop_health::describe_metrics();
}

#[tokio::test]
async fn names_and_reasons_of_operators_are_texts() {
    let health = Health::builder().component(Component::optional("search")).build().unwrap();
    let long = "x".repeat(513);
    for (who, reason, field) in [
        (" ", "why", "who"),
        (&long, "why", "who"),
        ("ada", "", "reason"),
        ("ada", "a\nb", "reason"),
        ("ada", "a\u{202e}b", "reason"),
        ("ada", &long, "reason"),
    ] {
        assert_eq!(health.pin(Level::Critical, secs(60), who, reason).unwrap_err().field, field);
        assert_eq!(health.unpin(who, reason).unwrap_err().field, field);
        assert_eq!(health.report_by_hand("search", Level::Critical, None, who, reason).unwrap_err().field, field);
    }
    assert_eq!((health.level(), health.status()), (Level::Healthy, Level::Healthy));
}
