use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

fn check(change: impl FnOnce(&mut RetryConfig)) -> Result<Settings, ConfigError> {
    let mut config = RetryConfig::new("ml_service");
    change(&mut config);
    Settings::check(config, None).map(|(_, settings)| settings)
}

fn refused_field(change: impl FnOnce(&mut RetryConfig)) -> Cow<'static, str> {
    check(change).unwrap_err().field
}

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn the_defaults_are_those_that_can_not_fail() {
    // Each has a budget of its own.
    let without_budget = |settings: Settings| Settings { budget: None, ..settings };
    assert_eq!(check(|_| ()).map(without_budget), Ok(without_budget(Settings::new())));
}

#[test]
fn what_can_not_work_is_refused_by_name() {
    assert_eq!(refused_field(|c| c.name = "ml service".into()), "name");
    assert_eq!(refused_field(|c| c.max_attempts = 0), "max_attempts");
    assert_eq!(refused_field(|c| c.max_attempts = 1001), "max_attempts");
    assert_eq!(refused_field(|c| c.total = Duration::ZERO), "total");
    assert_eq!(refused_field(|c| c.total = Duration::MAX), "total");
    assert_eq!(refused_field(|c| c.backoff_cap = Some(Duration::ZERO)), "backoff_cap");
    assert_eq!(refused_field(|c| c.backoff_base = Some(Duration::ZERO)), "backoff_base");
}

#[test]
fn contradictions_are_refused() {
    assert_eq!(refused_field(|c| c.backoff_cap = Some(HOUR)), "backoff_cap");
    assert_eq!(refused_field(|c| c.max_retry_after = Some(HOUR)), "max_retry_after");
    assert_eq!(refused_field(|c| c.backoff_base = Some(HOUR)), "backoff_base");
    let both = |c: &mut RetryConfig| (c.backoff_base, c.backoff_cap) = (Some(2 * MS), Some(MS));
    let error = check(both).unwrap_err();
    assert_eq!(error.to_string(), "backoff_base is 2ms, allowed is: more than 0 s, up to the backoff's cap");
}

#[test]
fn a_default_gives_way_to_a_shorter_total() {
    let settings = check(|c| c.total = 50 * MS).unwrap();
    assert_eq!(settings.waits, Waits::new(Backoff::FullJitter, 50 * MS, 50 * MS));
    assert_eq!(settings.max_retry_after, 50 * MS);
}

#[test]
fn a_constant_wait_may_be_as_long_as_the_total() {
    let constant = |c: &mut RetryConfig| (c.backoff, c.backoff_base) = (Backoff::Constant, Some(30_000 * MS));
    assert_eq!(check(constant).unwrap().waits.ceiling(1), 30_000 * MS);
    assert_eq!(refused_field(|c| (constant(c), c.total = 20_000 * MS).1), "backoff_base");
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(Duration::ZERO), Just(Duration::MAX), any::<u64>().prop_map(Duration::from_nanos)]
}

proptest! {
    #[test]
    fn every_configuration_that_builds_has_an_order_of_times(
        total in time(),
        base in proptest::option::of(time()),
        cap in proptest::option::of(time()),
        max_retry_after in proptest::option::of(time()),
        attempts in 1..=1000_u32,
    ) {
        let set = |c: &mut RetryConfig| {
            (c.total, c.backoff_base, c.backoff_cap, c.max_retry_after) = (total, base, cap, max_retry_after);
        };
        if let Ok(settings) = check(set) {
            prop_assert!(settings.waits.ceiling(attempts) <= settings.total);
            prop_assert!(settings.waits.ceiling(1) > Duration::ZERO);
            prop_assert!(settings.max_retry_after <= settings.total);
        }
    }
}
