//! The one judge of success, in every layer.

use std::fmt;

use crate::{ErrorRef, Outcome, Reason, Rejection};

/// Judges what a finished attempt counts as.
///
/// [`HttpClassify`](crate::HttpClassify) is the default of every layer. A closure becomes a classifier by
/// `.classify_fn(…)` on the layer's builder, or by [`ClassifyFn::new`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't judge a `{Res}`",
    note = "the default, `HttpClassify`, judges an `http::Response` of any body",
    note = "for other responses give the layer a closure by `.classify_fn(|result| …)`"
)]
pub trait Classify<Res> {
    /// What this result counts as.
    fn classify(&self, result: Result<&Res, ErrorRef<'_>>) -> Outcome;

    /// In a word, why this result isn't an answer; asked only of results that aren't.
    fn reason(&self, result: Result<&Res, ErrorRef<'_>>) -> Reason {
        result.err().and_then(Rejection::in_error).map_or(Reason::Error, |rejection| rejection.reason())
    }
}

/// A classifier made of a closure.
///
/// It has no word for why a result isn't an answer but [`Reason::Error`], or a rejection's own; for a response a retry or a
/// chain then takes that one's, see [`KeepAnswer::reason`](crate::KeepAnswer::reason). A closure for HTTP does well to
/// ask [`HttpClassify`](crate::HttpClassify) first and to change what that says: it knows the rejections of the layers further
/// in, `Retry-After`, and which errors prove that nothing was processed.
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
#[derive(Clone, Copy)]
pub struct ClassifyFn<F>(F);

impl<F> ClassifyFn<F> {
    /// The classifier that asks `judge`.
    #[must_use]
    pub fn new<Res>(judge: F) -> Self
    where
        F: Fn(Result<&Res, ErrorRef<'_>>) -> Outcome,
    {
        Self(judge)
    }
}

#[diagnostic::do_not_recommend]
impl<F, Res> Classify<Res> for ClassifyFn<F>
where
    F: Fn(Result<&Res, ErrorRef<'_>>) -> Outcome,
{
    fn classify(&self, result: Result<&Res, ErrorRef<'_>>) -> Outcome {
        (self.0)(result)
    }
}

impl<F> fmt::Debug for ClassifyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClassifyFn(..)")
    }
}
