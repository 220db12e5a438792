//! Who changes something by hand, and why.

use std::sync::Arc;

use backstop_core::ConfigError;
use backstop_kit::log_text;

/// Who changes something by hand, and why. Both are logged.
///
/// ```
/// use backstop_health::Operator;
///
/// let operator = Operator::new("ada", "load test until noon")?;
/// assert_eq!((operator.who(), operator.reason()), ("ada", "load test until noon"));
/// assert_eq!(Operator::new("ada", "").unwrap_err().field, "reason");
/// # Ok::<(), backstop_health::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    who: Arc<str>,
    reason: Arc<str>,
}

impl Operator {
    /// An operator with a reason. Both are cut to 256 bytes, with control characters escaped.
    ///
    /// # Errors
    /// [`ConfigError`] if one of them is empty.
    pub fn new(who: &str, reason: &str) -> Result<Self, ConfigError> {
        let text = |field, text: &str| match text.trim() {
            "" => Err(ConfigError::new(field, text.to_owned(), "a text")),
            text => Ok(log_text(text).into()),
        };
        Ok(Self { who: text("who", who)?, reason: text("reason", reason)? })
    }

    /// Who it is.
    #[must_use]
    pub fn who(&self) -> &str {
        &self.who
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    pub(crate) fn shared_reason(&self) -> Arc<str> {
        Arc::clone(&self.reason)
    }
}
