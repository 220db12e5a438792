//! What an operator's inventory shows of the headers.

use backstop_core::{Inspect, Name, Value, name};

use crate::{BrowserAccess, CacheSafety, CacheStatus, DegradationHeaderHandle, Details, InnerHeaders, Report};

/// The layer has no name of its own.
static NAME: Name = name!("degradation-header");

impl Inspect for DegradationHeaderHandle {
    /// `degradation-header`, since the layer takes no name.
    fn name(&self) -> &Name {
        &NAME
    }

    fn kind(&self) -> &'static str {
        "degradation-header"
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        let config = self.config();
        vec![
            ("source_header", config.source_header.into_owned().into()),
            ("freshness_header", config.freshness_header.into_owned().into()),
            ("details", if config.details == Details::Plain { "plain" } else { "parameters" }.into()),
            ("report", if config.report == Report::Degraded { "degraded" } else { "always" }.into()),
            ("inner_headers", if config.inner_headers == InnerHeaders::Keep { "keep" } else { "remove" }.into()),
            (
                "cache_safety",
                if config.cache_safety == CacheSafety::Enforce { "enforce" } else { "leave_alone" }.into(),
            ),
            ("cache_status", if config.cache_status == CacheStatus::Omit { "omit" } else { "write" }.into()),
            ("proxy_status", config.proxy_status.map(|name| Value::from(name.into_owned())).into()),
            ("browsers", if config.browsers == BrowserAccess::Unchanged { "unchanged" } else { "expose" }.into()),
        ]
    }

    /// `labelled`: the chains whose answers were labelled so far, and whether some were stale. At most 1,024.
    fn state(&self) -> Vec<(&'static str, Value)> {
        let chain =
            |(chain, is_stale): (Name, bool)| Value::Map(vec![("chain", chain.into()), ("stale", is_stale.into())]);
        vec![("labelled", self.labelled().into_iter().map(chain).collect())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DegradationHeaderLayer;

    #[test]
    fn settings_are_shown_by_the_words_of_a_file_as_they_were_reloaded() {
        let handle = DegradationHeaderLayer::new().handle();
        assert_eq!((handle.name().as_str(), handle.kind()), ("degradation-header", "degradation-header"));
        let mut config = handle.config();
        (config.report, config.proxy_status) = (Report::Always, Some("gateway".into()));
        handle.reload(config).unwrap();
        let shown = [
            ("source_header", "x-fallback-source"),
            ("freshness_header", "x-data-freshness"),
            ("details", "plain"),
            ("report", "always"),
            ("inner_headers", "keep"),
            ("cache_safety", "enforce"),
            ("cache_status", "omit"),
            ("proxy_status", "gateway"),
            ("browsers", "unchanged"),
        ];
        assert_eq!(handle.settings(), shown.map(|(setting, value)| (setting, Value::from(value))));
    }
}
