//! A chain's settings as plain data.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

/// A chain's times and limits as plain data, for [`FallbackChainBuilder::with_config`](crate::FallbackChainBuilder::with_config)
/// and [`FallbackHandle::reload`](crate::FallbackHandle::reload).
///
/// Providers and classifiers are code. What is left out here stays as the code has it.
///
/// With the feature `serde` it can be read from a file. A time is a text such as `"250ms"`, and an unknown field is an error:
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use std::time::Duration;
/// use backstop_fallback::FallbackConfig;
///
/// let config: FallbackConfig = toml::from_str(r#"
///     name = "recommendations"
///     total = "2s"                # more than 0 s, up to 24 h
///     primary_timeout = "800ms"   # more than 0 s, up to the total
///     drill_every = "30s"         # 1 s to 24 h
///
///     [providers.replica]
///     timeout = "500ms"           # more than 0 s, up to the total
///     concurrency = 20            # 1 or more
/// "#)?;
/// assert_eq!(config.providers["replica"].timeout, Some(Duration::from_millis(500)));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default = "FallbackConfig::unnamed", deny_unknown_fields))]
#[non_exhaustive]
pub struct FallbackConfig {
    /// The chain's [name](crate::Name).
    pub name: Cow<'static, str>,
    /// See [`FallbackChainBuilder::total`](crate::FallbackChainBuilder::total).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub total: Option<Duration>,
    /// See [`FallbackBuilder::primary_timeout`](crate::FallbackBuilder::primary_timeout). For all layers of the chain.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub primary_timeout: Option<Duration>,
    /// See [`Drill::every`](crate::Drill::every). No effect on a chain without a drill.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub drill_every: Option<Duration>,
    /// The settings of the chain's own providers, by their names.
    pub providers: BTreeMap<String, ProviderConfig>,
}

impl FallbackConfig {
    /// Everything as the code of this chain has it.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), total: None, primary_timeout: None, drill_every: None, providers: BTreeMap::new() }
    }

    /// The defaults of a file, which must set the name.
    #[cfg(feature = "serde")]
    fn unnamed() -> Self {
        Self::new("")
    }
}

/// A provider's time and limit in a [`FallbackConfig`]. What is left out stays as the code has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct ProviderConfig {
    /// See [`Provider::timeout`](crate::Provider::timeout).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub timeout: Option<Duration>,
    /// See [`Provider::concurrency`](crate::Provider::concurrency).
    pub concurrency: Option<usize>,
}

impl ProviderConfig {
    /// These settings, and `built` where they are left out.
    pub(super) fn or(&self, built: &Self) -> Self {
        Self { timeout: self.timeout.or(built.timeout), concurrency: self.concurrency.or(built.concurrency) }
    }
}
