//! Operators' flags.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::Duration,
};

use backstop_core::{EventLog, Inspect, OperationError, OperationRequest, Value};
use backstop_features::{Cause, FeatureState, Features, FlagChange, Level, MemoryStore, Reach, SetError};
use backstop_test::Logs;
use tokio::time::sleep;
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

use crate::common::{Breakable, CHECKOUT, Dial, Failure, REVIEWS, SEARCH, drive, events_with, fail, secs, shop};

#[tokio::test(start_paused = true)]
async fn a_flag_wins_in_both_directions_and_ends_by_itself() {
    let dial = Dial::default();
    dial.set(Level::Critical);
    let features = shop().level(dial.source()).build().unwrap();
    drive(&features).await;
    let operators = features.handle();

    operators.set(&REVIEWS, FlagChange::enable("ada", "the launch").until(secs(3_600))).await.unwrap();
    operators.set(&CHECKOUT, FlagChange::disable("ada", "fraud").until(secs(60))).await.unwrap();
    assert_eq!(features.state(&REVIEWS), FeatureState::Enabled, "over the level");
    assert_eq!(features.state(&CHECKOUT), FeatureState::Disabled, "over the tier");
    fail(&features, &REVIEWS, 100);
    assert_eq!(features.state(&REVIEWS), FeatureState::Enabled, "over errors");

    sleep(secs(61)).await;
    assert_eq!(features.state(&CHECKOUT), FeatureState::Enabled);
    sleep(secs(3_600)).await;
    assert_eq!(features.handle().get(&REVIEWS).unwrap().cause, Cause::Level);
}

#[tokio::test(start_paused = true)]
async fn a_removed_flag_gives_way_to_what_is_the_case() {
    let features = shop().build().unwrap();
    let operators = features.handle();
    operators.set(&SEARCH, FlagChange::degrade("ada", "slow")).await.unwrap();
    assert_eq!(features.state(&SEARCH), FeatureState::Degraded);
    assert_eq!(operators.remove(&SEARCH, "bob", "fast again").await.unwrap(), Reach::Instance);
    assert_eq!(features.state(&SEARCH), FeatureState::Enabled);
}

#[tokio::test(start_paused = true)]
async fn each_change_is_in_the_log_with_who_why_and_until() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let features = shop().build().unwrap();
    let operators = features.handle();
    operators.set(&SEARCH, FlagChange::disable("ada", "too slow").until(secs(60))).await.unwrap();
    let set = events_with(&logs, "set a flag").pop().unwrap();
    for (field, value) in [("feature", "search"), ("state", "disabled"), ("who", "ada"), ("reason", "too slow")] {
        assert_eq!(set.field(field), Some(value));
    }
    assert_eq!((set.field("until_ms"), set.field("scope")), (Some("60000.0"), Some("instance")));

    operators.remove(&SEARCH, "bob", "fast again").await.unwrap();
    let removed = events_with(&logs, "removed a flag").pop().unwrap();
    assert_eq!((removed.field("who"), removed.field("reason")), (Some("bob"), Some("fast again")));
}

#[tokio::test(start_paused = true)]
async fn each_act_of_an_operator_is_in_the_event_log() {
    let features = shop().build().unwrap();
    let (operators, log) = (features.handle(), EventLog::new(8));
    operators.report_to(&log);
    let acts = |seq| {
        let events = log.after(seq).into_iter();
        let acts = events.filter(|event| event.fields.iter().any(|(field, _)| *field == "operation"));
        acts.map(|event| (event.by.to_string(), event.fields)).collect::<Vec<_>>()
    };
    operators.set(&SEARCH, FlagChange::disable("ada", "too slow").until(secs(60))).await.unwrap();
    let set = vec![
        ("operation", "set-flag".into()),
        ("state", "disabled".into()),
        ("who", Value::Text("ada".into())),
        ("reason", Value::Text("too slow".into())),
        ("until", secs(60).into()),
        ("scope", "instance".into()),
    ];
    assert_eq!(acts(0), [("search".to_owned(), set)]);
    operators.set_here(&SEARCH, off()).unwrap();
    operators.remove_here(&SEARCH, "bob", "it works").unwrap();
    let acts = acts(0);
    let [_, _, (_, removed)] = &acts[..] else { panic!("{acts:?}") };
    assert_eq!(removed[..2], [("operation", "remove-flag".into()), ("who", Value::Text("bob".into()))]);
}

#[tokio::test]
async fn what_is_not_allowed_changes_nothing() {
    let features = shop().build().unwrap();
    let operators = features.handle();
    let field = |error| match error {
        SetError::Invalid(error) => error.field.into_owned(),
        other => panic!("{other}"),
    };
    let for_ever = operators.set(&SEARCH, FlagChange::enable("ada", "why")).await.unwrap_err();
    assert_eq!(field(for_ever), "until");
    let long = FlagChange::enable("ada", "why").until(Duration::from_secs(86_401));
    assert_eq!(field(operators.set(&SEARCH, long).await.unwrap_err()), "until");
    let nobody = operators.set("no-such-feature", FlagChange::disable("ada", "why")).await.unwrap_err();
    assert_eq!(field(nobody), "feature");
    assert_eq!(field(operators.remove(&SEARCH, "", "why").await.unwrap_err()), "who");
    assert!(operators.list().iter().all(|status| status.flag.is_none()));
}

