//! The classifier: every layer uses it to judge success.

use std::fmt;

use crate::{ErrorRef, Outcome, Reason, Rejection, error_ref::Views};

/// Judges what a finished attempt counts as.
///
/// [`HttpClassify`](crate::HttpClassify) is the default of every layer. A closure becomes a classifier by
/// `.classify_fn(…)` on the layer's builder, or by [`ClassifyFn::new`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't judge a `{Res}`",
    note = "the default, `HttpClassify`, judges an `http::Response` of any body",
    note = "for functions give the layer `.classify(ResultClassify::new())`: every `Ok` is a success",
    note = "for anything else give it a closure by `.classify_fn(|result| …)`"
)]
pub trait Classify<Res> {
    /// What this result counts as.
    fn classify(&self, result: Result<&Res, ErrorRef<'_>>) -> Outcome;

    /// Why this result isn't an answer. Called only for results that aren't.
    fn reason(&self, result: Result<&Res, ErrorRef<'_>>) -> Reason {
        result.err().and_then(Rejection::in_error).map_or(Reason::ERROR, Rejection::reason)
    }
}

/// A classifier made of a closure.
///
/// Its reason is always [`Reason::ERROR`], or the reason of a rejection. For a response, a retry or a chain then uses
/// the response's own reason, see the crate `backstop-kit`. A closure for HTTP should call
/// [`HttpClassify`](crate::HttpClassify) first and adjust its outcome; a closure for functions should call
/// [`ResultClassify`](crate::ResultClassify). These handle `Retry-After`, gRPC's codes, and transient failures.
///
/// The closure isn't called for a refusal by a Backstop layer further in: a full bulkhead or an open circuit is not a
/// failure of the service. To find such a rejection in your own error type, pass the type to
/// [`see_through`](Self::see_through).
///
/// ```
/// use backstop_core::{Classify, ClassifyFn, ErrorRef, Outcome};
///
/// let judge = ClassifyFn::new(|result: Result<&u32, ErrorRef<'_>>| match result {
///     Ok(0) | Err(_) => Outcome::failure(),
///     Ok(_) => Outcome::success(),
/// });
/// assert_eq!(judge.classify(Ok(&7)), Outcome::success());
/// ```
#[derive(Clone)]
pub struct ClassifyFn<F> {
    judge: F,
    views: Views,
}

impl<F> ClassifyFn<F> {
    /// The classifier that asks `judge`.
    #[must_use]
    pub fn new<Res>(judge: F) -> Self
    where
        F: Fn(Result<&Res, ErrorRef<'_>>) -> Outcome,
    {
        Self { judge, views: Views::new() }
    }

    /// Follows `source()` of your own error type, so that a rejection among its causes is found, and the closure can
    /// see all of them.
    #[must_use]
    pub fn see_through<E: std::error::Error + 'static>(mut self) -> Self {
        self.views.add::<E>();
        self
    }
}

#[diagnostic::do_not_recommend]
impl<F, Res> Classify<Res> for ClassifyFn<F>
where
    F: Fn(Result<&Res, ErrorRef<'_>>) -> Outcome,
{
    fn classify(&self, result: Result<&Res, ErrorRef<'_>>) -> Outcome {
        match result {
            Ok(answer) => (self.judge)(Ok(answer)),
            Err(error) => {
                let error = self.views.see(error);
                let rejection = Rejection::in_error(error);
                rejection.map_or_else(|| (self.judge)(Err(error)), Rejection::outcome)
            }
        }
    }

    fn reason(&self, result: Result<&Res, ErrorRef<'_>>) -> Reason {
        let rejection = result.err().and_then(|error| Rejection::in_error(self.views.see(error)));
        rejection.map_or(Reason::ERROR, Rejection::reason)
    }
}

impl<F> fmt::Debug for ClassifyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClassifyFn(..)")
    }
}

/// A classifier behind a pointer, such as one whose type is erased.
impl<C: Classify<Res> + ?Sized, Res> Classify<Res> for Box<C> {
    fn classify(&self, result: Result<&Res, ErrorRef<'_>>) -> Outcome {
        (**self).classify(result)
    }

    fn reason(&self, result: Result<&Res, ErrorRef<'_>>) -> Reason {
        (**self).reason(result)
    }
}
