//! The faults of an upstream.

use std::time::Duration;

use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};

const LONGEST_LATENCY: u64 = 60_000;

/// The kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FaultKind {
    /// No fault.
    None,
    /// Answers with an error status.
    Status,
    /// Answers late.
    Latency,
    /// Accepts the request and never answers.
    Hang,
    /// Does its work after the latency, also when the caller has gone or the fault has been cleared.
    Late,
    /// Does its work, and resets the connection instead of an answer.
    Reset,
    /// Doesn't listen, and closes open connections.
    Refuse,
    /// Breaks off in the middle of the body.
    Truncate,
}

impl FaultKind {
    const NAMES: [(&'static str, Self); 8] = [
        ("none", Self::None),
        ("status", Self::Status),
        ("latency", Self::Latency),
        ("hang", Self::Hang),
        ("late", Self::Late),
        ("reset", Self::Reset),
        ("refuse", Self::Refuse),
        ("truncate", Self::Truncate),
    ];

    /// Its name in requests, answers and the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.into_iter().find_map(|(name, kind)| (kind == self).then_some(name)).unwrap_or_default()
    }

    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::NAMES.into_iter().map(|(_, kind)| kind)
    }
}

/// A fault, as `PUT /chaos/{upstream}` sets it and `GET /chaos` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fault {
    /// The kind.
    #[serde(rename = "fault")]
    pub kind: FaultKind,
    /// The share of requests that meet the fault. For [`FaultKind::Refuse`], the share of the time.
    pub rate: f64,
    /// The status of the answer, for [`FaultKind::Status`].
    #[serde(serialize_with = "as_number")]
    pub status: StatusCode,
    /// The delay, for [`FaultKind::Latency`] and [`FaultKind::Late`].
    #[serde(rename = "latency_ms", serialize_with = "as_millis")]
    pub latency: Duration,
}

impl Fault {
    /// A fault that every request meets, with status 503 and a latency of 300 ms where they apply.
    #[must_use]
    pub fn new(kind: FaultKind) -> Self {
        Self { kind, rate: 1.0, status: StatusCode::SERVICE_UNAVAILABLE, latency: Duration::from_millis(300) }
    }

    /// Decides by the rate whether a request, or for `refuse` a moment, meets the fault.
    pub(super) fn strikes(&self) -> bool {
        // `f64()` is below 1: a rate of 1 always strikes, and 0 never does.
        self.kind != FaultKind::None && fastrand::f64() < self.rate
    }

    /// Parses the body of `PUT /chaos/{upstream}`.
    ///
    /// # Errors
    ///
    /// The first invalid field.
    pub fn from_json(body: &Value) -> Result<Self, WrongField> {
        let Some(fields) = body.as_object() else {
            return Err(WrongField::new("body", Some(body), "an object such as {\"fault\":\"status\"}"));
        };
        if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            return Err(WrongField::new(
                unknown,
                fields.get(unknown),
                "only the fields fault, rate, status and latency_ms",
            ));
        }
        let default = Self::new(kind(fields)?);
        Ok(Self {
            rate: rate(fields, default.rate)?,
            status: status(fields, default.status)?,
            latency: latency(fields, default.latency)?,
            ..default
        })
    }
}

impl Default for Fault {
    fn default() -> Self {
        Self::new(FaultKind::None)
    }
}

const FIELDS: [&str; 4] = ["fault", "rate", "status", "latency_ms"];

fn kind(fields: &Map<String, Value>) -> Result<FaultKind, WrongField> {
    let given = fields.get("fault");
    let name = given.and_then(Value::as_str);
    FaultKind::NAMES.iter().find_map(|(known, kind)| (name == Some(known)).then_some(*kind)).ok_or_else(|| {
        WrongField::new("fault", given, "one of none, status, latency, hang, late, reset, refuse, truncate")
    })
}

fn rate(fields: &Map<String, Value>, default: f64) -> Result<f64, WrongField> {
    let Some(given) = fields.get("rate") else { return Ok(default) };
    given
        .as_f64()
        .filter(|rate| (0.0..=1.0).contains(rate))
        .ok_or_else(|| WrongField::new("rate", Some(given), "a number from 0 to 1"))
}

fn status(fields: &Map<String, Value>, default: StatusCode) -> Result<StatusCode, WrongField> {
    let Some(given) = fields.get("status") else { return Ok(default) };
    given
        .as_u64()
        .and_then(|number| StatusCode::from_u16(u16::try_from(number).ok()?).ok())
        .filter(|status| status.is_client_error() || status.is_server_error())
        .ok_or_else(|| WrongField::new("status", Some(given), "an error status from 400 to 599"))
}

fn latency(fields: &Map<String, Value>, default: Duration) -> Result<Duration, WrongField> {
    let Some(given) = fields.get("latency_ms") else { return Ok(default) };
    given
        .as_u64()
        .filter(|millis| *millis <= LONGEST_LATENCY)
        .map(Duration::from_millis)
        .ok_or_else(|| WrongField::new("latency_ms", Some(given), "a whole number of milliseconds from 0 to 60000"))
}

/// An invalid field.
#[derive(Debug, Clone, PartialEq)]
pub struct WrongField {
    /// Its name.
    pub field: String,
    /// Its value; `None` if it is missing.
    pub value: Option<Value>,
    /// The allowed values.
    pub allowed: &'static str,
}

impl WrongField {
    pub(crate) fn new(field: &str, value: Option<&Value>, allowed: &'static str) -> Self {
        Self { field: field.to_owned(), value: value.cloned(), allowed }
    }
}

// `serialize_with` passes references.
fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

fn as_millis<S: serde::Serializer>(latency: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX))
}
