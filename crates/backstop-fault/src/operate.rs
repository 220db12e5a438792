//! What operators do to a fault layer through an inventory.

use std::{str::FromStr, time::Duration};

use backstop_core::{ConfigError, Operation, OperationError, OperationRequest, Reach, Value};
use backstop_kit::{check_request, log_text};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::{Fault, FaultHandle, FaultKind, FaultRun, Refusal, RunId, StatusFault};

const FAULT: &str = "error, status, delay, hang, reset, truncated-body or panic";
const SHARE: &str = "more than 0, up to the layer's max_share";
const STATUS: &str = "400 to 599, for a fault that is a status";
const HEADERS: &str = "a list of texts such as `retry-after: 2`, for a fault that is a status";
const BODY: &str = "at most 65536 bytes, for a fault that is a status";
const DELAY: &str = "milliseconds, 1 to 60000, for a fault that is a delay";
const MAX_DELAY: &str = "milliseconds, delay_ms to 60000: each delay is drawn from that range";
const AFTER: &str = "bytes, for a fault that is a truncated body";
const SEED: &str = "a number that repeats an earlier run";
const METHOD: &str = "a method: only its requests are hit";
const PATH_PREFIX: &str = "a path: only requests below it are hit";
const HEADER: &str = "a text such as `x-tenant: test`: only requests with this header field are hit";
const BY_PRINCIPAL: &str = "a header name: a share of its values is hit, instead of a share of the requests";
const RUN: &str = "the number of the run that runs";

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation::limited("start").arguments(&[
        ("fault", FAULT),
        ("share", SHARE),
        ("status", STATUS),
        ("headers", HEADERS),
        ("body", BODY),
        ("delay_ms", DELAY),
        ("max_delay_ms", MAX_DELAY),
        ("after", AFTER),
        ("seed", SEED),
        ("method", METHOD),
        ("path_prefix", PATH_PREFIX),
        ("header", HEADER),
        ("by_principal", BY_PRINCIPAL),
    ]),
    Operation::once("heartbeat").arguments(&[("run", RUN)]),
    Operation::once("stop"),
];

pub(crate) fn run(handle: &FaultHandle, request: &OperationRequest) -> Result<Reach, OperationError> {
    check_request(request, OPERATIONS)?;
    match request.name() {
        "start" => _ = handle.start(fault_run(request)?).map_err(not_started)?,
        "heartbeat" => {
            let run = integer(request, "run", RUN)?.ok_or_else(|| missing("run", RUN))?;
            if !handle.heartbeat(RunId(run)) {
                return Err(ConfigError::new("run", run.to_string(), RUN).into());
            }
        }
        _ => _ = handle.stop(request.who(), request.reason())?,
    }
    Ok(Reach::Instance)
}

fn fault_run(request: &OperationRequest) -> Result<FaultRun, ConfigError> {
    let fault = fault(request)?;
    let mut run = FaultRun::new(fault, request.number("share", SHARE)?, request.who(), request.reason());
    if let Some(time) = request.time() {
        run = run.until(time);
    }
    if let Some(seed) = integer(request, "seed", SEED)? {
        run = run.seed(seed);
    }
    if let Some(method) = parsed::<Method>(request, "method", METHOD)? {
        run = run.method(method);
    }
    if let Some(prefix) = text(request, "path_prefix", PATH_PREFIX)? {
        run = run.path_prefix(prefix);
    }
    if let Some(field) = text(request, "header", HEADER)? {
        let (name, value) = header("header", field, HEADER)?;
        run = run.header(name, value);
    }
    if let Some(name) = parsed::<HeaderName>(request, "by_principal", BY_PRINCIPAL)? {
        run = run.by_principal(name);
    }
    Ok(run)
}

