//! The error for an invalid configuration.

use std::{borrow::Cow, error::Error, fmt, ops::RangeBounds};

/// An invalid configuration: the field, its value, and what is allowed.
///
/// ```
/// use backstop_core::ConfigError;
///
/// let error = ConfigError::new("max_attempts", "0", "1 to 1000");
/// assert_eq!(error.to_string(), "max_attempts is 0, allowed is: 1 to 1000");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    /// The field, as its builder or its file names it: `max_attempts`, `providers.cached.timeout`.
    pub field: Cow<'static, str>,
    /// The value that it was given.
    pub value: String,
    /// The values that are allowed.
    pub allowed: Cow<'static, str>,
}

impl ConfigError {
    /// An error for `field`.
    #[must_use]
    pub fn new(
        field: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
        allowed: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field: field.into(), value: value.into().into_owned(), allowed: allowed.into() }
    }

    /// `value`, if it is in `range`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop_core::ConfigError;
    ///
    /// let range = Duration::from_millis(1)..=Duration::from_secs(60);
    /// let error = ConfigError::check_range("timeout", Duration::ZERO, range, "1 ms to 60 s").unwrap_err();
    /// assert_eq!(error.to_string(), "timeout is 0ns, allowed is: 1 ms to 60 s");
    /// ```
    ///
    /// # Errors
    /// A [`ConfigError`] for `field` if it isn't.
    pub fn check_range<T: PartialOrd + fmt::Debug>(
        field: impl Into<Cow<'static, str>>,
        value: T,
        range: impl RangeBounds<T>,
        allowed: impl Into<Cow<'static, str>>,
    ) -> Result<T, Self> {
        if range.contains(&value) { Ok(value) } else { Err(Self::new(field, format!("{value:?}"), allowed)) }
    }

    /// The same error for a field of `part`: `limit` becomes `timeout.limit`.
    ///
    /// ```
    /// use backstop_core::ConfigError;
    ///
    /// let error = ConfigError::new("limit", "0ns", "1 ms to 1 h").inside("timeout");
    /// assert_eq!(error.to_string(), "timeout.limit is 0ns, allowed is: 1 ms to 1 h");
    /// ```
    #[must_use]
    pub fn inside(mut self, part: &str) -> Self {
        self.field = format!("{part}.{}", self.field).into();
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, value, allowed } = self;
        // Quoted, so that an empty or unprintable value is visible in the message.
        if value.is_empty() || value.contains(|c: char| c.is_control() || c.is_whitespace()) {
            write!(f, "{field} is {value:?}, allowed is: {allowed}")
        } else {
            write!(f, "{field} is {value}, allowed is: {allowed}")
        }
    }
}

impl Error for ConfigError {}
