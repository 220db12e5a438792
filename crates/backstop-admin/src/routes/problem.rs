//! Errors as problem documents ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).

use axum::response::{IntoResponse, Response};
use backstop_core::ConfigError;
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;
use serde_json::{Map, Value as Json};

/// How much of a wrong value is shown, in characters.
const SHOWN: usize = 100;

/// An answer that says what is wrong: `detail` for people, further members for programs.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    members: Map<String, Json>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), members: Map::new() }
    }

    /// A 422 for a field of the body. `None` means that it is missing.
    pub(crate) fn field(field: &str, value: Option<&Json>, allowed: &str) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let field: String = field.chars().take(SHOWN).collect();
        let problem = if let Some(value) = value {
            let text: String = value.to_string().chars().take(SHOWN).collect();
            // What is too long to be shown whole is shown as the beginning of its text.
            let value = if text.chars().count() < SHOWN { value.clone() } else { text.as_str().into() };
            Self::new(status, format!("`{field}` is {text}; allowed: {allowed}")).with("value", value)
        } else {
            Self::new(status, format!("`{field}` is missing; allowed: {allowed}"))
        };
        problem.with("field", field).with("allowed", allowed)
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    fn with(mut self, name: &'static str, value: impl Into<Json>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }
}

/// What a layer refuses.
impl From<&ConfigError> for Problem {
    fn from(error: &ConfigError) -> Self {
        Self::field(&error.field, Some(&error.value.as_str().into()), &error.allowed)
    }
}

#[derive(Serialize)]
struct Document<'a> {
    title: Option<&'static str>,
    status: u16,
    detail: &'a str,
    #[serde(flatten)]
    members: &'a Map<String, Json>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, detail, members } = &self;
        let document = Document { title: status.canonical_reason(), status: status.as_u16(), detail, members };
        // Can't fail: there are only texts and JSON.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = (*status, [(CONTENT_TYPE, "application/problem+json")], body).into_response();
        if *status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if *status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
        }
        response
    }
}
