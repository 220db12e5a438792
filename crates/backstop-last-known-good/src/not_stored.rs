//! Why no stored answer is served.

use std::{error::Error, fmt};

/// Why no stored answer is served. Contains nothing of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotStored {
    /// No answer is stored for the request.
    Missing,
    /// The stored answer is too old.
    TooStale,
    /// Answers to this method aren't stored. Only answers to GET are, and they also serve HEAD.
    Method,
    /// The store failed, took too long, or returned malformed bytes.
    StoreFailed,
}

impl fmt::Display for NotStored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no answer is stored for this request",
            Self::TooStale => "the stored answer is too old",
            Self::Method => "answers to requests of this method aren't stored",
            Self::StoreFailed => "the store failed",
        })
    }
}

impl Error for NotStored {}
