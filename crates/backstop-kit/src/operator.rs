//! Who changes something by hand, and why: what every such change is logged with.

use backstop_core::{ConfigError, OperationRequest, Value};

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

/// The fields of the event about an operation that ran: `operation`, `who`, `reason`, and `until` if the request has a time.
#[must_use]
pub fn operation_fields(request: &OperationRequest) -> Vec<(&'static str, Value)> {
    let mut fields = vec![
        ("operation", request.name().to_owned().into()),
        ("who", request.who().to_owned().into()),
        ("reason", request.reason().to_owned().into()),
    ];
    fields.extend(request.time().map(|time| ("until", time.into())));
    fields
}

fn check(field: &'static str, text: &str, most: usize, allowed: &'static str) -> Result<(), ConfigError> {
    if text.trim().is_empty() || text.len() > most || !text.chars().all(is_printable) {
        return Err(ConfigError::new(field, log_text(text), allowed));
    }
    Ok(())
}
