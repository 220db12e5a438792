//! Who changes something by hand, and why.

use std::sync::Arc;

use backstop_core::ConfigError;
use backstop_kit::check_operator;

/// Who changes something by hand, and why. Both are logged.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) who: Arc<str>,
    pub(crate) reason: Arc<str>,
}

impl Operator {
    pub(crate) fn new(who: &str, reason: &str) -> Result<Self, ConfigError> {
        check_operator(who, reason)?;
        Ok(Self { who: who.into(), reason: reason.into() })
    }
}
