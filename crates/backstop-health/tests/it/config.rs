//! Settings that can't work are refused, and can be reloaded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_health::{
    BacklogConfig, Component, ComponentConfig, ComponentState, Health, HealthConfig, Level, ProbeConfig,
};

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
    let health = crate::common::running([Component::essential("database")]);
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

/// Settings of one component.
fn of(name: &str, change: impl FnOnce(&mut ComponentConfig)) -> HealthConfig {
    let mut config = HealthConfig::default();
    change(config.components.entry(name.to_owned()).or_default());
    config
}

fn backlog(degraded_percent: u8, healthy_percent: u8) -> BacklogConfig {
    let mut config = BacklogConfig::default();
    (config.degraded_percent, config.healthy_percent) = (degraded_percent, healthy_percent);
    config
}

fn probe(every: Duration, fall: u32) -> ProbeConfig {
    let mut config = ProbeConfig::default();
    (config.every, config.timeout, config.fall) = (every, secs(1), fall);
    config
}

fn components(waiting: &Arc<AtomicU64>) -> [Component; 3] {
    let waiting = Arc::clone(waiting);
    [
        Component::essential("database"),
        Component::optional("importer").heartbeat(secs(60)),
        Component::optional("queue").backlog(100, move || waiting.load(Relaxed)),
    ]
}

#[tokio::test(start_paused = true)]
async fn settings_of_components_are_checked_when_built_and_when_reloaded() {
    let built = || Health::builder().components(components(&Arc::default()));
    let health = built().build().unwrap();
    for (config, field) in [
        (of("datastore", |_| {}), "components"),
        (of("database", |config| config.heartbeat = Some(secs(1))), "components.database.heartbeat"),
        (of("importer", |config| config.heartbeat = Some(secs(0))), "components.importer.heartbeat"),
        (of("importer", |config| config.backlog = Some(backlog(80, 50))), "components.importer.backlog"),
        (of("queue", |config| config.backlog = Some(backlog(101, 50))), "components.queue.backlog.degraded_percent"),
        (of("queue", |config| config.backlog = Some(backlog(50, 50))), "components.queue.backlog.healthy_percent"),
        (of("database", |config| config.probe = Some(probe(secs(0), 3))), "components.database.probe.every"),
    ] {
        assert_eq!(health.check(&config).unwrap_err().field, field);
        assert_eq!(health.reload(config.clone()).unwrap_err().field, field);
        assert_eq!(built().with_config(config).build().unwrap_err().field, field);
        assert_eq!(health.config(), HealthConfig::default());
    }
    let config = of("importer", |config| config.heartbeat = Some(secs(1)));
    health.check(&config).unwrap();
    assert_eq!(health.config(), HealthConfig::default());
    assert_eq!(built().with_config(config.clone()).build().unwrap().config(), config);
}

#[tokio::test(start_paused = true)]
async fn settings_of_components_are_reloaded_while_they_are_watched() {
    let waiting = Arc::<AtomicU64>::default();
    let health = crate::common::running(components(&waiting));
    let state = |name| health.component(name).unwrap().state();
    let clock = Clock::start();
    let probes = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&probes);
    let failing = move || {
        counted.fetch_add(1, Relaxed);
        async { Err(std::io::Error::other("refused")) }
    };
    tokio::spawn(health.probe("database", failing).unwrap());
    health.heartbeat("importer").unwrap().beat();
    waiting.store(60, Relaxed);
    clock.at(1.0).await;
    assert_eq!((state("importer"), state("queue")), (ComponentState::Healthy, ComponentState::Healthy));

    let mut config = of("database", |config| config.probe = Some(probe(secs(60), 1)));
    config.components.entry("importer".to_owned()).or_default().heartbeat = Some(secs(2));
    config.components.entry("queue".to_owned()).or_default().backlog = Some(backlog(60, 20));
    health.reload(config).unwrap();
    clock.at(2.0).await;
    assert_eq!((state("importer"), state("queue")), (ComponentState::Degraded, ComponentState::Degraded));
    // The second call goes by the new settings.
    clock.at(7.0).await;
    assert_eq!((state("database"), probes.load(Relaxed)), (ComponentState::Degraded, 2));
    clock.at(50.0).await;
    assert_eq!(probes.load(Relaxed), 2);

    // What isn't set any more is as it was declared.
    health.reload(HealthConfig::default()).unwrap();
    waiting.store(50, Relaxed);
    clock.at(51.0).await;
    assert_eq!((state("importer"), state("queue")), (ComponentState::Healthy, ComponentState::Healthy));
}

#[cfg(feature = "serde")]
#[test]
fn they_can_be_read_from_a_file() {
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
        "components",
    ];
    let time = || (0..100_000_u64).prop_map(Duration::from_millis);
    let component = (
        proptest::option::of(time()),
        proptest::option::of((time(), any::<u32>())),
        proptest::option::of((0..101_u8, 0..101_u8)),
    );
    let by_name = proptest::collection::btree_map("[a-z]{1,9}", component, 0..3);
    let samples = (time(), time(), by_name).prop_map(|(degrade_after, calm_after, components)| {
        let mut config = HealthConfig::default();
        (config.degrade_after, config.calm_after) = (degrade_after, calm_after);
        for (name, (heartbeat, probed, limits)) in components {
            let component = config.components.entry(name).or_default();
            component.heartbeat = heartbeat;
            component.probe = probed.map(|(every, fall)| probe(every, fall));
            component.backlog = limits.map(|(degraded, healthy)| backlog(degraded, healthy));
        }
        config
    });
    let build = |config| Health::builder().components(components(&Arc::default())).with_config(config).build();
    assert_config_file("", &HealthConfig::default(), fields, samples, build);
    let text = "[components.database.probe]\nevery = '10s'\n[components.queue.backlog]\ndegraded_percent = 90";
    let config: HealthConfig = toml::from_str(text).unwrap();
    assert!(Health::builder().components(components(&Arc::default())).with_config(config).build().is_ok());
    for unknown in ["[components.database]\nprobes = 1", "[components.database.probe]\nevry = '1s'"] {
        assert!(toml::from_str::<HealthConfig>(unknown).unwrap_err().message().contains("unknown field"));
    }
}
