//! The configuration and the builder.

use std::{borrow::Cow, time::Duration};

use backstop_core::{ConfigError, ErrorRef, Name};
use backstop_kit::ErrorText;

use crate::{Aggregate, aggregate::Settings};

/// The settings of [`Aggregate::new`].
pub(crate) const DEFAULT: Settings = Settings { total: Duration::from_secs(5), max_concurrent: usize::MAX };

/// More than 0 s.
const MOMENT: Duration = Duration::from_nanos(1);
const LONGEST_TOTAL: Duration = Duration::from_secs(24 * 60 * 60);

/// An aggregate as plain data, for [`Aggregate::from_config`].
///
/// With the feature `serde` it can be read from a file. A field that is left out has its default, a time is a text such as
/// `"250ms"`, and an unknown field is an error:
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use backstop_partial::AggregateConfig;
///
/// let config: AggregateConfig = toml::from_str(r#"
///     name = "dashboard"
///     total = "5s"              # more than 0 s, up to 24 h
///     ## max_concurrent = 4      # 1 or more parts; all
/// "#)?;
/// assert_eq!(config, AggregateConfig::new("dashboard"));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default = "AggregateConfig::unnamed", deny_unknown_fields))]
#[non_exhaustive]
pub struct AggregateConfig {
    /// The aggregate's [name](Name).
    pub name: Cow<'static, str>,
    /// See [`AggregateBuilder::total`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub total: Duration,
    /// See [`AggregateBuilder::max_concurrent`]. `None`: all.
    pub max_concurrent: Option<usize>,
}

impl AggregateConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), total: DEFAULT.total, max_concurrent: None }
    }

    /// The defaults of a file, which must set the name.
    #[cfg(feature = "serde")]
    fn unnamed() -> Self {
        Self::new("")
    }

    pub(crate) fn check(self) -> Result<(Name, Settings), ConfigError> {
        let Self { name, total, max_concurrent } = self;
        let name = Name::new(name)?;
        ConfigError::check_range("total", total, MOMENT..=LONGEST_TOTAL, "more than 0 s, up to 24 h")?;
        let max_concurrent = max_concurrent.unwrap_or(DEFAULT.max_concurrent);
        ConfigError::check_range("max_concurrent", max_concurrent, 1.., "1 or more")?;
        Ok((name, Settings { total, max_concurrent }))
    }
}

/// Builds an [`Aggregate`]: see [`Aggregate::builder`].
///
/// ```
/// use std::time::Duration;
///
/// use backstop_partial::Aggregate;
///
/// let error = Aggregate::builder("dashboard").total(Duration::ZERO).build().unwrap_err();
/// assert_eq!(error.to_string(), "total is 0ns, allowed is: more than 0 s, up to 24 h");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct AggregateBuilder {
    config: AggregateConfig,
    error_text: ErrorText,
}

impl AggregateBuilder {
    pub(crate) fn of(config: AggregateConfig) -> Self {
        Self { config, error_text: ErrorText::default() }
    }

    /// The time of all parts together: 5 s unless set, more than 0 s, up to 24 h.
    ///
    /// If the [deadline](backstop_core::scope) of the request is earlier, less 50 ms, that limits them: the page must still be
    /// sent in time.
    pub const fn total(mut self, total: Duration) -> Self {
        self.config.total = total;
        self
    }

    /// The most parts that run at once: 1 or more, all unless set.
    ///
    /// The required parts begin first, then the others, each in their order. A part that hasn't begun when the total has
    /// passed fails with [`NOT_STARTED`](crate::NOT_STARTED).
    pub const fn max_concurrent(mut self, parts: usize) -> Self {
        self.config.max_concurrent = Some(parts);
        self
    }

    /// The text of an error, for logs and [`PartFailure::error`](crate::PartFailure::error). Unless set, that of the error and
    /// its causes, [without secrets in URLs](ErrorText). With `None`, there is none.
    pub fn error_text(mut self, text: impl Fn(ErrorRef<'_>) -> Option<String> + Send + Sync + 'static) -> Self {
        self.error_text = ErrorText::new(text);
        self
    }

    /// The settings so far.
    #[must_use]
    pub const fn config(&self) -> &AggregateConfig {
        &self.config
    }

    /// Builds the aggregate.
    ///
    /// # Errors
    /// [`ConfigError`] if `name` isn't a [`Name`], the total isn't more than 0 s and up to 24 h, or no part may run.
    pub fn build(self) -> Result<Aggregate, ConfigError> {
        let (name, settings) = self.config.check()?;
        Ok(Aggregate::with(name, settings, self.error_text))
    }
}
