//! What can't work isn't built.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{borrow::Cow, time::Duration};

use backstop_last_known_good::{ConfigError, LastKnownGoodBuilder, LastKnownGoodConfig, LastKnownGoodLayer, MokaStore};

fn refused(change: impl FnOnce(LastKnownGoodBuilder) -> LastKnownGoodBuilder) -> (Cow<'static, str>, String) {
    let ConfigError { field, value, .. } = change(LastKnownGoodLayer::builder("shop")).build().unwrap_err();
    (field, value)
}

#[test]
fn what_is_out_of_bounds_is_refused_by_its_name() {
    let second = Duration::from_secs(1);
    assert_eq!(LastKnownGoodLayer::builder("a b").build().unwrap_err().field, "name");
    assert_eq!(refused(|builder| builder.max_stale(second / 2)), ("max_stale".into(), "500ms".to_owned()));
    assert_eq!(refused(|builder| builder.max_stale(Duration::MAX)).0, "max_stale");
    assert_eq!(refused(|builder| builder.max_body(1 << 31)).0, "max_body");
    assert_eq!(refused(|builder| builder.store_timeout(Duration::ZERO)).0, "store_timeout");
    assert_eq!(refused(|builder| builder.store_timeout(second * 11)).0, "store_timeout");
    assert_eq!(refused(|builder| builder.max_bytes(0)).0, "max_bytes");
    assert_eq!(refused(|builder| builder.max_entries(0)).0, "max_entries");
    assert_eq!(refused(|builder| builder.max_bytes(1024).max_entries(1)), ("max_body".into(), "262144".to_owned()));
}

#[test]
fn what_is_within_bounds_is_built() {
    let built = |change: fn(LastKnownGoodBuilder) -> LastKnownGoodBuilder| {
        let _ = change(LastKnownGoodLayer::builder("shop")).build().unwrap();
    };
    built(|builder| builder.max_stale(Duration::from_secs(1)));
    built(|builder| builder.max_stale(Duration::from_secs(365 * 24 * 60 * 60)));
    built(|builder| builder.max_body(0));
    built(|builder| builder.max_body(1 << 30).max_bytes(1 << 40));
    built(|builder| builder.store_timeout(Duration::from_millis(1)));
    built(|builder| builder.store_timeout(Duration::from_secs(10)));
    let _ = LastKnownGoodLayer::builder("shop").max_body(1 << 30).store(MokaStore::new(1, 1).unwrap()).build().unwrap();
}

#[test]
fn plain_data_describes_a_layer() {
    let mut config = LastKnownGoodConfig::new("shop");
    assert_eq!((config.max_stale, config.max_body), (Duration::from_secs(86_400), 262_144));
    assert_eq!((config.store_timeout, config.max_bytes), (Duration::from_millis(50), 67_108_864));
    assert!(format!("{:?}", LastKnownGoodLayer::from_config(config.clone()).unwrap()).contains("shop"));
    config.max_stale = Duration::ZERO;
    assert_eq!(LastKnownGoodLayer::from_config(config).unwrap_err().field, "max_stale");
}

type Change = fn(&mut LastKnownGoodConfig);

#[test]
fn a_wrong_reload_changes_nothing() {
    let handle = LastKnownGoodLayer::new(backstop_last_known_good::name!("shop")).handle();
    let before = format!("{handle:?}");
    let wrong: [(&str, Change); 8] = [
        ("name", |c| c.name = "other".into()),
        ("max_stale", |c| c.max_stale = Duration::ZERO),
        ("max_stale_while_open", |c| c.max_stale_while_open = Some(Duration::from_secs(8))),
        ("store_timeout", |c| c.store_timeout = Duration::ZERO),
        ("max_body", |c| c.max_body = 64 * 1024 * 1024),
        ("credentials", |c| c.credentials = vec![http::HeaderName::from_static("x-tenant")]),
        ("max_bytes", |c| c.max_bytes += 1),
        ("max_entries", |c| c.max_entries += 1),
    ];
    for (field, change) in wrong {
        let mut config = LastKnownGoodConfig::new("shop");
        config.max_stale = Duration::from_secs(7);
        change(&mut config);
        assert_eq!(handle.check(&config).unwrap_err().field, field);
        assert_eq!(handle.reload(config).unwrap_err().field, field);
        assert_eq!(format!("{handle:?}"), before);
    }
    assert_eq!(handle.check(&LastKnownGoodConfig::new("shop")), Ok(()));
}

#[cfg(feature = "serde")]
#[test]
fn it_is_read_from_a_file() {
    use backstop_last_known_good::{LastKnownValues, LastKnownValuesConfig};
    use backstop_test::assert_config_file;
    use proptest::{collection::vec, prelude::*};

    let time = || any::<u64>().prop_map(Duration::from_nanos);
    let names = vec("[a-z]{1,9}".prop_map(|name| name.parse().unwrap()), 0..3);
    let open = proptest::option::of(time());
    let samples = (time(), 0..usize::MAX / 2, time(), names, 0..u64::MAX / 2, 0..u64::MAX / 2, open);
    let samples = samples.prop_map(|values| {
        let mut config = LastKnownGoodConfig::new("shop");
        (config.max_stale, config.max_body, config.store_timeout, _, config.max_bytes, config.max_entries, _) =
            values.clone();
        (config.credentials, config.max_stale_while_open) = (values.3, values.6);
        config
    });
    let fields = &["max_stale", "max_body", "store_timeout", "credentials", "max_bytes", "max_entries"];
    let defaults = LastKnownGoodConfig::new("shop");
    assert_config_file("name = 'shop'", &defaults, fields, samples, LastKnownGoodLayer::from_config);

    let samples = (time(), 0..u64::MAX / 2).prop_map(|values| {
        let mut config = LastKnownValuesConfig::new("shop");
        (config.max_stale, config.max_entries) = values;
        config
    });
    let defaults = LastKnownValuesConfig::new("shop");
    let build = LastKnownValues::<u32, u32>::from_config;
    assert_config_file("name = 'shop'", &defaults, &["max_stale", "max_entries"], samples, build);
}
