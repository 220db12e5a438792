//! Captured logs.

use backstop_test::{LogEvent, Logs};
use tracing::{Level, debug, info, instrument::WithSubscriber, trace, warn};

fn some_events() {
    warn!(target: "backstop::retry", name = %"ml", attempt = 2, "it failed");
    info!(target: "backstop::retrying", error = "reset\n", share = 0.5);
    debug!(target: "backstop", kept = ?Some("x"), "as it is");
    trace!("and more");
}

#[test]
fn an_event_has_its_level_target_message_and_fields_and_is_displayed_as_a_log_shows_it() {
    let logs = Logs::new();
    let _guard = logs.listen();
    some_events();
    let lines = [
        "WARN backstop::retry: it failed name=ml attempt=2",
        r#"INFO backstop::retrying: error="reset\n" share=0.5"#,
        r#"DEBUG backstop: as it is kept=Some("x")"#,
        "TRACE it::logs: and more",
    ];
    assert_eq!(logs.events().lines(), lines);
    let event = logs.events().at(Level::WARN).only();
    assert_eq!((event.level(), event.target(), event.message()), (Level::WARN, "backstop::retry", "it failed"));
    assert_eq!(event.fields().collect::<Vec<_>>(), [("name", "ml"), ("attempt", "2")]);
    assert_eq!((event.field("attempt"), event.field("message")), (Some("2"), None));
    assert_eq!(logs.events()[1].field("error"), Some("reset\n"), "a string is itself");
    assert_eq!(logs.events().to_string(), lines.map(|line| format!("{line}\n")).concat());
}

#[test]
fn events_are_filtered_by_level_target_and_field() {
    let logs = Logs::new();
    let _guard = logs.listen();
    some_events();
    let events = || logs.events();
    assert_eq!(events().with_target("backstop").len(), 3, "a target includes those below it");
    assert_eq!(events().with_target("backstop::retry").only(), events()[0]);
    assert_eq!(events().with_field("share", "0.5").only(), events()[1]);
    assert_eq!(events().with_field("error", "reset\n").only(), events()[1]);
    assert!(events().with_field("share", "0.5").at(Level::WARN).is_empty());
    assert_eq!(events().into_iter().map(|event| event.level()).max(), Some(Level::TRACE));
}

#[test]
fn taken_events_are_forgotten_and_clones_share_the_rest() {
    let logs = Logs::new();
    let guard = logs.listen();
    warn!("first");
    assert_eq!(logs.clone().take().only().message(), "first");
    assert!(logs.take().is_empty());
    warn!("second");
    drop(guard);
    warn!("nobody listens");
    assert_eq!(logs.events().only().message(), "second");
}

#[test]
#[should_panic(expected = "not one event, but:\nWARN it::logs: first\nWARN it::logs: second\n")]
fn the_only_event_of_several_is_none_and_the_message_shows_them() {
    let logs = Logs::new();
    let _guard = logs.listen();
    warn!("first");
    warn!("second");
    _ = logs.events().only();
}

#[test]
fn up_to_a_level_the_less_severe_ones_are_disabled() {
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    assert!(!tracing::enabled!(Level::DEBUG));
    some_events();
    assert_eq!(logs.events().into_iter().map(|event| event.level()).collect::<Vec<_>>(), [Level::WARN, Level::INFO]);
}

/// The first thread to reach an event decides for all while `tracing` knows of one subscriber alone.
#[test]
fn a_thread_that_does_not_listen_silences_nobody() {
    fn event() {
        warn!("told by both");
    }
    let logs = Logs::new();
    let _guard = logs.listen();
    std::thread::spawn(event).join().unwrap();
    assert!(logs.events().is_empty(), "another thread's events are its own");
    event();
    assert_eq!(logs.events().only().message(), "told by both");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[expect(clippy::disallowed_methods, reason = "what a user's code may do")]
async fn events_of_a_future_on_another_thread_are_captured_where_it_carries_the_subscriber() {
    let logs = Logs::new();
    let carried = async { warn!("carried") }.with_subscriber(logs.clone());
    tokio::spawn(carried).await.unwrap();
    tokio::spawn(async { warn!("not carried") }).await.unwrap();
    assert_eq!(logs.events().only().message(), "carried");
}

#[test]
fn of_several_the_latest_listens_and_their_guards_are_dropped_in_any_order() {
    let (outer, inner) = (Logs::new(), Logs::new());
    let event = |message: &str| warn!("{message}");
    let (first, second) = (outer.listen(), inner.listen());
    event("to the inner one");
    drop(first);
    event("to the inner one, too");
    drop(second);
    event("to neither");
    assert!(outer.events().is_empty(), "{}", outer.events());
    assert_eq!(
        inner.events().iter().map(LogEvent::message).collect::<Vec<_>>(),
        ["to the inner one", "to the inner one, too"]
    );
}

#[test]
fn when_all_guards_are_dropped_the_subscriber_before_them_listens_again() {
    let (before, outer, inner) = (Logs::new(), Logs::up_to(Level::ERROR), Logs::up_to(Level::ERROR));
    tracing::subscriber::with_default(before.clone(), || {
        let event = || info!("an event");
        let (first, second) = (outer.listen(), inner.listen());
        event();
        assert!(before.events().is_empty());
        drop(first);
        drop(second);
        event();
        assert_eq!(before.events().len(), 1);
    });
}
