//! What became of a job that was to be accepted.

use std::{error::Error, fmt, time::Duration};

use backstop_core::{Name, Outcome, Reason, Rejection};
use backstop_kit::log_text;

use crate::{JobId, JobState};

/// A job was accepted: the store has confirmed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The job's id.
    pub id: JobId,
    /// Whether this call has created the job. Otherwise an earlier one with the same key and payload has.
    pub is_new: bool,
    /// What has become of the job so far.
    pub state: JobState,
}

/// Why a job wasn't accepted, or isn't known to be.
#[derive(Debug)]
#[non_exhaustive]
pub enum DeferError {
    /// No job was created by this call. Something else may be tried.
    NotAccepted(NotAccepted),
    /// Nobody knows whether the job exists: the store failed, or took too long. **Only a call with the same key is safe.** Doing
    /// the work in another way may do it twice.
    ///
    /// The error's source is a rejection that ends a fallback chain, so that no other provider is asked.
    Unknown(UnknownOutcome),
}

/// Why nobody knows whether a job exists.
#[derive(Debug)]
pub struct UnknownOutcome {
    error: String,
    // Boxed, because it is large and rare.
    rejection: Box<Rejection>,
}

impl UnknownOutcome {
    /// The job may be in the queue of this name.
    pub(crate) fn new(queue: Name, error: impl fmt::Display) -> Self {
        let rejection = Rejection::new(queue, Reason::new("job-unknown"), Outcome::failure().ending_chain());
        Self { error: log_text(&error.to_string()), rejection: Box::new(rejection) }
    }

    /// What the store said, for the log.
    #[must_use]
    pub fn error(&self) -> &str {
        &self.error
    }

    pub(crate) fn rejection(&self) -> &Rejection {
        &self.rejection
    }
}

/// Why no job was created.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotAccepted {
    /// As many jobs as allowed are pending. Try again after this time.
    Full {
        /// When it is worth another try.
        retry_after: Duration,
    },
    /// The key belongs to a job with another payload.
    KeyReused,
    /// The payload is longer than [allowed](crate::DeferredBuilder::max_payload).
    TooLong {
        /// Its length, in bytes.
        len: usize,
        /// The longest that is allowed, in bytes.
        max: usize,
    },
    /// The payload can't be written or sealed.
    Invalid(String),
    /// It was deferred in a [call whose answer nobody gets](backstop_core::scope#shadow-calls), such as a drill.
    Shadow,
}

impl fmt::Display for DeferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAccepted(NotAccepted::Full { .. }) => f.write_str("not accepted: the queue is full"),
            Self::NotAccepted(NotAccepted::KeyReused) => {
                f.write_str("not accepted: the key belongs to another payload")
            }
            Self::NotAccepted(NotAccepted::TooLong { len, max }) => {
                write!(f, "not accepted: a payload of {len} bytes; at most {max} are allowed")
            }
            Self::NotAccepted(NotAccepted::Invalid(why)) => write!(f, "not accepted: {why}"),
            Self::NotAccepted(NotAccepted::Shadow) => f.write_str("not accepted: nobody gets the answer of this call"),
            Self::Unknown(UnknownOutcome { error, .. }) => {
                write!(f, "it isn't known whether the job was accepted: {error}")
            }
        }
    }
}

impl Error for DeferError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotAccepted(_) => None,
            Self::Unknown(unknown) => Some(unknown.rejection()),
        }
    }
}
