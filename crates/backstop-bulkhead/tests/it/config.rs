//! What it can be told, and what it is unless told otherwise.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::time::Duration;

use backstop_bulkhead::{BulkheadBuilder, BulkheadConfig, BulkheadLayer, name};

const MS: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn builder() -> BulkheadBuilder {
    BulkheadLayer::builder("ml_service")
}

#[test]
fn the_defaults_are_those_that_the_docs_tell() {
    let from_config = BulkheadLayer::from_config(BulkheadConfig::new("ml_service")).unwrap();
    for layer in [BulkheadLayer::new(name!("ml_service")), builder().build().unwrap(), from_config] {
        let handle = layer.handle();
        assert_eq!((handle.name().as_str(), handle.max_concurrent(), handle.max_waiting()), ("ml_service", 100, 100));
        assert_eq!((handle.max_wait(), handle.max_hold()), (Duration::from_secs(1), Duration::from_secs(60)));
        assert_eq!((handle.in_use(), handle.waiting()), (0, 0));
    }
}

#[test]
fn as_many_may_wait_as_may_run_unless_set() {
    assert_eq!(builder().max_concurrent(7).build().unwrap().handle().max_waiting(), 7);
    assert_eq!(builder().max_concurrent(7).max_waiting(0).build().unwrap().handle().max_waiting(), 0);
}

#[test]
fn what_can_not_work_is_refused_by_field_value_and_what_is_allowed() {
    let calls = "1 to 1000000";
    let times = "1 ms to 24 h";
    for (builder, field, value, allowed) in [
        (builder().max_concurrent(0), "max_concurrent", "0", calls),
        (builder().max_concurrent(1_000_001), "max_concurrent", "1000001", calls),
        (builder().max_waiting(1_000_001), "max_waiting", "1000001", "0 to 1000000"),
        (builder().max_wait(Duration::ZERO), "max_wait", "0ns", times),
        (builder().max_wait(DAY + MS), "max_wait", "86400.001s", times),
        (builder().max_wait(Duration::MAX), "max_wait", "18446744073709551615.999999999s", times),
        (builder().max_hold(Duration::ZERO), "max_hold", "0ns", times),
        (builder().max_hold(DAY + MS), "max_hold", "86400.001s", times),
        (builder().max_waiting(0).max_wait(MS), "max_wait", "1ms", "only beside a max_waiting that isn't 0"),
        (BulkheadLayer::builder("ml service"), "name", "ml service", backstop_bulkhead::Name::ALLOWED),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!((&*error.field, &*error.value, &*error.allowed), (field, value, allowed));
    }
    let error = builder().max_hold(MS).until_headers().build().unwrap_err();
    assert_eq!(error.to_string(), "max_hold is 1ms, allowed is: not beside until_headers");
}

#[cfg(feature = "serde")]
#[test]
fn it_is_read_from_a_file() {
    use proptest::prelude::*;

    let time = || proptest::option::of(any::<u64>().prop_map(Duration::from_nanos));
    let samples = (any::<u32>(), proptest::option::of(any::<u32>()), time(), time()).prop_map(|values| {
        let mut config = BulkheadConfig::new("ml_service");
        (config.max_concurrent, config.max_waiting, config.max_wait, config.max_hold) = values;
        config
    });
    let fields = &["max_concurrent", "max_waiting", "max_wait", "max_hold"];
    let defaults = BulkheadConfig::new("ml_service");
    backstop_test::assert_config_file("name = \"ml_service\"", &defaults, fields, samples, BulkheadLayer::from_config);

    let unnamed = toml::from_str("").map(BulkheadLayer::from_config).unwrap();
    assert_eq!(unnamed.unwrap_err().field, "name");
}

#[test]
fn the_ends_of_each_range_are_allowed() {
    assert!(builder().max_concurrent(1).max_wait(MS).max_hold(MS).build().is_ok());
    assert!(builder().max_concurrent(1_000_000).max_waiting(1_000_000).max_wait(DAY).max_hold(DAY).build().is_ok());
}
