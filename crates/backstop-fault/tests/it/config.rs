//! What can be set, and what is set by default.

use std::borrow::Cow;

use backstop_fault::{FaultConfig, FaultLayer, Level, name};

#[test]
fn the_defaults_are_those_of_the_docs() {
    use backstop_core::{Inspect, Value};

    let from_config = FaultLayer::from_config(FaultConfig::new("edge")).unwrap();
    for layer in [FaultLayer::new(name!("edge")), FaultLayer::builder("edge").build().unwrap(), from_config] {
        let handle = layer.handle();
        let settings = Inspect::settings(&handle);
        let paths = ["/health", "/livez", "/readyz", "/admin", "/grpc.health.v1.Health"];
        assert_eq!(
            settings,
            [
                ("armed", Value::Bool(false)),
                ("max_share", Value::Number(0.05)),
                ("max_held", Value::Integer(16)),
                ("unsafe_methods", Value::Bool(false)),
                ("never_on", paths.into_iter().collect()),
            ]
        );
    }
}

#[test]
fn what_can_not_work_is_refused_by_field_value_and_what_is_allowed() {
    let builder = || FaultLayer::builder("edge");
    let shares = "more than 0, up to 1";
    for (builder, field, value, allowed) in [
        (builder().max_share(0.0), "max_share", "0", shares),
        (builder().max_share(1.1), "max_share", "1.1", shares),
        (builder().max_share(f64::NAN), "max_share", "NaN", shares),
        (builder().max_held(0), "max_held", "0", "1 to 16"),
        (builder().max_held(17), "max_held", "17", "1 to 16"),
        (builder().never_on("health"), "never_on", "health", "paths that begin with /"),
        (builder().arm(), "level", "none", "a level, or `without_health`, in a layer that is armed"),
        (FaultLayer::builder("the edge"), "name", "the edge", backstop_fault::Name::ALLOWED),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!((&*error.field, &*error.value, &*error.allowed), (field, value, allowed));
    }
    assert!(builder().arm().level(|| Level::Healthy).max_share(1.0).max_held(1).build().is_ok());
}

#[test]
fn a_reload_does_not_go_beyond_what_was_built() {
    let handle = FaultLayer::builder("edge").max_share(0.5).max_held(8).never_on("/internal").arm().without_health();
    let handle = handle.build().unwrap().handle();
    let config = || {
        let mut config = FaultConfig::new("edge");
        (config.armed, config.max_held, config.never_on) = (true, 8, vec!["/quiet".into(), "/internal".into()]);
        config
    };
    let change = |change: fn(&mut FaultConfig)| {
        let mut changed = config();
        change(&mut changed);
        changed
    };
    for (config, field) in [
        (change(|config| config.armed = false), "armed"),
        (change(|config| config.unsafe_methods = true), "unsafe_methods"),
        (change(|config| config.max_share = 0.6), "max_share"),
        (change(|config| config.max_held = 9), "max_held"),
        (change(|config| config.never_on = vec!["/quiet".into()]), "never_on"),
        (change(|config| config.name = Cow::Borrowed("other")), "name"),
    ] {
        assert_eq!(handle.check(&config).unwrap_err().field, field);
        assert_eq!(handle.reload(config).unwrap_err().field, field);
    }
    handle.reload(change(|config| config.max_share = 0.5)).unwrap();
    handle.reload(config()).unwrap();
    // What it was built with is allowed again, whatever was between.
    handle.reload(change(|config| config.max_share = 0.5)).unwrap();
}

#[cfg(feature = "serde")]
#[test]
fn it_is_read_from_a_file() {
    use proptest::prelude::*;

    let samples =
        (any::<bool>(), -1.0..2.0_f64, any::<u32>(), any::<bool>(), any::<Vec<String>>()).prop_map(|values| {
            let mut config = FaultConfig::new("edge");
            config.armed = values.0;
            config.max_share = values.1;
            config.max_held = values.2;
            config.unsafe_methods = values.3;
            config.never_on = values.4.into_iter().map(Cow::Owned).collect();
            config
        });
    let fields = &["armed", "max_share", "max_held", "unsafe_methods", "never_on"];
    let defaults = FaultConfig::new("edge");
    backstop_test::assert_config_file("name = \"edge\"", &defaults, fields, samples, FaultLayer::from_config);

    let unnamed = toml::from_str("").map(FaultLayer::from_config).unwrap();
    assert_eq!(unnamed.unwrap_err().field, "name");
}
