//! The level gets worse after a moment, and better one step at a time.

use backstop_health::{Component, Health, Level};

use crate::common::{Clock, running, secs};

const DAY: std::time::Duration = secs(24 * 60 * 60);

fn report(health: &Health, level: Level) {
    health.report("database", level, "", DAY).unwrap();
}

/// The moments at which the level changes, in whole seconds, until `end`.
async fn changes_until(health: &Health, clock: &Clock, end: f64) -> Vec<(u128, Level)> {
    let mut levels = health.subscribe();
    let mut changes = Vec::new();
    loop {
        tokio::select! {
            biased;
            level = levels.changed() => changes.push(((clock.elapsed() + 500) / 1000, level.unwrap())),
            () = clock.at(end) => return changes,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_degraded_after_two_seconds_and_critical_after_ten() {
    let health = running([Component::essential("database")]);
    let clock = Clock::start();
    report(&health, Level::Critical);
    assert_eq!(health.level(), Level::Healthy);
    assert_eq!(health.status(), Level::Critical);
    let changes = changes_until(&health, &clock, 60.0).await;
    assert_eq!(changes, [(2, Level::Degraded), (10, Level::Critical)]);
}

#[tokio::test(start_paused = true)]
async fn it_gets_better_one_step_at_a_time_after_thirty_seconds_each() {
    let health = running([Component::essential("database")]);
    let clock = Clock::start();
    report(&health, Level::Critical);
    clock.at(20.0).await;
    assert_eq!(health.level(), Level::Critical);
    report(&health, Level::Healthy);
    let changes = changes_until(&health, &clock, 200.0).await;
    assert_eq!(changes, [(50, Level::Degraded), (80, Level::Healthy)]);
}

#[tokio::test(start_paused = true)]
async fn a_break_begins_the_wait_anew() {
    let health = running([Component::essential("database")]);
    let clock = Clock::start();
    report(&health, Level::Degraded);
    clock.at(5.0).await;
    report(&health, Level::Healthy);
    clock.at(30.0).await;
    report(&health, Level::Degraded);
    clock.at(31.0).await;
    report(&health, Level::Healthy);
    let changes = changes_until(&health, &clock, 200.0).await;
    assert_eq!(changes, [(61, Level::Healthy)]);
}

#[tokio::test(start_paused = true)]
async fn a_short_trouble_moves_nothing() {
    let health = running([Component::essential("database")]);
    let clock = Clock::start();
    for second in 0..50 {
        clock.at(f64::from(second) * 3.0).await;
        report(&health, Level::Critical);
        clock.at(f64::from(second).mul_add(3.0, 1.9)).await;
        report(&health, Level::Healthy);
        assert_eq!(health.level(), Level::Healthy);
    }
}

#[tokio::test(start_paused = true)]
async fn an_optional_component_shows_and_never_moves_the_level() {
    let health = running([Component::essential("database"), Component::optional("reviews")]);
    let clock = Clock::start();
    report(&health, Level::Healthy);
    health.report("reviews", Level::Critical, "gone", DAY).unwrap();
    assert_eq!(changes_until(&health, &clock, 100.0).await, []);
    assert_eq!((health.status(), health.level()), (Level::Critical, Level::Healthy));
    assert_eq!(health.component("reviews").unwrap().level(), Level::Critical);
}

#[tokio::test(start_paused = true)]
async fn each_relapse_doubles_the_recovery_time_up_to_five_minutes_until_there_is_calm() {
    let health = running([Component::essential("database")]);
    let clock = Clock::start();
    let mut begins = 0.0;
    for expected in [30, 60, 120, 240, 300, 300] {
        clock.at(begins).await;
        report(&health, Level::Degraded);
        clock.at(begins + 4.0).await;
        assert_eq!(health.level(), Level::Degraded);
        report(&health, Level::Healthy);
        let changes = changes_until(&health, &clock, begins + 5.0 + f64::from(expected)).await;
        assert_eq!(changes, [((begins as u128) + 4 + expected as u128, Level::Healthy)]);
        begins += f64::from(expected) + 100.0;
    }
    // Ten minutes after it got better at the latest.
    begins += 600.0;
    clock.at(begins).await;
    report(&health, Level::Degraded);
    clock.at(begins + 4.0).await;
    report(&health, Level::Healthy);
    let changes = changes_until(&health, &clock, begins + 100.0).await;
    assert_eq!(changes, [((begins as u128) + 34, Level::Healthy)]);
}

#[tokio::test(start_paused = true)]
async fn an_operators_pin_holds_until_its_time_has_passed_and_shows() {
    let health = running([Component::essential("database")]);
    let clock = Clock::start();
    report(&health, Level::Healthy);
    health.pin(Level::Critical, secs(60), "ada", "load test").unwrap();
    assert_eq!(health.level(), Level::Critical);
    let view = health.view();
    let pin = view.pin().unwrap();
    assert_eq!((pin.level(), pin.who(), pin.reason()), (Level::Critical, "ada", "load test"));
    assert_eq!(pin.remaining(), secs(60));
    assert_eq!(changes_until(&health, &clock, 100.0).await, [(60, Level::Healthy)]);

    // In the other direction, too. What was worked out meanwhile holds at once.
    health.pin(Level::Healthy, secs(60), "ada", "load test").unwrap();
    report(&health, Level::Critical);
    clock.at(150.0).await;
    assert_eq!(health.level(), Level::Healthy);
    assert!(health.unpin("ada", "done").unwrap());
    assert!(!health.unpin("ada", "done").unwrap());
    assert_eq!(health.level(), Level::Critical);
    for time in [secs(0), secs(24 * 60 * 60 + 1)] {
        assert_eq!(health.pin(Level::Healthy, time, "ada", "load test").unwrap_err().field, "until");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_driver_the_level_is_right_for_whoever_looks() {
    let health = Health::builder().component(Component::essential("database")).build().unwrap();
    report(&health, Level::Critical);
    tokio::time::advance(secs(11)).await;
    assert_eq!(health.view().level(), Level::Critical);
    assert_eq!(health.level(), Level::Critical);
}

#[tokio::test(start_paused = true)]
async fn the_driver_ends_with_the_last_handle() {
    let health = Health::builder().component(Component::essential("database")).build().unwrap();
    let driver = tokio::spawn(health.run());
    tokio::time::sleep(secs(1)).await;
    assert!(!driver.is_finished());
    drop(health);
    driver.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_subscriber_waits_for_may_depend_on_health_itself() {
    // Without a driver, a caller makes the change that is due.
    let health = Health::builder().component(Component::essential("database")).build().unwrap();
    report(&health, Level::Degraded);
    tokio::time::advance(secs(5)).await;
    let mut levels = health.subscribe();
    assert_eq!(levels.wait_for(|_| health.view().level() == Level::Degraded).await, Some(Level::Healthy));
    assert_eq!(levels.wait_for(|level| level != Level::Healthy).await, Some(Level::Degraded));
    assert!(!levels.has_changed());
    drop(health);
    assert_eq!(levels.wait_for(|level| level == Level::Healthy).await, None);
}
