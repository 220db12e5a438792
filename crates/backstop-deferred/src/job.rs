//! What a worker gets.

use std::{error::Error, fmt};

use backstop_core::Name;
use serde::{Serialize, de::DeserializeOwned};

use crate::JobId;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// A type of jobs.
///
/// ```
/// use backstop_deferred::{JobKind, Name, name};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Deserialize, Serialize)]
/// struct Email {
///     to: String,
/// }
///
/// impl JobKind for Email {
///     const KIND: Name = name!("email");
/// }
/// ```
///
/// A name that isn't [allowed](Name) doesn't compile:
///
/// ```compile_fail
/// # use backstop_deferred::{JobKind, Name, name};
/// # #[derive(serde::Deserialize, serde::Serialize)]
/// # struct Email;
/// impl JobKind for Email {
///     const KIND: Name = name!("an e-mail");
/// }
/// ```
pub trait JobKind: Serialize + DeserializeOwned + Send + 'static {
    /// The name of the kind, which never changes.
    const KIND: Name;

    /// The version of its payload, which is written with it. Raise it when an older worker can't read a new payload, or would read
    /// it wrongly: a worker leaves newer versions than its own alone, for 30 s each time and uncounted.
    const VERSION: u32 = 1;

    /// Reads the payload, JSON, of a job of this version, which is [`VERSION`](Self::VERSION) or older. By default as of the latest
    /// version, which will do where fields were only added, with `#[serde(default)]`.
    ///
    /// ```
    /// # use std::error::Error;
    /// # use backstop_deferred::{JobKind, Name, name};
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Deserialize, Serialize)]
    /// struct Email {
    ///     to: Vec<String>,
    /// }
    ///
    /// /// Version 1.
    /// #[derive(Deserialize)]
    /// struct OldEmail {
    ///     to: String,
    /// }
    ///
    /// impl JobKind for Email {
    ///     const KIND: Name = name!("email");
    ///     const VERSION: u32 = 2;
    ///
    ///     fn from_payload(version: u32, json: &[u8]) -> Result<Self, Box<dyn Error + Send + Sync>> {
    ///         if version == 1 {
    ///             let OldEmail { to } = serde_json::from_slice(json)?;
    ///             return Ok(Self { to: vec![to] });
    ///         }
    ///         Ok(serde_json::from_slice(json)?)
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// If it can't be read. The job goes to the dead letters as [malformed](crate::Failure::Malformed). The error isn't logged.
    fn from_payload(_version: u32, json: &[u8]) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(serde_json::from_slice(json)?)
    }
}

/// One attempt at a job.
#[derive(Clone)]
pub struct Job<T> {
    pub(crate) id: JobId,
    pub(crate) attempt: u32,
    pub(crate) payload: T,
}

impl<T> Job<T> {
    /// The job's id.
    #[must_use]
    pub const fn id(&self) -> JobId {
        self.id
    }

    /// The idempotency key of the job's calls: the same in every attempt. **Pass it on to the dependency.**
    ///
    /// A job may run again after it has succeeded: its worker may stop before that is recorded. Only the dependency can tell that
    /// it has done the work already.
    ///
    /// It is the job's id, which the status route takes as proof that the caller may see the job, and which is logged.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        self.id.to_string()
    }

    /// The number of this attempt, from 1. Attempts that were refused or stopped, or that an injected fault has hit, don't count.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// What is to be done.
    #[must_use]
    pub const fn payload(&self) -> &T {
        &self.payload
    }

    /// The same, owned.
    #[must_use]
    pub fn into_payload(self) -> T {
        self.payload
    }
}

/// Without the payload.
impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("id", &self.id).field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

/// An error that another attempt doesn't mend. The job goes to the dead letters at once.
///
/// It is found as the error of the worker's service, or as one of its causes.
#[derive(Debug)]
pub struct Permanent(Box<dyn Error + Send + Sync>);

impl Permanent {
    /// Marks an error.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for Permanent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Permanent {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
