//! The settings, from code, files and reloads, and as operators see them.

use std::time::Duration;

use backstop_core::{Inspect, Value};
use backstop_partial::{Aggregate, AggregateBuilder, AggregateConfig, Name, name, part};
use tokio::time::Instant;

use crate::common::{MS, dashboard};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn builder() -> AggregateBuilder {
    Aggregate::builder("dashboard")
}

#[test]
fn the_defaults_are_the_documented_ones() {
    for aggregate in [dashboard(), builder().build().unwrap()] {
        let handle = aggregate.handle();
        assert_eq!(handle.name(), "dashboard");
        assert_eq!((handle.total(), handle.max_concurrent()), (Duration::from_secs(5), None));
    }
}

#[test]
fn what_can_not_work_is_refused_by_field_value_and_what_is_allowed() {
    let times = "more than 0 s, up to 24 h";
    for (builder, field, value, allowed) in [
        (builder().total(Duration::ZERO), "total", "0ns", times),
        (builder().total(DAY + MS), "total", "86400.001s", times),
        (builder().max_concurrent(0), "max_concurrent", "0", "1 or more"),
        (Aggregate::builder("dash board"), "name", "dash board", Name::ALLOWED),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!((&*error.field, &*error.value, &*error.allowed), (field, value, allowed));
    }
    assert!(builder().total(Duration::from_nanos(1)).max_concurrent(1).build().is_ok());
    assert!(builder().total(DAY).max_concurrent(usize::MAX).build().is_ok());
}

#[cfg(feature = "serde")]
#[test]
fn it_is_read_from_a_file() {
    use proptest::prelude::*;

    let samples = (any::<u64>(), proptest::option::of(0..1_000_usize)).prop_map(|(total, max_concurrent)| {
        let mut config = AggregateConfig::new("dashboard");
        (config.total, config.max_concurrent) = (Duration::from_nanos(total), max_concurrent);
        config
    });
    let defaults = AggregateConfig::new("dashboard");
    let fields = &["total", "max_concurrent"];
    backstop_test::assert_config_file("name = \"dashboard\"", &defaults, fields, samples, Aggregate::from_config);
    let unnamed = toml::from_str("").map(Aggregate::from_config).unwrap();
    assert_eq!(unnamed.unwrap_err().field, "name");
}

#[tokio::test(start_paused = true)]
async fn a_reload_is_for_pages_that_begin_afterwards() {
    let (aggregate, started) = (builder().total(100 * MS).build().unwrap(), Instant::now());
    let hung = || part(name!("hung"), std::future::pending::<Result<u32, &str>>()).or_default();
    let handle = aggregate.handle();
    let mut config = AggregateConfig::new("dashboard");
    config.total = 30 * MS;
    let mut before = Box::pin(aggregate.gather((hung(),)));
    assert!(tokio::time::timeout(MS, before.as_mut()).await.is_err());
    handle.check(&config).unwrap();
    assert_eq!(handle.total(), 100 * MS, "a check changes nothing");
    handle.reload(config).unwrap();
    aggregate.gather((hung(),)).await.unwrap();
    assert_eq!(started.elapsed(), 31 * MS);
    before.await.unwrap();
    assert_eq!(started.elapsed(), 100 * MS);
}

#[test]
fn a_reload_that_is_refused_changes_nothing() {
    let handle = dashboard().handle();
    let mut config = AggregateConfig::new("dashboard");
    config.max_concurrent = Some(0);
    for (config, field) in [(config, "max_concurrent"), (AggregateConfig::new("another"), "name")] {
        assert_eq!(handle.check(&config).unwrap_err().field, field);
        assert_eq!(handle.reload(config).unwrap_err().field, field);
        assert_eq!(handle.max_concurrent(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_inventory_shows_the_settings_and_the_parts_that_fail() {
    let aggregate = builder().total(3 * MS).max_concurrent(4).build().unwrap();
    let handle = aggregate.handle();
    let inspect: &dyn Inspect = &handle;
    assert_eq!((inspect.name().as_str(), inspect.kind()), ("dashboard", "aggregate"));
    assert_eq!(inspect.settings(), [("total", Value::Duration(3 * MS)), ("max_concurrent", Value::Integer(4))]);
    assert_eq!(inspect.state(), [("failing", Value::List(Vec::new()))]);

    for i in 0..3 {
        let orders = part(name!("orders"), async move { if i == 1 { Ok(7) } else { Err("down") } }).or_default();
        aggregate.gather((part(name!("profile"), async { Ok::<_, &str>(1) }).required(), orders)).await.unwrap();
        tokio::time::advance(MS).await;
    }
    let failing = handle.failing();
    assert_eq!(failing.len(), 1);
    assert_eq!((failing[0].part.as_str(), failing[0].last_reason.as_str()), ("orders", "error"));
    assert_eq!((failing[0].pages, failing[0].failures), (3, 2));
    assert_eq!((failing[0].duration, failing[0].last_failure), (3 * MS, MS));
    let Value::List(shown) = &inspect.state()[0].1 else { unreachable!("a list") };
    assert_eq!(shown.len(), 1);
}
