//! Who changes something by hand, and why: what every such change is logged with.

use backstop_core::{ConfigError, Lasts, Operation, OperationError, OperationRequest, Value};

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

/// Checks a request for one of `operations`: who asks, why, that it has no other arguments than the operation takes, and no time
/// if nothing of it lasts. An argument with a typing mistake must not be ignored: without it, the operation may reach more than was
/// meant.
///
/// # Errors
/// [`OperationError::Invalid`] says what is wrong.
pub fn check_request(request: &OperationRequest, operations: &[Operation]) -> Result<(), OperationError> {
    let operation = operations.iter().find(|operation| operation.name == request.name());
    let operation = operation.ok_or_else(|| request.unknown(operations))?;
    check_operator(request.who(), request.reason())?;
    if let (Lasts::Once, Some(time)) = (operation.lasts, request.time()) {
        return Err(ConfigError::new("time", format!("{time:?}"), "none: it has no effect that could end").into());
    }
    let is_known = |argument: &str| operation.arguments.iter().any(|(known, _)| *known == argument);
    match request.arguments().find(|(argument, _)| !is_known(argument)) {
        None => Ok(()),
        Some((unknown, _)) => {
            let known: Vec<_> = operation.arguments.iter().map(|(known, _)| *known).collect();
            let allowed = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(ConfigError::new("arguments", log_text(unknown), allowed).into())
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_known_name_who_why_and_known_arguments() {
        let operations = [Operation::once("clear"), Operation::limited("pin").arguments(&[("level", "a level")])];
        let pin = |who: &str, reason: &str| OperationRequest::new("pin", who, reason).with("level", "degraded");
        let wrong = |request| check_request(&request, &operations).map_err(|error| error.to_string());
        assert_eq!(wrong(pin("ada", "a drill")), Ok(()));
        let refused = |text: &str| Err(text.to_owned());
        assert_eq!(wrong(pin("ada", "a drill").with("lever", 1_u64)), refused("arguments is lever, allowed is: level"));
        let clear = OperationRequest::new("clear", "ada", "a drill");
        assert_eq!(wrong(clear.with("key", "x")), refused("arguments is key, allowed is: none"));
        assert_eq!(wrong(pin("", "a drill")), refused("who is \"\", allowed is: 1 to 128 bytes of printable text"));
        assert!(wrong(pin("ada", "two\nlines")).is_err());
        let unknown = OperationRequest::new("explode", "ada", "a drill");
        assert_eq!(wrong(unknown), refused("operation is explode, allowed is: clear, pin"));
    }
}
