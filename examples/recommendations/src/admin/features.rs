//! `/features`: shows the features, and sets and removes operators' flags.

use std::time::Duration;

use axum::Json as JsonResponse;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use backstop::features::{FeatureStatus, Flag, SetError};
use backstop::{FeatureState, FeaturesHandle, FlagChange};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::body::{Json, wrong_field};
use crate::problem::Problem;
use crate::upstream::WrongField;

#[derive(Serialize)]
pub(super) struct List {
    features: Vec<Entry>,
}

#[derive(Serialize)]
pub(super) struct Entry {
    name: String,
    tier: &'static str,
    state: &'static str,
    cause: &'static str,
    /// The operator's decision, which overrides all else; `null` if there is none.
    flag: Option<Decision>,
}

#[derive(Serialize)]
struct Decision {
    who: String,
    reason: String,
    /// `null` if it lasts until it is removed.
    remaining_ms: Option<u64>,
}

impl From<FeatureStatus> for Entry {
    fn from(feature: FeatureStatus) -> Self {
        Self {
            name: feature.name.to_string(),
            tier: feature.tier.as_str(),
            state: feature.state.as_str(),
            cause: feature.cause.as_str(),
            flag: feature.flag.as_ref().map(Decision::from),
        }
    }
}

impl From<&Flag> for Decision {
    fn from(flag: &Flag) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            who: flag.who().to_owned(),
            reason: flag.reason().to_owned(),
            remaining_ms: flag.remaining().map(millis),
        }
    }
}

pub(super) async fn list(State(features): State<FeaturesHandle>) -> JsonResponse<List> {
    JsonResponse(List { features: features.list().into_iter().map(Entry::from).collect() })
}

pub(super) async fn set(
    State(features): State<FeaturesHandle>,
    name: Result<Path<String>, PathRejection>,
    Json(body): Json,
) -> Result<JsonResponse<Entry>, Problem> {
    let unknown = || {
        let known = features.list().iter().map(|feature| feature.name.to_string()).collect::<Vec<_>>().join(", ");
        Problem::new(StatusCode::NOT_FOUND, format!("unknown feature; known features: {known}"))
    };
    let name = name.ok().map(|Path(name)| name).filter(|name| features.get(name).is_some()).ok_or_else(unknown)?;
    let Body { state, who, reason, until } = Body::from_json(&body)?;
    let done = match state {
        Some(state) => {
            let change = FlagChange::to(state, who, reason);
            let change = if let Some(until) = until { change.until(until) } else { change };
            features.set(&name, change).await
        }
        None => features.remove(&name, who, reason).await,
    };
    done.map_err(|error| match error {
        SetError::Invalid(error) => wrong_field(&error.field, body.get(&*error.field).cloned(), &error.allowed),
        other => Problem::new(StatusCode::SERVICE_UNAVAILABLE, other.to_string()),
    })?;
    features.get(&name).map(|feature| JsonResponse(Entry::from(feature))).ok_or_else(unknown)
}

/// The body of `PUT /features/{name}`. The handle checks the ranges of its values.
struct Body {
    /// `None` removes the flag.
    state: Option<FeatureState>,
    who: String,
    reason: String,
    until: Option<Duration>,
}

const FIELDS: [&str; 4] = ["state", "who", "reason", "until"];

impl Body {
    fn from_json(body: &Value) -> Result<Self, WrongField> {
        let Some(fields) = body.as_object() else {
            let example = "an object such as {\"state\":\"disabled\",\"who\":\"ada\",\"reason\":\"too slow\"}";
            return Err(WrongField::new("body", Some(body), example));
        };
        if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            return Err(WrongField::new(unknown, fields.get(unknown), "only the fields state, who, reason and until"));
        }
        let state = match fields.get("state").and_then(Value::as_str) {
            Some("enabled") => Some(FeatureState::Enabled),
            Some("degraded") => Some(FeatureState::Degraded),
            Some("disabled") => Some(FeatureState::Disabled),
            Some("auto") => None,
            _ => {
                return Err(WrongField::new("state", fields.get("state"), "one of enabled, degraded, disabled, auto"));
            }
        };
        let text = |name: &str| {
            let given = fields.get(name);
            let text = given.and_then(Value::as_str).map(str::to_owned);
            text.ok_or_else(|| WrongField::new(name, given, "text of one line"))
        };
        let until = match fields.get("until") {
            None => None,
            given if state.is_none() => return Err(WrongField::new("until", given, "nothing: `auto` has no end")),
            Some(given) => {
                let seconds = given.as_u64().map(Duration::from_secs);
                Some(seconds.ok_or_else(|| WrongField::new("until", Some(given), "a whole number of seconds"))?)
            }
        };
        Ok(Self { state, who: text("who")?, reason: text("reason")?, until })
    }
}