/// The fault, which takes no arguments of other faults.
fn fault(request: &OperationRequest) -> Result<Fault, ConfigError> {
    let word = request.text("fault", FAULT)?;
    let kind = FaultKind::ALL.iter().find(|kind| kind.as_str() == word);
    let kind = *kind.ok_or_else(|| ConfigError::new("fault", log_text(word), FAULT))?;
    for (argument, allowed, of) in [
        ("status", STATUS, FaultKind::Status),
        ("headers", HEADERS, FaultKind::Status),
        ("body", BODY, FaultKind::Status),
        ("delay_ms", DELAY, FaultKind::Delay),
        ("max_delay_ms", MAX_DELAY, FaultKind::Delay),
        ("after", AFTER, FaultKind::TruncatedBody),
    ] {
        if of != kind && request.argument(argument).is_some() {
            return Err(ConfigError::new(argument, format!("set for the fault {kind}"), allowed));
        }
    }
    Ok(match kind {
        FaultKind::Error => Fault::Error,
        FaultKind::Status => status(request)?.into(),
        FaultKind::Delay => {
            let least = integer(request, "delay_ms", DELAY)?.ok_or_else(|| missing("delay_ms", DELAY))?;
            let most = integer(request, "max_delay_ms", MAX_DELAY)?.unwrap_or(least);
            Fault::Delay(Duration::from_millis(least)..=Duration::from_millis(most))
        }
        FaultKind::Hang => Fault::Hang,
        FaultKind::Reset => Fault::Reset,
        FaultKind::TruncatedBody => {
            Fault::truncated_body(integer(request, "after", AFTER)?.ok_or_else(|| missing("after", AFTER))?)
        }
        FaultKind::Panic => Fault::Panic,
    })
}

fn status(request: &OperationRequest) -> Result<StatusFault, ConfigError> {
    let number = integer(request, "status", STATUS)?.ok_or_else(|| missing("status", STATUS))?;
    let status = u16::try_from(number).ok().and_then(|number| StatusCode::from_u16(number).ok());
    let status = status.ok_or_else(|| ConfigError::new("status", number.to_string(), STATUS))?;
    let mut fault = StatusFault::new(status);
    match request.argument("headers") {
        None => {}
        Some(Value::List(fields)) => {
            for field in fields {
                let Value::Text(field) = field else { return Err(wrong("headers", field, HEADERS)) };
                let (name, value) = header("headers", field, HEADERS)?;
                fault = fault.header(name, value);
            }
        }
        Some(other) => return Err(wrong("headers", other, HEADERS)),
    }
    Ok(match text(request, "body", BODY)? {
        Some(body) => fault.body(body.to_owned()),
        None => fault,
    })
}

fn header(
    argument: &'static str,
    field: &str,
    allowed: &'static str,
) -> Result<(HeaderName, HeaderValue), ConfigError> {
    let parse = || {
        let (name, value) = field.split_once(':')?;
        Some((name.trim().parse().ok()?, value.trim().parse().ok()?))
    };
    parse().ok_or_else(|| ConfigError::new(argument, log_text(field), allowed))
}

fn text<'a>(
    request: &'a OperationRequest,
    argument: &'static str,
    allowed: &'static str,
) -> Result<Option<&'a str>, ConfigError> {
    request.argument(argument).map(|_| request.text(argument, allowed)).transpose()
}

fn parsed<T: FromStr>(
    request: &OperationRequest,
    argument: &'static str,
    allowed: &'static str,
) -> Result<Option<T>, ConfigError> {
    let Some(text) = text(request, argument, allowed)? else { return Ok(None) };
    text.parse().map(Some).map_err(|_| ConfigError::new(argument, log_text(text), allowed))
}

/// Not by way of a float, which would round a seed.
fn integer(
    request: &OperationRequest,
    argument: &'static str,
    allowed: &'static str,
) -> Result<Option<u64>, ConfigError> {
    match request.argument(argument) {
        None => Ok(None),
        Some(Value::Integer(number)) => Ok(Some(*number)),
        Some(other) => Err(wrong(argument, other, allowed)),
    }
}

fn missing(argument: &'static str, allowed: &'static str) -> ConfigError {
    ConfigError::new(argument, "missing", allowed)
}

fn wrong(argument: &'static str, value: &Value, allowed: &'static str) -> ConfigError {
    ConfigError::new(argument, log_text(&format!("{value:?}")), allowed)
}

/// Why a run wasn't started, as what is not allowed in the present state.
fn not_started(refusal: Refusal) -> ConfigError {
    let text = refusal.to_string();
    match refusal {
        Refusal::Invalid(error) => error,
        Refusal::NotArmed => ConfigError::new("armed", "false", "true, which only the build can set"),
        Refusal::Running(run) => ConfigError::new("run", run.to_string(), "none that runs: stop it first"),
        Refusal::Level(level) => ConfigError::new("level", level.as_str(), "healthy"),
        Refusal::Draining => ConfigError::new("draining", "true", "false"),
        Refusal::Condition(name) => ConfigError::new("condition", name, "none that is met"),
        Refusal::PanicAborts => ConfigError::new("fault", "panic", "any other: a panic would end the process"),
        Refusal::Panicked => ConfigError::new("conditions", text, "closures that don't panic"),
    }
}
