//! Settings.

use std::time::Duration;

use backstop_deferred::{Deferred, DeferredConfig, MemoryJobStore};

use crate::common::Email;

#[test]
fn bad_settings_are_refused_by_name() {
    let field = |change: fn(&mut DeferredConfig)| {
        let mut config = DeferredConfig::new("emails");
        change(&mut config);
        Deferred::<Email>::from_config(config, MemoryJobStore::new()).unwrap_err().field
    };
    assert_eq!(field(|it| it.name = "no name".into()), "name");
    assert_eq!(field(|it| it.max_pending = 0), "max_pending");
    assert_eq!(field(|it| it.max_payload = 0), "max_payload");
    assert_eq!(field(|it| it.store_timeout = Duration::ZERO), "store_timeout");
    assert_eq!(field(|it| it.expires_after = Duration::ZERO), "expires_after");
    assert_eq!(field(|it| it.keep_done = Duration::ZERO), "keep_done");
    assert_eq!(field(|it| it.max_attempts = 0), "max_attempts");
    assert_eq!(field(|it| it.first_wait = Duration::ZERO), "first_wait");
    assert_eq!(field(|it| it.max_wait = Duration::ZERO), "max_wait");
    assert_eq!(field(|it| it.max_concurrent = 0), "max_concurrent");
    assert_eq!(field(|it| it.grace = Duration::MAX), "grace");
    assert_eq!(field(|it| it.max_dead_letters = 0), "max_dead_letters");
    assert_eq!(field(|it| it.max_dead_letter_bytes = 0), "max_dead_letter_bytes");
    assert_eq!(field(|it| it.keep_dead_letters = Duration::MAX), "keep_dead_letters");
}

#[cfg(feature = "serde")]
#[test]
fn they_can_be_read_from_a_file() {
    use proptest::prelude::*;

    let fields = &[
        "name",
        "max_pending",
        "max_payload",
        "store_timeout",
        "expires_after",
        "keep_done",
        "max_attempts",
        "first_wait",
        "max_wait",
        "max_concurrent",
        "grace",
        "max_dead_letters",
        "max_dead_letter_bytes",
        "keep_dead_letters",
    ];
    let samples = (0..1_000_000_u64, any::<u32>()).prop_map(|(millis, attempts)| {
        let mut config = DeferredConfig::new("emails");
        config.first_wait = Duration::from_millis(millis);
        config.max_attempts = attempts;
        config
    });
    let build = |config| Deferred::<Email>::from_config(config, MemoryJobStore::new());
    backstop_test::assert_config_file("name = 'emails'", &DeferredConfig::new("emails"), fields, samples, build);
}
