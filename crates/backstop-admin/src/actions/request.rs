//! The body of an action.

use std::time::Duration;

use backstop_core::{Inspect, Lasts, Operation, OperationRequest, Value};
use serde_json::{Map, Value as Json};

use crate::routes::Problem;

/// How long an effect lasts if nothing else is said.
const DEFAULT: Duration = Duration::from_secs(60 * 60);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
const UNTIL: &str = "a time such as \"10m\" or \"1h 30m\", from 1s to 24h; 1h if it is left out";
/// How long a reason may be, in bytes.
const REASON: usize = 512;

/// The fields of every action. All others are arguments of its operation.
const FIELDS: [&str; 3] = ["operation", "reason", "until"];

/// Reads what `who` asks of `target`.
pub(crate) fn read(body: &Json, target: &dyn Inspect, who: &str) -> Result<(Operation, OperationRequest), Problem> {
    let Some(fields) = body.as_object() else {
        let allowed = "an object such as {\"operation\":\"isolate\",\"reason\":\"a drill\",\"until\":\"10m\"}";
        return Err(Problem::field("body", Some(body), allowed));
    };
    let operation = operation(fields, target)?;
    let arguments = operation.arguments;
    let is_known = |field: &str| FIELDS.contains(&field) || arguments.iter().any(|(name, _)| *name == field);
    if let Some((field, value)) = fields.iter().find(|(field, _)| !is_known(field)) {
        let allowed: Vec<_> = FIELDS.into_iter().chain(arguments.iter().map(|(name, _)| *name)).collect();
        let but = if field == "who" { "; the token says who asks" } else { "" };
        return Err(Problem::field(field, Some(value), &format!("only the fields {}{but}", allowed.join(", "))));
    }
    let mut request = OperationRequest::new(operation.name, who, reason(fields.get("reason"))?);
    if let Some(time) = time(fields.get("until"), operation)? {
        request = request.lasting(time);
    }
    for (name, allowed) in arguments.iter().filter(|(name, _)| !FIELDS.contains(name)) {
        if let Some(given) = fields.get(*name) {
            request = request.with(*name, argument(given).ok_or_else(|| Problem::field(name, Some(given), allowed))?);
        }
    }
    Ok((operation, request))
}

fn operation(fields: &Map<String, Json>, target: &dyn Inspect) -> Result<Operation, Problem> {
    let given = fields.get("operation");
    let known = target.operations().iter().find(|known| given.and_then(Json::as_str) == Some(known.name));
    known.copied().ok_or_else(|| {
        let names: Vec<_> = target.operations().iter().map(|operation| operation.name).collect();
        let allowed = if names.is_empty() { "none: it has no operations".to_owned() } else { names.join(", ") };
        Problem::field("operation", given, &allowed)
    })
}

fn reason(given: Option<&Json>) -> Result<&str, Problem> {
    let text = given.and_then(Json::as_str);
    let is_line = |text: &&str| !text.trim().is_empty() && text.len() <= REASON && !text.contains(char::is_control);
    text.filter(is_line).ok_or_else(|| Problem::field("reason", given, "text of one line, of 1 to 512 bytes"))
}

fn time(given: Option<&Json>, operation: Operation) -> Result<Option<Duration>, Problem> {
    match (operation.lasts, given) {
        (Lasts::Once, None) => Ok(None),
        (Lasts::Once, given) => {
            let allowed = format!("nothing: `{}` has no effect that could be ended", operation.name);
            Err(Problem::field("until", given, &allowed))
        }
        (_, None) => Ok(Some(DEFAULT)),
        (_, Some(value)) => {
            let time = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
            let time = time.filter(|time| (SHORTEST..=LONGEST).contains(time));
            time.map(Some).ok_or_else(|| Problem::field("until", given, UNTIL))
        }
    }
}

