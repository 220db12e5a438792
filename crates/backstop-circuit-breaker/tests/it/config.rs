//! A configuration that can't work is refused, whatever would have become of it.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::time::Duration;

use backstop_circuit_breaker::{
    CircuitBreakerBuilder, CircuitBreakerConfig, CircuitBreakerLayer, OnDrop, Recovery, Wait,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder("upstream")
}

#[test]
fn every_bad_value_is_named_with_what_is_allowed() {
    let rate = || builder().failure_rate(0.5);
    let millisecond = Duration::from_millis(1);
    let tiny = Duration::from_micros(999);
    let long = DAY + millisecond;
    let cases = [
        (CircuitBreakerLayer::builder("up stream"), "name", "up stream"),
        (builder().consecutive_failures(0), "consecutive_failures", "0"),
        (builder().consecutive_failures(65_537), "consecutive_failures", "65537"),
        (rate().consecutive_failures(0), "consecutive_failures", "0"),
        (builder().failure_rate(0.0), "failure_rate", "0"),
        (builder().failure_rate(-0.5), "failure_rate", "-0.5"),
        (builder().failure_rate(1.01), "failure_rate", "1.01"),
        (builder().failure_rate(f64::NAN), "failure_rate", "NaN"),
        (builder().failure_rate(f64::INFINITY), "failure_rate", "inf"),
        (builder().failure_rate(1e-7), "failure_rate", "0.0000001"),
        (builder().slow_calls(tiny, 0.5), "slow_calls", "999µs"),
        (builder().slow_calls(millisecond, 0.0), "slow_calls", "0"),
        (builder().slow_calls(millisecond, f64::NAN), "slow_calls", "NaN"),
        (builder().slow_calls(millisecond, 0.5).window(10).min_calls(11), "min_calls", "11"),
        (rate().window(0), "window", "0"),
        (rate().window(65_537), "window", "65537"),
        (builder().window(10), "window", "Calls(10)"),
        (rate().window(DAY + millisecond), "window", "86400.001s"),
        (rate().window(Duration::from_millis(999)), "window", "999ms"),
        (rate().window(DAY).min_calls(65_537), "min_calls", "65537"),
        (rate().min_calls(0), "min_calls", "0"),
        (rate().window(10).min_calls(11), "min_calls", "11"),
        (builder().min_calls(10), "min_calls", "10"),
        (builder().wait(Duration::ZERO), "wait", "0ns"),
        (builder().wait(tiny), "wait", "999µs"),
        (builder().wait(Duration::MAX), "wait", "18446744073709551615.999999999s"),
        (builder().wait(Wait::Growing { first: tiny, max: DAY }), "wait", "999µs"),
        (builder().wait(Wait::Growing { first: DAY, max: long }), "wait", "86400.001s"),
        (builder().wait(Wait::Growing { first: DAY, max: millisecond }), "wait", "Growing { first: 86400s, max: 1ms }"),
        (builder().wait_jitter(1.5), "wait_jitter", "1.5"),
        (builder().wait_jitter(f64::NAN), "wait_jitter", "NaN"),
        (builder().retry_after_jitter(-0.1), "retry_after_jitter", "-0.1"),
        (builder().respect_retry_after(Duration::ZERO), "respect_retry_after", "0ns"),
        (builder().success_threshold(0), "success_threshold", "0"),
        (builder().success_threshold(u32::MAX), "success_threshold", "4294967295"),
        (builder().max_concurrent_probes(0), "max_concurrent_probes", "0"),
        (builder().max_concurrent_probes(1001), "max_concurrent_probes", "1001"),
        (builder().probe_lease(Duration::ZERO), "probe_lease", "0ns"),
        (builder().probe_lease(long), "probe_lease", "86400.001s"),
        (builder().on_drop(OnDrop::FailureAfter(Duration::ZERO)), "on_drop", "0ns"),
        (builder().on_drop(OnDrop::FailureAfter(long)), "on_drop", "86400.001s"),
        (builder().recovery(Recovery::ramp([0.5, 0.5])), "recovery", "[0.5, 0.5]"),
        (builder().recovery(Recovery::ramp([0.1, 1.0])), "recovery", "1"),
        (builder().recovery(Recovery::ramp([0.0])), "recovery", "0"),
        (builder().recovery(Recovery::ramp([f64::NAN])), "recovery", "NaN"),
        (builder().recovery(Recovery::ramp([0.1; 9])), "recovery", "9 shares"),
        (builder().recovery(Recovery::ramp([0.1]).each(Duration::from_secs(61))), "recovery", "61s"),
        (builder().recovery(Recovery::ramp([0.1]).each(tiny)), "recovery", "999µs"),
    ];
    for (builder, field, value) in cases {
        let error = builder.build().unwrap_err();
        assert_eq!((&*error.field, error.value.as_str()), (field, value));
        assert!(!error.allowed.is_empty());
    }
}