#[tokio::test]
async fn an_inventory_shows_a_feature_and_its_changes() {
    let features = shop().build().unwrap();
    let gate = features.gate(&SEARCH).unwrap();
    let log = EventLog::new(8);
    gate.report_to(&log);
    features.handle().set(&SEARCH, FlagChange::disable("ada", "too slow")).await.unwrap();
    let shown: &dyn Inspect = &gate;
    assert_eq!((shown.kind(), shown.name().as_str()), ("feature", "search"));
    assert!(shown.settings().contains(&("tier", "standard".into())));
    assert!(shown.state().contains(&("flag_who", Value::Text("ada".into()))));
    assert_eq!(log.after(0)[0].fields[1], ("to", "disabled".into()));
}

fn off() -> FlagChange {
    FlagChange::disable("ada", "Redis is down").until(secs(600))
}

#[tokio::test(start_paused = true)]
async fn a_flag_is_set_here_at_once_while_the_store_is_down_and_outlasts_its_return() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let store = Breakable::default();
    let build = || shop().flags(store.clone()).build().unwrap();
    let (one, two) = (build(), build());
    drive(&one).await;
    drive(&two).await;
    store.set(Failure::Hangs);
    assert!(one.handle().set(&REVIEWS, off()).await.is_err());
    one.handle().set_here(&REVIEWS, off()).unwrap();
    assert_eq!(one.state(&REVIEWS), FeatureState::Disabled);
    let set = events_with(&logs, "set a flag").pop().unwrap();
    let fields = ["who", "reason", "until_ms", "scope"].map(|name| set.field(name).unwrap().to_owned());
    assert_eq!(fields, ["ada", "Redis is down", "600000.0", "instance"]);

    store.set(Failure::None);
    two.handle().set(&REVIEWS, FlagChange::degrade("bob", "slow")).await.unwrap();
    sleep(secs(60)).await;
    assert_eq!(two.state(&REVIEWS), FeatureState::Degraded);
    let status = one.handle().get(&REVIEWS).unwrap();
    let (flag, overridden) = (status.flag.unwrap(), status.overridden_flag.unwrap());
    assert_eq!((status.state, flag.who(), flag.reach()), (FeatureState::Disabled, "ada", Reach::Instance));
    assert_eq!((overridden.who(), overridden.reach()), ("bob", Reach::Fleet));
    assert_eq!(events_with(&logs, "has no effect").len(), 1);

    sleep(secs(540)).await;
    assert_eq!(one.state(&REVIEWS), FeatureState::Degraded, "it has ended, and the store's flag is followed");
    assert!(one.handle().get(&REVIEWS).unwrap().overridden_flag.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_flag_that_is_set_here_gives_way_to_a_later_decision_on_the_same_instance() {
    let store = Breakable::default();
    let features = shop().flags(store.clone()).build().unwrap();
    drive(&features).await;
    let operators = features.handle();
    operators.set_here(&REVIEWS, off()).unwrap();
    store.set(Failure::Refuses);
    assert!(operators.set(&REVIEWS, FlagChange::degrade("ada", "slow")).await.is_err());
    assert!(operators.remove(&REVIEWS, "ada", "works").await.is_err());
    assert_eq!(features.state(&REVIEWS), FeatureState::Disabled, "the store hasn't confirmed it");

    store.set(Failure::None);
    operators.set(&REVIEWS, FlagChange::degrade("ada", "slow")).await.unwrap();
    assert_eq!(features.state(&REVIEWS), FeatureState::Degraded);
    operators.set_here(&REVIEWS, off()).unwrap();
    operators.remove(&REVIEWS, "ada", "works").await.unwrap();
    assert_eq!(features.state(&REVIEWS), FeatureState::Enabled);

    operators.set_here(&REVIEWS, off()).unwrap();
    assert!(operators.remove_here(&REVIEWS, "ada", "works").unwrap());
    assert!(!operators.remove_here(&REVIEWS, "ada", "works").unwrap());
    assert_eq!(features.state(&REVIEWS), FeatureState::Enabled);
}

#[test]
fn a_flag_that_is_set_here_must_end_within_a_day() {
    let features = shop().build().unwrap();
    let set = |change| features.handle().set_here(&REVIEWS, change).map_err(|error| error.field.into_owned());
    assert_eq!(set(FlagChange::disable("ada", "why")), Err("until".into()));
    assert_eq!(set(FlagChange::disable("ada", "why").until(secs(86_401))), Err("until".into()));
    assert_eq!(set(FlagChange::disable("", "why").until(secs(60))), Err("who".into()));
    assert_eq!(features.handle().set_here("other", off()).unwrap_err().field, "feature");
    assert_eq!(features.handle().remove_here(&REVIEWS, "ada", "").unwrap_err().field, "reason");
    assert_eq!(set(FlagChange::enable("ada", "why").until(secs(86_400))), Ok(()));
}

/// A log that is stuck in its first event until an operator of another thread has turned a feature off, or 10 s have passed.
struct StuckLog {
    features: Features,
    /// Whether the operator was done first. `None` before the first event.
    operator_is_first: Arc<OnceLock<bool>>,
}

impl Subscriber for StuckLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "backstop::features"
    }
    fn event(&self, _: &Event<'_>) {
        self.operator_is_first.get_or_init(|| {
            let features = self.features.clone();
            let (done, is_done) = mpsc::channel();
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                runtime.block_on(features.handle().set(&REVIEWS, off())).unwrap();
                _ = done.send(());
            });
            is_done.recv_timeout(secs(10)).is_ok()
        });
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_stuck_holds_up_no_operator_of_another_thread() {
    // More than one subscriber, so that `tracing` asks this thread's for events that other tests have seen.
    let _logs = Logs::new();
    for is_followed in [true, false] {
        let store = MemoryStore::new();
        let build = || shop().flags(store.clone()).build().unwrap();
        let (features, other) = (build(), build());
        drive(&features).await;
        if is_followed {
            other.handle().set(&SEARCH, off()).await.unwrap();
        }
        let operator_is_first = Arc::default();
        let log = StuckLog { features: features.clone(), operator_is_first: Arc::clone(&operator_is_first) };
        let _guard = tracing::subscriber::set_default(log);
        if !is_followed {
            features.handle().set(&SEARCH, off()).await.unwrap();
        }
        sleep(secs(2)).await;
        assert_eq!(operator_is_first.get(), Some(&true), "the driver logs: {is_followed}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_inventory_sets_and_removes_flags_here_and_for_the_fleet() {
    let store = MemoryStore::new();
    let alone = shop().build().unwrap();
    let fleet = shop().flags(store.clone()).build().unwrap();
    drive(&fleet).await;
    for (features, reach) in [(alone, Reach::Instance), (fleet, Reach::Fleet)] {
        let components = features.handle().components();
        let search = components.iter().find(|component| *component.name() == "search").unwrap();
        let (of, log) = (&**search, EventLog::new(16));
        of.report_to(&log);
        let request = |name: &str| OperationRequest::new(name, "ada", "too slow");
        let set = |name: &str| request(name).with("state", "degraded").lasting(secs(60));

        assert_eq!(of.operate(&set("set")).await, Ok(reach));
        assert_eq!(features.state(&SEARCH), FeatureState::Degraded);
        assert_eq!(of.operate(&request("remove")).await, Ok(reach));
        assert_eq!(features.state(&SEARCH), FeatureState::Enabled);
        assert_eq!(of.operate(&set("set-here")).await, Ok(Reach::Instance));
        assert_eq!(features.state(&SEARCH), FeatureState::Degraded);
        assert_eq!(of.operate(&request("remove-here")).await, Ok(Reach::Instance));
        assert_eq!(features.state(&SEARCH), FeatureState::Enabled);

        let acts = log.after(0).into_iter().map(|event| event.fields).filter(|fields| fields[0].0 == "operation");
        let acts: Vec<_> = acts.map(|fields| fields.into_iter().map(|(_, value)| value).collect::<Vec<_>>()).collect();
        assert_eq!(acts.len(), 4);
        assert!(acts.iter().all(|act| act.contains(&"ada".into()) && act.contains(&"too slow".into())), "{acts:?}");

        for (request, text) in [
            (request("set"), "state is missing"),
            (request("set").with("state", "off"), "state is off"),
            (request("set").with("state", "enabled"), "until is none"),
            (request("set-here").with("state", "disabled"), "until is none"),
            (set("set").with("feature", "reviews"), "arguments is feature"),
            (OperationRequest::new("remove", "", "why"), "who"),
            (request("explode"), "operation is explode"),
        ] {
            let error = of.operate(&request).await.unwrap_err().to_string();
            assert!(error.starts_with(text), "{error}");
        }
        assert_eq!(features.state(&SEARCH), FeatureState::Enabled, "nothing has changed");
    }
}

#[tokio::test(start_paused = true)]
async fn an_inventory_says_that_the_store_did_not_confirm() {
    let store = Breakable::default();
    let features = shop().flags(store.clone()).build().unwrap();
    drive(&features).await;
    store.set(Failure::Refuses);
    let gate = features.gate(&SEARCH).unwrap();
    let set = OperationRequest::new("set", "ada", "too slow").with("state", "degraded").lasting(secs(60));
    assert!(matches!(gate.operate(&set).await, Err(OperationError::Unavailable(_))));
    assert_eq!(features.state(&SEARCH), FeatureState::Enabled);
}
