//! `/circuits`: shows and controls the circuits.

use std::time::Duration;

use axum::Json as JsonResponse;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use backstop::CircuitBreakerHandle;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::body::Json;
use crate::circuits::Circuits;
use crate::problem::Problem;
use crate::upstream::WrongField;

#[derive(Serialize)]
pub(super) struct List {
    circuits: Vec<Entry>,
}

#[derive(Serialize)]
pub(super) struct Entry {
    name: String,
    state: &'static str,
    counts: Counts,
    /// The time until a probe is allowed; `null` unless the circuit is open.
    remaining_wait_ms: Option<u64>,
}

#[derive(Serialize)]
struct Counts {
    calls: u32,
    failures: u32,
    probes: u32,
    probe_successes: u32,
}

impl From<&CircuitBreakerHandle> for Entry {
    fn from(circuit: &CircuitBreakerHandle) -> Self {
        let counts = circuit.counts();
        // Rounded up: at 0 a probe is allowed.
        let millis = |wait: Duration| u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
        Self {
            name: circuit.name().to_string(),
            state: circuit.status().as_str(),
            counts: Counts {
                calls: counts.calls,
                failures: counts.failures,
                probes: counts.probes,
                probe_successes: counts.probe_successes,
            },
            remaining_wait_ms: circuit.remaining_wait().map(millis),
        }
    }
}

pub(super) async fn list(State(circuits): State<Circuits>) -> JsonResponse<List> {
    JsonResponse(List { circuits: circuits.iter().map(Entry::from).collect() })
}

pub(super) async fn act(
    State(circuits): State<Circuits>,
    name: Result<Path<String>, PathRejection>,
    Json(body): Json,
) -> Result<JsonResponse<Entry>, Problem> {
    let circuit = name.ok().and_then(|Path(name)| circuits.named(&name)).ok_or_else(|| {
        let known = circuits.iter().map(|circuit| circuit.name().as_str()).collect::<Vec<_>>().join(", ");
        Problem::new(StatusCode::NOT_FOUND, format!("unknown circuit; known circuits: {known}"))
    })?;
    action(&body)?(circuit);
    Ok(JsonResponse(Entry::from(circuit)))
}

fn action(body: &Value) -> Result<fn(&CircuitBreakerHandle), WrongField> {
    let Some(fields) = body.as_object() else {
        return Err(WrongField::new("body", Some(body), "an object such as {\"do\":\"reset\"}"));
    };
    if let Some(unknown) = fields.keys().find(|name| *name != "do") {
        return Err(WrongField::new(unknown, fields.get(unknown), "only the field `do`"));
    }
    let given = fields.get("do");
    match given.and_then(Value::as_str) {
        Some("isolate") => Ok(CircuitBreakerHandle::isolate),
        Some("close") => Ok(CircuitBreakerHandle::close),
        Some("reset") => Ok(CircuitBreakerHandle::reset),
        _ => Err(WrongField::new("do", given, "one of isolate, close, reset")),
    }
}
