//! The error of a page whose required part failed.

use std::{any::Any, error::Error, fmt, sync::Mutex, sync::PoisonError, time::Duration};

use backstop_core::{Name, Outcome, Reason, Rejection, RejectionDetail, Value, Verdict};

use crate::part::Miss;

/// A required part of a page failed, so there is no page.
///
/// It converts into a [`Rejection`], and [`in_rejection`](Self::part_in_rejection) finds the part there again. See [when a
/// required part fails](crate#when-a-required-part-fails).
pub struct RequiredPartFailed(Box<Failed>);

struct Failed {
    rejection: Rejection,
    part: Name,
    is_callers_fault: bool,
    error: Option<String>,
    /// What the part resolved to. Never locked: it makes this `Sync`.
    original: Mutex<Option<Box<dyn Any + Send>>>,
}

/// The rejection's detail.
#[derive(Debug)]
struct FailedPart(Name);

impl RequiredPartFailed {
    /// The failure that the page is answered with, of one part and those before it: the caller's fault, else the first one,
    /// with the greatest wait of all.
    pub(crate) fn worse(before: Option<Self>, aggregate: &Name, part: Name, miss: Miss) -> Option<Self> {
        let failed = Self::new(aggregate.clone(), part, miss);
        Some(match before {
            Some(before) if before.0.is_callers_fault || !failed.0.is_callers_fault => before.with_wait_of(&failed),
            _ => failed,
        })
    }

    fn new(aggregate: Name, part: Name, miss: Miss) -> Self {
        let is_callers_fault = miss.is_callers_fault();
        let outcome = match miss.outcome.verdict {
            _ if is_callers_fault => Outcome::callers_fault(),
            // The caller's own limit says nothing about us.
            Verdict::Neutral if miss.reason == Reason::TIMEOUT => Outcome::neutral(),
            _ => Outcome::failure(),
        };
        let (status, code) = miss.status;
        let wait = match miss.outcome.pushback {
            Some(backstop_core::Pushback::After(wait)) => Some(wait),
            _ => None,
        };
        let rejection = Rejection::new(aggregate, miss.reason, outcome)
            .with_status(status, code)
            .with_retry_after(wait)
            .with_detail(FailedPart(part.clone()));
        let original = Mutex::new(miss.original);
        Self(Box::new(Failed { rejection, part, is_callers_fault, error: miss.error, original }))
    }

    fn with_wait_of(mut self, other: &Self) -> Self {
        if !self.0.is_callers_fault {
            let wait = self.retry_after().max(other.retry_after());
            self.0.rejection = self.0.rejection.with_retry_after(wait);
        }
        self
    }

    /// The part.
    #[must_use]
    pub const fn part(&self) -> &Name {
        &self.0.part
    }

    /// Why it failed.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.0.rejection.reason()
    }

    /// Whether its result blames the caller: a 404, a 403. Then it is the page's answer: [take](Self::into_original) it.
    #[must_use]
    pub const fn is_callers_fault(&self) -> bool {
        self.0.is_callers_fault
    }

    /// The text of its error, for logs.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.0.error.as_deref()
    }

    /// How long a caller should wait, if known: the greatest wait that a required part asked for.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.0.rejection.retry_after()
    }

    /// This as a [`Rejection`].
    #[must_use]
    pub const fn rejection(&self) -> &Rejection {
        &self.0.rejection
    }

    /// The name of the part, if `rejection` is that of a page.
    #[must_use]
    pub fn part_in_rejection(rejection: &Rejection) -> Option<&Name> {
        rejection.detail::<FailedPart>().map(|FailedPart(part)| part)
    }

    /// The part's own error or response, as it was, where it is an `E`.
    ///
    /// ```
    /// use backstop_partial::{Aggregate, name, part};
    ///
    /// # #[derive(Debug, PartialEq)] enum UserError { NotFound }
    /// # impl std::fmt::Display for UserError {
    /// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("not found") }
    /// # }
    /// # impl std::error::Error for UserError {}
    /// # async fn profile() -> Result<&'static str, UserError> { Err(UserError::NotFound) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let dashboard = Aggregate::new(name!("dashboard"));
    /// let profile = part(name!("profile"), profile()).is_answer(|error| *error == UserError::NotFound).required();
    /// let failed = dashboard.gather((profile,)).await.unwrap_err();
    /// assert!(failed.is_callers_fault());
    /// assert_eq!(failed.into_original::<UserError>().unwrap(), UserError::NotFound);
    /// # }
    /// ```
    ///
    /// # Errors
    /// This, if it isn't an `E`, or there is none: the part took too long, panicked, or never began.
    pub fn into_original<E: 'static>(mut self) -> Result<E, Self> {
        let slot = self.0.original.get_mut().unwrap_or_else(PoisonError::into_inner);
        match slot.take().map(Box::<dyn Any + Send>::downcast) {
            Some(Ok(original)) => Ok(*original),
            Some(Err(other)) => {
                *slot = Some(other);
                Err(self)
            }
            None => Err(self),
        }
    }
}

impl RejectionDetail for FailedPart {
    fn describe(&self, by: &Name, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{by} needs {}, which failed", self.0)
    }

    fn members(&self) -> Vec<(&'static str, Value)> {
        vec![("part", (&self.0).into())]
    }
}

/// The answer of a required part whose response blames the caller, as it was; else a problem document (RFC 9457) that names
/// the part. See [when a required part fails](crate#when-a-required-part-fails).
#[cfg(feature = "axum")]
impl axum::response::IntoResponse for RequiredPartFailed {
    fn into_response(self) -> axum::response::Response {
        let failed = if self.is_callers_fault() {
            match self.into_original::<axum::response::Response>() {
                Ok(response) => return response,
                Err(failed) => failed,
            }
        } else {
            self
        };
        backstop_kit::problem_response(failed.0.rejection)
    }
}

impl From<RequiredPartFailed> for Rejection {
    fn from(failed: RequiredPartFailed) -> Self {
        failed.0.rejection
    }
}

impl fmt::Display for RequiredPartFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no page from {}", self.rejection().by())
    }
}

/// Its source is its [`Rejection`], so that layers further out recognise it.
impl Error for RequiredPartFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0.rejection)
    }
}

impl fmt::Debug for RequiredPartFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequiredPartFailed")
            .field("part", self.part())
            .field("rejection", self.rejection())
            .field("error", &self.error())
            .finish_non_exhaustive()
    }
}
