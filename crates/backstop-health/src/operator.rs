//! Who changes something by hand, and why.

use std::sync::Arc;

use backstop_core::ConfigError;
use backstop_kit::{is_printable, log_text};

/// Who changes something by hand, and why. Both are logged.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) who: Arc<str>,
    pub(crate) reason: Arc<str>,
}

impl Operator {
    pub(crate) fn new(who: &str, reason: &str) -> Result<Self, ConfigError> {
        let who = text("who", who, 128, "1 to 128 bytes of printable text")?;
        let reason = text("reason", reason, 512, "1 to 512 bytes of printable text")?;
        Ok(Self { who, reason })
    }
}

fn text(field: &'static str, text: &str, most: usize, allowed: &'static str) -> Result<Arc<str>, ConfigError> {
    if text.trim().is_empty() || text.len() > most || !text.chars().all(is_printable) {
        return Err(ConfigError::new(field, log_text(text), allowed));
    }
    Ok(text.into())
}
