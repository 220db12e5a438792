//! Reports have a lifetime, and a slot per reporter.

use backstop_health::{Component, ComponentState, Health, Level};

use crate::common::{Clock, millis, running, secs};

fn state(health: &Health) -> ComponentState {
    health.component("database").unwrap().state()
}

#[tokio::test(start_paused = true)]
async fn a_good_report_clears_only_its_own_slot() {
    let health = running([Component::essential("database")]);
    let [lag, disk] = ["lag", "disk"].map(|name| health.reporter("database", name).unwrap());
    lag.report(Level::Degraded, "40 s behind").unwrap();
    disk.report(Level::Critical, "full").unwrap();
    disk.report(Level::Healthy, "").unwrap();
    assert_eq!(state(&health), ComponentState::Degraded);
    assert_eq!(health.view().components().next().unwrap().message(), Some("40 s behind"));
    lag.clear();
    assert_eq!(state(&health), ComponentState::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_bad_report_that_expires_is_unknown_for_a_moment_and_then_forgotten() {
    let health = running([Component::essential("database")]);
    let clock = Clock::start();
    assert_eq!(state(&health), ComponentState::Unknown);
    health.report("database", Level::Critical, "gone", secs(20)).unwrap();
    clock.at(19.9).await;
    assert_eq!(state(&health), ComponentState::Critical);
    clock.at(20.0).await;
    assert_eq!(state(&health), ComponentState::Unknown);
    clock.at(25.0).await;
    assert_eq!(state(&health), ComponentState::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_report_holds_for_five_minutes_unless_it_says_otherwise() {
    let health = running([Component::essential("database")]);
    let clock = Clock::start();
    health.report("database", Level::Degraded, "", None).unwrap();
    clock.at(299.0).await;
    assert_eq!(state(&health), ComponentState::Degraded);
    clock.at(300.0).await;
    assert_eq!(state(&health), ComponentState::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_good_report_that_expires_is_forgotten_at_once() {
    let health = running([Component::essential("database")]);
    let clock = Clock::start();
    health.report("database", Level::Healthy, "", secs(10)).unwrap();
    clock.at(11.0).await;
    assert_eq!(state(&health), ComponentState::Healthy);
}

#[tokio::test(start_paused = true)]
async fn an_essential_component_that_nobody_hears_of_counts_as_degraded_once_started() {
    let health = running([Component::essential("database"), Component::optional("reviews")]);
    let clock = Clock::start();
    clock.at(11.9).await;
    assert_eq!(health.level(), Level::Healthy);
    clock.at(12.0).await;
    assert_eq!(health.level(), Level::Degraded);
    assert_eq!(health.component("reviews").unwrap().level(), Level::Healthy);
}

#[tokio::test(start_paused = true)]
async fn an_operator_reports_with_a_reason() {
    let health = running([Component::essential("database")]);
    health.report_by_hand("database", Level::Degraded, secs(60), "ada", "maintenance").unwrap();
    assert_eq!(health.view().components().next().unwrap().message(), Some("maintenance"));
    assert_eq!(health.reporter("database", "operator").unwrap_err().field, "reporter");
}

#[tokio::test(start_paused = true)]
async fn bad_reports_are_errors_and_change_nothing() {
    let health = running([Component::essential("database")]);
    let field = |error: backstop_health::ConfigError| error.field;
    assert_eq!(health.report("datastore", Level::Critical, "", None).map_err(field), Err("component".into()));
    assert_eq!(health.report("database", Level::Critical, "", millis(99)).map_err(field), Err("ttl".into()));
    assert_eq!(health.report("database", Level::Critical, "", secs(86_401)).map_err(field), Err("ttl".into()));
    assert_eq!(health.reporter("database", "a b").map(drop).map_err(field), Err("reporter".into()));
    assert_eq!(state(&health), ComponentState::Unknown);
    for reporter in 0..32 {
        health.reporter("database", format!("r{reporter}")).unwrap().report(Level::Degraded, "").unwrap();
    }
    let one_more = health.reporter("database", "one_more").unwrap();
    assert_eq!(one_more.report(Level::Critical, "").map_err(field), Err("reporters".into()));
    health.reporter("database", "r7").unwrap().report(Level::Critical, "still works").unwrap();
    assert_eq!(state(&health), ComponentState::Critical);
    health.report_by_hand("database", Level::Degraded, None, "ada", "maintenance").unwrap();
}

#[tokio::test(start_paused = true)]
async fn good_reports_leave_space_for_others() {
    let health = running([Component::essential("database")]);
    for reporter in 0..32 {
        health
            .reporter("database", format!("r{reporter}"))
            .unwrap()
            .report_for(Level::Healthy, "", secs(86_400))
            .unwrap();
    }
    health.report("database", Level::Degraded, "slow", None).unwrap();
    health.report_by_hand("database", Level::Critical, None, "ada", "gone").unwrap();
    assert_eq!(state(&health), ComponentState::Critical);
}

#[tokio::test(start_paused = true)]
async fn messages_are_cut_and_escaped() {
    let health = running([Component::optional("database")]);
    health.report("database", Level::Degraded, &format!("a\nb{}", "x".repeat(1000)), None).unwrap();
    let view = health.view();
    let message = view.components().next().unwrap().message().unwrap();
    assert!(message.starts_with("a\\nb") && message.len() <= 260, "{message}");
}
