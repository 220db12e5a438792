//! Settings.

use backstop_nats::{NatsJobStore, async_nats::ConnectOptions};

#[tokio::test]
async fn bad_settings_are_refused_by_name() {
    let client = ConnectOptions::new().retry_on_initial_connect().connect("nats://127.0.0.1:1").await.unwrap();
    let builder = |name: &str| NatsJobStore::builder(client.clone(), name);
    let field = |builder: backstop_nats::NatsJobStoreBuilder| builder.build().unwrap_err().field;
    assert_eq!(field(builder("e.mails")), "name");
    assert_eq!(field(builder("e mails")), "name");
    assert_eq!(field(builder("emails").replicas(0)), "replicas");
    assert_eq!(field(builder("emails").replicas(6)), "replicas");
    assert_eq!(field(builder("emails").domain("hub.east")), "domain");
    assert_eq!(field(builder("emails").domain("")), "domain");
    assert_eq!(builder("emails").domain("hub").config().domain.as_deref(), Some("hub"));
    assert_eq!(builder("emails").replicas(3).config().replicas, 3);
    let store = builder("emails").replicas(5).build().unwrap();
    assert!(format!("{store:?}").contains("emails"));
}

#[cfg(feature = "serde")]
#[tokio::test]
async fn they_can_be_read_from_a_file() {
    use backstop_nats::NatsJobStoreConfig;
    use proptest::prelude::*;

    let client = ConnectOptions::new().retry_on_initial_connect().connect("nats://127.0.0.1:1").await.unwrap();
    let samples = ("[a-z]{1,9}", any::<u8>(), any::<Option<String>>()).prop_map(|(name, replicas, domain)| {
        let mut config = NatsJobStoreConfig::new(name);
        config.replicas = replicas;
        config.domain = domain;
        config
    });
    let build = |config| NatsJobStore::from_config(client.clone(), config);
    let fields = &["name", "replicas", "domain"];
    backstop_test::assert_config_file("name = 'emails'", &NatsJobStoreConfig::new("emails"), fields, samples, build);
}