#[test]
fn the_bounds_themselves_are_allowed() {
    let rate = || builder().failure_rate(0.5);
    for builder in [
        builder(),
        builder().consecutive_failures(1),
        builder().consecutive_failures(65_536),
        builder().failure_rate(0.000_001).window(65_536),
        builder().failure_rate(1.0).window(1).min_calls(1),
        builder().failure_rate(0.5).window(3),
        builder().slow_calls(DAY, 1.0).window(65_536).min_calls(65_536),
        rate().window(DAY).min_calls(65_536),
        rate().window(Duration::from_secs(1)),
        rate().slow_calls(Duration::from_millis(1), 0.000_001),
        builder().wait(Wait::Growing { first: DAY, max: DAY }).wait_jitter(1.0).respect_retry_after(DAY),
        builder().wait(DAY).probe_lease(DAY).on_drop(OnDrop::FailureAfter(DAY)),
        builder().wait(Duration::from_millis(1)).probe_lease(Duration::from_millis(1)),
        builder().success_threshold(65_536).max_concurrent_probes(1000),
    ] {
        assert_eq!(builder.build().unwrap().handle().name(), &"upstream");
    }
}

#[test]
fn plain_data_says_what_the_builder_says() {
    let mut config = CircuitBreakerConfig::new("upstream");
    assert_eq!(CircuitBreakerLayer::from_config(config.clone()).unwrap().handle().name(), &"upstream");
    config.wait = Duration::ZERO.into();
    assert_eq!(CircuitBreakerLayer::from_config(config).unwrap_err().field, "wait");
}

#[cfg(feature = "serde")]
#[test]
fn it_is_read_from_a_file() {
    use backstop_circuit_breaker::{OnDrop, SlowCalls, Wait, Window};
    use proptest::{option, prelude::*};

    let time = || any::<u64>().prop_map(Duration::from_nanos);
    let calls = || option::of(any::<u32>());
    let share = || option::of(0.0..2.0_f64);
    let windows = prop_oneof![any::<u32>().prop_map(Window::Calls), time().prop_map(Window::Time)];
    let waits = prop_oneof![
        time().prop_map(Wait::Fixed),
        (time(), time()).prop_map(|(first, max)| Wait::Growing { first, max }),
    ];
    let drops = prop_oneof![Just(OnDrop::Ignore), Just(OnDrop::Failure), time().prop_map(OnDrop::FailureAfter)];
    let slow = option::of((time(), 0.0..2.0_f64).prop_map(|(threshold, share)| SlowCalls::new(threshold, share)));
    let trip = (calls(), share(), slow, option::of(windows), calls());
    let recovery = (waits, share(), option::of(time()), time(), any::<u32>(), drops);
    let samples = (trip, recovery).prop_map(|(trip, recovery)| {
        let mut config = CircuitBreakerConfig::new("ml");
        (config.consecutive_failures, config.failure_rate, config.slow_calls, config.window, config.min_calls) = trip;
        (config.wait, config.wait_jitter, config.respect_retry_after, config.probe_lease, _, _) = recovery;
        (_, _, _, _, config.max_concurrent_probes, config.on_drop) = recovery;
        config
    });
    let fields = &[
        "consecutive_failures",
        "failure_rate",
        "slow_calls",
        "window",
        "min_calls",
        "wait",
        "wait_jitter",
        "respect_retry_after",
        "retry_after_jitter",
        "seed",
        "success_threshold",
        "max_concurrent_probes",
        "probe_lease",
        "on_drop",
        "observe_only",
        "recovery",
        "recovery.ramp",
        "recovery.each",
        "wait.first",
        "wait.max",
        "slow_calls.share",
        "slow_calls.threshold",
        "on_drop.failure_after",
    ];
    let defaults = CircuitBreakerConfig::new("ml");
    backstop_test::assert_config_file("name = 'ml'", &defaults, fields, samples, CircuitBreakerLayer::from_config);

    let error = |text: &str| toml::from_str::<CircuitBreakerConfig>(text).unwrap_err().message().to_owned();
    assert_eq!(error("window = -1"), "invalid value: integer `-1`, expected a number of calls, or a duration");
    assert_eq!(error("wait = { first = '1s' }"), "missing field `max`");
}
