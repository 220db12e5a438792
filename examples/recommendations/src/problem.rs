//! Errors as `application/problem+json` (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

/// An error for the caller: a status, a detail for people, and members for programs.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Problem {
    status: StatusCode,
    detail: String,
    members: Map<String, Value>,
}

impl Problem {
    /// A problem of this status; `detail` is for people.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), members: Map::new() }
    }

    /// Adds an extension member (RFC 9457 §3.2).
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }
}

/// The JSON document. It has no `type`: the default, `about:blank`, means that the status is the whole meaning.
#[derive(Serialize)]
struct Wire<'a> {
    title: Option<&'static str>,
    status: u16,
    detail: &'a str,
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let wire = Wire {
            title: self.status.canonical_reason(),
            status: self.status.as_u16(),
            detail: &self.detail,
            members: &self.members,
        };
        // Strings and numbers always serialise. The status would be right even if they didn't.
        let body = serde_json::to_vec(&wire).unwrap_or_default();
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("application/problem+json")),
            // Caches may store a 404 or 405 by default (RFC 9110 §15.1).
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (self.status, headers, body).into_response()
    }
}

/// The handler for paths that don't exist.
pub(crate) async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no such path")
}

/// The handler for unsupported methods. The router adds `Allow`.
pub(crate) async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path doesn't support the method; see `Allow` for those it does")
}
