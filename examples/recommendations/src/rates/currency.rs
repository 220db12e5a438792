//! The currencies that the shop takes.

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use http::StatusCode;
use http::request::Parts;

use super::Rate;
use crate::problem::Problem;

/// The day of the table.
const AS_OF: &str = "2026-01-02";

/// How much one euro was on that day.
const BUILT_IN: [(&str, f64); 8] = [
    ("AUD", 1.76),
    ("CAD", 1.61),
    ("CHF", 0.93),
    ("GBP", 0.87),
    ("JPY", 184.0),
    ("PLN", 4.22),
    ("SEK", 10.8),
    ("USD", 1.17),
];

/// A currency that the shop takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(
    /// Its row in the table.
    usize,
);

impl Currency {
    /// The currency of this code, in capital letters; `None` if the shop doesn't take it.
    #[must_use]
    pub fn new(code: &str) -> Option<Self> {
        BUILT_IN.iter().position(|(known, _)| *known == code).map(Self)
    }

    /// Its code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        BUILT_IN[self.0].0
    }

    /// Its rate in the table.
    pub(super) fn built_in(self) -> Rate {
        Rate { rate: BUILT_IN[self.0].1, as_of: Some(AS_OF.to_owned()) }
    }
}

/// Takes the code from the path. Another one is refused before anything is called.
impl<S: Send + Sync> FromRequestParts<S> for Currency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let given: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        let given = given.map(|Path(given)| given).unwrap_or_default();
        Self::new(&given).ok_or_else(|| {
            let known = BUILT_IN.map(|(code, _)| code).join(" ");
            Problem::new(StatusCode::NOT_FOUND, format!("no such currency; there are {known}"))
                .with("field", "currency")
                .with("allowed", known)
        })
    }
}
