//! User ids.

use std::fmt;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use http::StatusCode;
use http::request::Parts;

use crate::problem::Problem;

const RULE: &str = "a user_id is 1 to 64 characters of A-Z a-z 0-9 _ -";

/// A user's id: 1 to 64 characters of `[A-Za-z0-9_-]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserId(String);

impl UserId {
    /// Parses an id; `None` if the text isn't one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let is_id = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
        is_id.then(|| Self(text.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Takes the id from the path. An invalid id is refused before anything is called or counted.
impl<S: Send + Sync> FromRequestParts<S> for UserId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // A path that isn't UTF-8 contains no valid id.
        let given: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        let given = given.map(|Path(given)| given).unwrap_or_default();
        Self::new(&given).ok_or_else(no_user_id)
    }
}

/// The answer to a path without a valid id.
pub(crate) fn no_user_id() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, RULE).with("field", "user_id").with("allowed", RULE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_1_to_64_of_the_allowed_characters() {
        for good in ["a", "user-1", "A_b-9", &"x".repeat(64)] {
            assert_eq!(UserId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", " ", "a b", "a/b", "é", "a\0", "a.b", &"x".repeat(65)] {
            assert_eq!(UserId::new(bad), None, "{bad:?}");
        }
    }
}
