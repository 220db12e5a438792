//! What an operator's inventory shows of a queue.

use backstop_core::{
    ConfigError, EventLog, Inspect, Name, Operation, OperationError, OperationFuture, OperationRequest, Reach, Value,
};
use backstop_kit::{check_request, log_text};

use crate::{
    DeadLetter, DeferredConfig, DeferredHandle, Failure, StoreError, counted::Halt, dead_letters::Action, telemetry,
};

const ID: &str = "the id of a dead letter";
const LIMIT: &str = "1 to 10000 jobs";
const ONE: &[(&str, &str)] = &[("id", ID)];
const MANY: &[(&str, &str)] =
    &[("limit", LIMIT), ("kind", "optional: a kind of jobs"), ("failure", "optional: why they failed")];
const OPERATIONS: &[Operation] = &[
    Operation::once("replay").arguments(ONE),
    Operation::once("discard").arguments(ONE),
    Operation::once("replay-many").arguments(MANY),
    Operation::once("discard-many").arguments(MANY),
];

pub(crate) const KIND: &str = "deferred";

impl Inspect for DeferredHandle {
    fn name(&self) -> &Name {
        self.name()
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        let DeferredConfig {
            name: _,
            max_pending,
            max_payload,
            store_timeout,
            expires_after,
            keep_done,
            max_done,
            max_attempts,
            first_wait,
            max_wait,
            max_concurrent,
            grace,
            max_dead_letters,
            max_dead_letter_bytes,
            keep_dead_letters,
        } = self.config();
        vec![
            ("max_pending", max_pending.into()),
            ("max_payload", max_payload.into()),
            ("store_timeout", store_timeout.into()),
            ("expires_after", expires_after.into()),
            ("keep_done", keep_done.into()),
            ("max_done", max_done.into()),
            ("max_attempts", max_attempts.into()),
            ("first_wait", first_wait.into()),
            ("max_wait", max_wait.into()),
            ("max_concurrent", max_concurrent.into()),
            ("grace", grace.into()),
            ("max_dead_letters", max_dead_letters.into()),
            ("max_dead_letter_bytes", max_dead_letter_bytes.into()),
            ("keep_dead_letters", keep_dead_letters.into()),
        ]
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        let halt = self.queue().halt();
        let counted = self.queue().counted();
        vec![
            ("queued", counted.queued.records.into()),
            ("running", counted.running.records.into()),
            ("dead", counted.dead.records.into()),
            ("dead_bytes", counted.dead.bytes.into()),
            ("dead_letters", Value::List(counted.letters.iter().map(shown).collect())),
            ("done", counted.done.records.into()),
            ("oldest", counted.oldest.into()),
            ("halted", halt.map(Halt::as_str).into()),
        ]
    }

    fn operations(&self) -> &'static [Operation] {
        OPERATIONS
    }

    fn operate<'a>(&'a self, request: &'a OperationRequest) -> OperationFuture<'a> {
        Box::pin(run(self, request))
    }

    fn report_to(&self, log: &EventLog) {
        _ = self.queue().log.set(log.clone());
    }
}

fn shown(letter: &DeadLetter) -> Value {
    let DeadLetter { id, kind, version, attempts, failure, accepted, kept_until } = letter;
    Value::Map(vec![
        ("id", id.to_string().into()),
        ("kind", kind.clone().into()),
        ("version", (*version).into()),
        ("attempts", (*attempts).into()),
        ("failure", failure.as_str().into()),
        ("accepted_unix_ms", (*accepted).into()),
        ("kept_until_unix_ms", (*kept_until).into()),
    ])
}

async fn run(handle: &DeferredHandle, request: &OperationRequest) -> Result<Reach, OperationError> {
    check_request(request, OPERATIONS)?;
    let (action, is_many) = match request.name() {
        "replay" => (Action::Replay, false),
        "discard" => (Action::Discard, false),
        "replay-many" => (Action::Replay, true),
        _ => (Action::Discard, true),
    };
    let queue = handle.queue();
    let jobs = if is_many {
        let (limit, which) = many(request)?;
        queue.act_on_many(action, limit, which).await.map_err(|error| unavailable(&error))?
    } else {
        let text = request.text("id", ID)?;
        let missing = || ConfigError::new("id", text.to_owned(), ID);
        let id = text.parse().map_err(|_| missing())?;
        if !queue.act_on(id, action).await.map_err(|error| unavailable(&error))? {
            return Err(missing().into());
        }
        1
    };
    let (who, reason) = (log_text(request.who()), log_text(request.reason()));
    telemetry::operated(handle.name(), request.name(), &who, &reason, jobs);
    if let Some(log) = queue.log.get() {
        let name = request.name().to_owned();
        let fields =
            vec![("operation", name.into()), ("who", who.into()), ("reason", reason.into()), ("jobs", jobs.into())];
        log.push(handle.name().clone(), KIND, fields);
    }
    Ok(Reach::Fleet)
}

/// How many are meant at most, and which.
fn many(request: &OperationRequest) -> Result<(usize, impl Fn(&DeadLetter) -> bool), OperationError> {
    let limit = match request.argument("limit") {
        Some(Value::Integer(limit @ 1..=10_000)) => *limit as usize,
        other => {
            let value = other.map_or_else(|| "missing".to_owned(), |value| format!("{value:?}"));
            return Err(ConfigError::new("limit", value, LIMIT).into());
        }
    };
    let text = |name, allowed| request.argument(name).map(|_| request.text(name, allowed)).transpose();
    let kind = text("kind", "a kind of jobs")?.map(str::to_owned);
    let failure = match text("failure", FAILURES)? {
        None => None,
        Some(text) => {
            let failure = Failure::ALL.into_iter().find(|failure| failure.as_str() == text);
            Some(failure.ok_or_else(|| ConfigError::new("failure", text.to_owned(), FAILURES))?)
        }
    };
    Ok((limit, move |letter: &DeadLetter| {
        kind.as_ref().is_none_or(|kind| *kind == letter.kind) && failure.is_none_or(|failure| failure == letter.failure)
    }))
}

const FAILURES: &str = "permanent, attempts, crashes, expired or malformed";

fn unavailable(error: &StoreError) -> OperationError {
    OperationError::Unavailable(log_text(&error.to_string()))
}
