//! Why a response isn't the requested one, as a token.

use std::{fmt, str};

use http::StatusCode;

use crate::grpc::GrpcCode;

/// Why a provider didn't answer, or why a layer rejected a call: a lower-case token that fits headers, logs and metrics.
///
/// The set is open. The constants are the words that Backstop's own layers use; define your own as constants, too. A
/// constant is a pattern:
///
/// ```
/// use backstop_core::Reason;
///
/// const QUOTA_EXCEEDED: Reason = Reason::new("quota-exceeded");
///
/// fn is_our_own(reason: Reason) -> bool {
///     matches!(reason, QUOTA_EXCEEDED | Reason::BULKHEAD_FULL)
/// }
/// assert!(is_our_own(QUOTA_EXCEEDED) && !is_our_own(Reason::TIMEOUT));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason(&'static str);

impl Reason {
    /// A circuit breaker refused the call.
    pub const CIRCUIT_OPEN: Self = Self::new("circuit-open");
    /// A circuit breaker is recovering, and admits only a share of the calls.
    pub const RECOVERING: Self = Self::new("recovering");
    /// A bulkhead, or a provider's own bound, refused the call.
    pub const BULKHEAD_FULL: Self = Self::new("bulkhead-full");
    /// A time limit or a deadline passed.
    pub const TIMEOUT: Self = Self::new("timeout");
    /// It failed with an error that no other reason describes.
    pub const ERROR: Self = Self::new("error");
    /// The response head was good, but the body failed or was too long.
    pub const BODY: Self = Self::new("body");
    /// An operator forced another provider to be tried first.
    pub const FORCED: Self = Self::new("forced");
    /// It is a chain, and none of its own providers had an answer.
    pub const ALL_PROVIDERS_FAILED: Self = Self::new("all-providers-failed");
    /// It wasn't asked, because it doesn't accept requests that may already have been processed, or doesn't handle this kind of failure.
    pub const NOT_ELIGIBLE: Self = Self::new("not-eligible");
    /// The request could not be sent again.
    pub const NOT_REPLAYABLE: Self = Self::new("not-replayable");
    /// The request's own body failed or came too slowly.
    pub const REQUEST_BODY: Self = Self::new("request-body");
    /// It is called in the background, while a stored copy answers.
    pub const REVALIDATING: Self = Self::new("revalidating");

    /// The longest token, in bytes.
    const LONGEST: usize = 64;

    /// A reason of your own: 1 to 64 lower-case letters, digits and hyphens, beginning with a letter.
    ///
    /// # Panics
    /// If `token` is anything else. In a constant this is a compile error.
    #[must_use]
    pub const fn new(token: &'static str) -> Self {
        let bytes = token.as_bytes();
        assert!(
            !bytes.is_empty() && bytes.len() <= Self::LONGEST && bytes[0].is_ascii_lowercase(),
            "a reason is 1 to 64 lower-case letters, digits and hyphens, and begins with a letter"
        );
        let mut i = 1;
        while i < bytes.len() {
            assert!(
                bytes[i].is_ascii_lowercase() || bytes[i].is_ascii_digit() || bytes[i] == b'-',
                "a reason is 1 to 64 lower-case letters, digits and hyphens, and begins with a letter"
            );
            i += 1;
        }
        Self(token)
    }

    /// `status-503`: it answered with an HTTP status that isn't an answer here.
    #[must_use]
    pub fn status(status: StatusCode) -> Self {
        // A status has three digits.
        str::from_utf8(&STATUSES[usize::from(status.as_u16() % 1000)]).map_or(Self::ERROR, Self)
    }

    /// `grpc-14`: it answered with a gRPC status that isn't an answer here.
    #[must_use]
    pub const fn grpc(code: GrpcCode) -> Self {
        Self(GRPC_CODES[code.number() as usize])
    }

    /// The token.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

/// By status.
static STATUSES: [[u8; 10]; 1000] = {
    let mut table = [*b"status-000"; 1000];
    let mut status = 0;
    while status < table.len() {
        table[status][7] += (status / 100) as u8;
        table[status][8] += (status / 10 % 10) as u8;
        table[status][9] += (status % 10) as u8;
        status += 1;
    }
    table
};

/// By the number of a code.
const GRPC_CODES: [&str; 17] = [
    "grpc-0", "grpc-1", "grpc-2", "grpc-3", "grpc-4", "grpc-5", "grpc-6", "grpc-7", "grpc-8", "grpc-9", "grpc-10",
    "grpc-11", "grpc-12", "grpc-13", "grpc-14", "grpc-15", "grpc-16",
];

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reason({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_full() {
        for number in 100..1000 {
            let status = StatusCode::from_u16(number).unwrap();
            assert_eq!(Reason::status(status).as_str(), format!("status-{number}"));
        }
        for number in 0..17 {
            let code = GrpcCode::from_number(number);
            assert_eq!(Reason::grpc(code).as_str(), format!("grpc-{number}"));
        }
    }

    #[test]
    fn every_reason_is_a_token() {
        for text in ["", "Timeout", "a b", "-a", "9a", "a_b", &"a".repeat(65)] {
            let text: &'static str = String::from(text).leak();
            assert!(std::panic::catch_unwind(|| Reason::new(text)).is_err(), "{text}");
        }
        assert_eq!(Reason::new("a").as_str(), "a");
    }
}
