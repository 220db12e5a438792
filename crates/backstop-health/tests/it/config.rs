//! Settings that can't work are refused, and can be reloaded.

use std::time::Duration;

use backstop_health::{Health, HealthConfig, Level};

use crate::common::{Clock, secs};

#[test]
fn settings_are_checked() {
    let field = |change: fn(&mut HealthConfig)| {
        let mut config = HealthConfig::default();
        change(&mut config);
        Health::builder().with_config(config).build().unwrap_err().field
    };
    assert_eq!(field(|config| config.degrade_after = secs(3_601)), "degrade_after");
    assert_eq!(field(|config| config.critical_after = secs(1)), "critical_after");
    assert_eq!(field(|config| config.recover_after = secs(3_601)), "recover_after");
    assert_eq!(field(|config| config.max_recover_after = secs(29)), "max_recover_after");
    assert_eq!(field(|config| config.calm_after = secs(86_401)), "calm_after");
    assert_eq!(field(|config| config.start_within = Duration::MAX), "start_within");
    assert_eq!(field(|config| config.serve_while_draining = Duration::MAX), "serve_while_draining");
    assert_eq!(field(|config| config.finish_within = Duration::MAX), "finish_within");
    assert_eq!(field(|config| config.exit_within = secs(24)), "exit_within");
}

#[test]
fn a_builder_shows_its_settings() {
    let builder = Health::builder()
        .degrade_after(secs(1))
        .critical_after(secs(2))
        .recover_after(secs(3))
        .max_recover_after(secs(4))
        .calm_after(secs(5))
        .start_within(secs(6))
        .serve_while_draining(secs(7))
        .finish_within(secs(8))
        .exit_within(secs(15));
    let mut config = HealthConfig::default();
    config.degrade_after = secs(1);
    config.critical_after = secs(2);
    config.recover_after = secs(3);
    config.max_recover_after = secs(4);
    config.calm_after = secs(5);
    config.start_within = secs(6);
    config.serve_while_draining = secs(7);
    config.finish_within = secs(8);
    config.exit_within = secs(15);
    assert_eq!(*builder.config(), config);
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_is_known_and_applies_at_once() {
    let health = crate::common::running([backstop_health::Component::essential("database")]);
    let clock = Clock::start();
    health.report("database", Level::Critical, "", secs(86_400)).unwrap();
    clock.at(3.0).await;
    assert_eq!(health.level(), Level::Degraded);
    let mut config = HealthConfig::default();
    config.critical_after = secs(4);
    health.reload(config.clone()).unwrap();
    assert_eq!(health.config(), config);
    clock.at(4.0).await;
    assert_eq!(health.level(), Level::Critical);
    config.critical_after = secs(1);
    assert_eq!(health.reload(config).unwrap_err().field, "critical_after");
    assert_eq!(health.config().critical_after, secs(4));
}

#[cfg(feature = "serde")]
#[test]
fn they_can_be_read_from_a_file() {
    use backstop_health::ProbeConfig;
    use backstop_test::assert_config_file;
    use proptest::prelude::*;

    let fields = &[
        "degrade_after",
        "critical_after",
        "recover_after",
        "max_recover_after",
        "calm_after",
        "start_within",
        "serve_while_draining",
        "finish_within",
        "exit_within",
    ];
    let samples = (0..100_000_u64, 0..100_000_u64).prop_map(|(some, others)| {
        let mut config = HealthConfig::default();
        config.degrade_after = Duration::from_millis(some);
        config.calm_after = Duration::from_millis(others);
        config
    });
    let build = |config| Health::builder().with_config(config).build();
    assert_config_file("", &HealthConfig::default(), fields, samples, build);

    let samples = (0..100_000_u64, any::<u32>()).prop_map(|(every, fall)| {
        let mut config = ProbeConfig::new("database");
        config.every = Duration::from_millis(every);
        config.fall = fall;
        config
    });
    let health = Health::builder().component(backstop_health::Component::essential("database")).build().unwrap();
    let build = |config| health.probe_with(config, || async { std::io::Result::Ok(()) }).map(drop);
    let fields = &["component", "every", "timeout", "fall", "rise"];
    assert_config_file("component = 'database'", &ProbeConfig::new("database"), fields, samples, build);
}
