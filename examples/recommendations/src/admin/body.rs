//! JSON bodies, and errors that say what is wrong with them.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::StatusCode;
use serde_json::Value;

use crate::problem::Problem;
use crate::upstream::WrongField;

/// A JSON body. The guard checks the content type.
pub(super) struct Json(pub(super) Value);

impl<S: Send + Sync> FromRequest<S> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body isn't valid JSON: {error}")))
    }
}

impl From<WrongField> for Problem {
    fn from(WrongField { field, value, allowed }: WrongField) -> Self {
        wrong_field(&field, value, allowed)
    }
}

/// A problem that names the field, its value if there is one, and what is allowed.
pub(super) fn wrong_field(field: &str, value: Option<Value>, allowed: &str) -> Problem {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    match value {
        Some(value) => {
            let shown: String = value.to_string().chars().take(100).collect();
            Problem::new(status, format!("`{field}` is {shown}; allowed: {allowed}")).with("value", value)
        }
        None => Problem::new(status, format!("`{field}` is missing; allowed: {allowed}")),
    }
    .with("field", field)
    .with("allowed", allowed)
}
