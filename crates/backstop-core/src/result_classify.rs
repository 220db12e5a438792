//! The classifier of functions.

use std::fmt;

use crate::{Classify, ErrorRef, HttpClassify, Outcome, Reason, Rejection};

/// Judges an error: a Backstop [rejection](Rejection) among its causes by its own outcome, any other error by
/// `classify`.
///
/// For custom layers: a closure that counts every error as a failure would count a full bulkhead as a failure too.
pub fn judge_error<Res, C: Classify<Res> + ?Sized>(classify: &C, error: ErrorRef<'_>) -> Outcome {
    Rejection::in_error(error).map_or_else(|| classify.classify(Err(error)), Rejection::outcome)
}

/// Judges the results of functions: every `Ok` is a success. [`HttpClassify`] judges the errors: each is a transient
/// failure, unless the error or one of its causes says otherwise.
///
/// For services and chains that don't speak HTTP. A `tonic::Status` counts by its code (feature `tonic`), and a
/// [`Rejection`] of a layer further in as it says. It never says that a call was certainly not processed: retries and chains
/// get proof of that in another way. To change one case, match it first, and leave the rest to this classifier:
///
/// ```
/// use backstop_core::{Classify, ClassifyFn, ErrorRef, Outcome, ResultClassify};
/// use std::io;
///
/// let usual = ResultClassify::new();
/// let judge = ClassifyFn::new(move |result: Result<&String, ErrorRef<'_>>| match result {
///     // Asked for a file that isn't there: the caller's fault, not the service's.
///     Err(error) if error.find::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound) => {
///         Outcome::callers_fault()
///     }
///     other => usual.classify(other),
/// });
/// let (gone, lost) = (io::Error::from(io::ErrorKind::NotFound), io::Error::other("lost"));
/// assert_eq!(judge.classify(Err(ErrorRef::new(&gone))), Outcome::callers_fault());
/// assert_eq!(judge.classify(Err(ErrorRef::new(&lost))), Outcome::failure().transient());
/// ```
#[derive(Clone, Default)]
pub struct ResultClassify {
    errors: HttpClassify,
}

impl ResultClassify {
    /// The rules above.
    #[must_use]
    pub const fn new() -> Self {
        Self { errors: HttpClassify::new() }
    }

    /// Follows `source()` of your own error type, so that its causes are judged.
    #[must_use]
    pub fn see_through<E: std::error::Error + 'static>(mut self) -> Self {
        self.errors = self.errors.see_through::<E>();
        self
    }
}

impl<Res> Classify<Res> for ResultClassify {
    fn classify(&self, result: Result<&Res, ErrorRef<'_>>) -> Outcome {
        match result {
            Ok(_) => Outcome::success(),
            Err(error) => self.errors.judge_error(error),
        }
    }

    fn reason(&self, result: Result<&Res, ErrorRef<'_>>) -> Reason {
        result.err().map_or(Reason::ERROR, |error| self.errors.error_reason(error))
    }
}

impl fmt::Debug for ResultClassify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultClassify").finish_non_exhaustive()
    }
}