/// An argument: a text, a number, yes or no, or a list of these.
fn argument(given: &Json) -> Option<Value> {
    Some(match given {
        Json::Bool(it) => (*it).into(),
        Json::Number(it) => it.as_u64().map(Value::Integer).or_else(|| it.as_f64().map(Value::Number))?,
        Json::String(it) => it.clone().into(),
        Json::Array(items) => {
            let item = |item: &Json| if item.is_array() { None } else { argument(item) };
            let items = items.iter().map(item).collect::<Option<Vec<_>>>()?;
            Value::List(items)
        }
        Json::Null | Json::Object(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use backstop_core::{Name, name};
    use serde_json::json;

    use super::*;

    struct Part;

    impl Inspect for Part {
        fn name(&self) -> &Name {
            const NAME: &Name = &name!("ml");
            NAME
        }

        fn kind(&self) -> &'static str {
            "part"
        }

        fn operations(&self) -> &'static [Operation] {
            const ALL: &[Operation] = &[
                Operation::once("clear"),
                Operation::limited("pin").arguments(&[("level", "healthy"), ("shares", "numbers")]),
                Operation::until("isolate", "end"),
            ];
            ALL
        }
    }

    fn ask(body: &Json) -> Result<OperationRequest, Problem> {
        read(body, &Part, "ada").map(|(_, request)| request)
    }

    #[test]
    fn an_action_lasts_an_hour_unless_it_says_otherwise() {
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        for (body, time) in [
            (json!({ "operation": "isolate", "reason": "x" }), minutes(60)),
            (json!({ "operation": "pin", "reason": "x" }), minutes(60)),
            (json!({ "operation": "pin", "reason": "x", "until": "90m" }), minutes(90)),
            (json!({ "operation": "isolate", "reason": "x", "until": "24h" }), minutes(24 * 60)),
            (json!({ "operation": "clear", "reason": "x" }), None),
        ] {
            assert_eq!(ask(&body).unwrap().time(), time, "{body}");
        }
    }

    #[test]
    fn arguments_are_passed_on_by_type() {
        let body = json!({ "operation": "pin", "reason": "x", "level": "healthy", "shares": [1, 0.5, -2, true, "a"] });
        let request = ask(&body).unwrap();
        assert_eq!((request.who(), request.reason(), request.name()), ("ada", "x", "pin"));
        assert_eq!(request.argument("level"), Some(&"healthy".into()));
        let shares = vec![1_u64.into(), 0.5.into(), (-2.0).into(), true.into(), "a".into()];
        assert_eq!(request.argument("shares"), Some(&Value::List(shares)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = "a".repeat(513);
        for (body, field) in [
            (json!([]), "body"),
            (json!({}), "operation"),
            (json!({ "operation": 1, "reason": "x" }), "operation"),
            (json!({ "operation": "explode", "reason": "x" }), "operation"),
            (json!({ "operation": "clear" }), "reason"),
            (json!({ "operation": "clear", "reason": " " }), "reason"),
            (json!({ "operation": "clear", "reason": "a\nb" }), "reason"),
            (json!({ "operation": "clear", "reason": long }), "reason"),
            (json!({ "operation": "clear", "reason": "x", "until": "1h" }), "until"),
            (json!({ "operation": "clear", "reason": "x", "level": "healthy" }), "level"),
            (json!({ "operation": "clear", "reason": "x", "who": "eve" }), "who"),
            (json!({ "operation": "isolate", "reason": "x", "until": null }), "until"),
            (json!({ "operation": "isolate", "reason": "x", "until": 60 }), "until"),
            (json!({ "operation": "isolate", "reason": "x", "until": "999ms" }), "until"),
            (json!({ "operation": "isolate", "reason": "x", "until": "24h 1s" }), "until"),
            (json!({ "operation": "isolate", "reason": "x", "until": "99999999999999999999y" }), "until"),
            (json!({ "operation": "pin", "reason": "x", "level": null }), "level"),
            (json!({ "operation": "pin", "reason": "x", "level": {} }), "level"),
            (json!({ "operation": "pin", "reason": "x", "shares": [[1]] }), "shares"),
            (json!({ "operation": "pin", "reason": "x", "shares": [{}] }), "shares"),
        ] {
            let problem = ask(&body).unwrap_err();
            assert!(problem.detail().starts_with(&format!("`{field}` is ")), "{body}: {problem:?}");
        }
    }
}
