//! Who changes something by hand, and why: what every such change is logged with.

use backstop_core::ConfigError;

use crate::{is_printable, log_text};

/// How long the name of an operator may be, in bytes.
pub const WHO_MAX: usize = 128;
/// How long an operator's reason may be, in bytes.
pub const REASON_MAX: usize = 512;

/// Checks who changes something by hand, and why.
///
/// # Errors
/// [`ConfigError`] for `who` or `reason`, if it is blank, longer than [`WHO_MAX`] or [`REASON_MAX`], or not
/// [printable](is_printable).
pub fn check_operator(who: &str, reason: &str) -> Result<(), ConfigError> {
    check("who", who, WHO_MAX, "1 to 128 bytes of printable text")?;
    check("reason", reason, REASON_MAX, "1 to 512 bytes of printable text")
}

fn check(field: &'static str, text: &str, most: usize, allowed: &'static str) -> Result<(), ConfigError> {
    if text.trim().is_empty() || text.len() > most || !text.chars().all(is_printable) {
        return Err(ConfigError::new(field, log_text(text), allowed));
    }
    Ok(())
}
