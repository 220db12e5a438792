//! Configurations that are read from files.

use backstop_degradation_header::{
    BrowserAccess, CacheSafety, CacheStatus, DegradationHeaderConfig, DegradationHeaderLayer, Details, InnerHeaders,
    PropagateDegradationConfig, PropagateDegradationLayer, Report,
};
use backstop_test::assert_config_file;
use proptest::{option, prelude::*, sample::select};

#[test]
fn the_labels_are_read_from_a_file() {
    let details = select(vec![Details::Plain, Details::Parameters]);
    let report = select(vec![Report::Degraded, Report::Always]);
    let inner = select(vec![InnerHeaders::Keep, InnerHeaders::Remove]);
    let safety = select(vec![CacheSafety::Enforce, CacheSafety::LeaveAlone]);
    let status = select(vec![CacheStatus::Omit, CacheStatus::Write]);
    let browsers = select(vec![BrowserAccess::Unchanged, BrowserAccess::Expose]);
    let choices = (details, report, inner, safety, status, browsers);
    let samples = (any::<String>(), "[a-z]{1,9}", option::of("[a-z]{1,9}"), choices).prop_map(|values| {
        let mut config = DegradationHeaderConfig::default();
        config.source_header = values.0.into();
        config.freshness_header = values.1.into();
        config.proxy_status = values.2.map(Into::into);
        (config.details, config.report, config.inner_headers, _, _, _) = values.3;
        (_, _, _, config.cache_safety, config.cache_status, config.browsers) = values.3;
        config
    });
    let fields = &[
        "source_header",
        "freshness_header",
        "details",
        "report",
        "inner_headers",
        "cache_safety",
        "cache_status",
        "proxy_status",
        "browsers",
    ];
    let defaults = DegradationHeaderConfig::default();
    assert_config_file("", &defaults, fields, samples, DegradationHeaderLayer::from_config);
}

#[test]
fn propagation_is_read_from_a_file() {
    let samples = (any::<String>(), any::<String>()).prop_map(|(source, freshness)| {
        let mut config = PropagateDegradationConfig::new("ml");
        (config.source_header, config.freshness_header) = (source.into(), freshness.into());
        config
    });
    let defaults = PropagateDegradationConfig::new("ml");
    let fields = &["source_header", "freshness_header"];
    assert_config_file("name = 'ml'", &defaults, fields, samples, PropagateDegradationLayer::from_config);
}
