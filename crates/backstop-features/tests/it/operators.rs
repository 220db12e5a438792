//! Operators' flags.

use std::time::Duration;

use backstop_core::{EventLog, Inspect, Value};
use backstop_features::{Cause, FeatureState, FlagChange, Level, Reach, SetError};
use backstop_test::Logs;
use tokio::time::sleep;

use crate::common::{CHECKOUT, Dial, REVIEWS, SEARCH, drive, fail, secs, shop, told};

#[tokio::test(start_paused = true)]
async fn a_flag_wins_in_both_directions_and_ends_by_itself() {
    let dial = Dial::default();
    dial.set(Level::Critical);
    let features = shop().level(dial.source()).build().unwrap();
    drive(&features).await;
    let operators = features.handle();

    operators.set(&REVIEWS, FlagChange::enable("ada", "the launch").until(secs(3_600))).await.unwrap();
    operators.set(&CHECKOUT, FlagChange::disable("ada", "fraud").until(secs(60))).await.unwrap();
    assert_eq!(features.look(&REVIEWS), FeatureState::Enabled, "over the level");
    assert_eq!(features.look(&CHECKOUT), FeatureState::Disabled, "over the tier");
    fail(&features, &REVIEWS, 100);
    assert_eq!(features.look(&REVIEWS), FeatureState::Enabled, "over errors");

    sleep(secs(61)).await;
    assert_eq!(features.look(&CHECKOUT), FeatureState::Enabled);
    sleep(secs(3_600)).await;
    assert_eq!(features.handle().get(&REVIEWS).unwrap().cause, Cause::Level);
}

#[tokio::test(start_paused = true)]
async fn a_removed_flag_gives_way_to_what_is_the_case() {
    let features = shop().build().unwrap();
    let operators = features.handle();
    operators.set(&SEARCH, FlagChange::degrade("ada", "slow")).await.unwrap();
    assert_eq!(features.look(&SEARCH), FeatureState::Degraded);
    assert_eq!(operators.remove(&SEARCH, "bob", "fast again").await.unwrap(), Reach::Instance);
    assert_eq!(features.look(&SEARCH), FeatureState::Enabled);
}

#[tokio::test(start_paused = true)]
async fn each_change_is_in_the_log_with_who_why_and_until() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let features = shop().build().unwrap();
    let operators = features.handle();
    operators.set(&SEARCH, FlagChange::disable("ada", "too slow").until(secs(60))).await.unwrap();
    let set = told(&logs, "set a flag").pop().unwrap();
    for (field, value) in [("feature", "search"), ("state", "disabled"), ("who", "ada"), ("reason", "too slow")] {
        assert_eq!(set.field(field), Some(value));
    }
    assert_eq!((set.field("until_ms"), set.field("scope")), (Some("60000.0"), Some("instance")));

    operators.remove(&SEARCH, "bob", "fast again").await.unwrap();
    let removed = told(&logs, "removed a flag").pop().unwrap();
    assert_eq!((removed.field("who"), removed.field("reason")), (Some("bob"), Some("fast again")));
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
