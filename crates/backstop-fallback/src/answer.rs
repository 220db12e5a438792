//! What providers may return.

use backstop_kit::Answer;

/// A provider's error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a provider of `T` may return: `T`, an [`Answer`] of it, or a `Result` of either.
///
/// An error means that this provider has no answer. Its type is any that converts into `Box<dyn Error + Send + Sync>`.
#[diagnostic::on_unimplemented(
    message = "a provider of `{T}` can't return `{Self}`",
    label = "not an answer",
    note = "it returns `{T}`, `Answer<{T}>`, or a `Result` of either, whose error converts into `Box<dyn Error + Send + Sync>`"
)]
pub trait IntoAnswer<T> {
    /// Whether it may be an error.
    const MAY_FAIL: bool = true;

    /// The answer, or why there is none.
    ///
    /// # Errors
    /// The provider's own.
    fn into_answer(self) -> Result<Answer<T>, BoxError>;
}

impl<T> IntoAnswer<T> for T {
    const MAY_FAIL: bool = false;

    fn into_answer(self) -> Result<Answer<T>, BoxError> {
        Ok(self.into())
    }
}

impl<T> IntoAnswer<T> for Answer<T> {
    const MAY_FAIL: bool = false;

    fn into_answer(self) -> Result<Self, BoxError> {
        Ok(self)
    }
}

impl<T, E: Into<BoxError>> IntoAnswer<T> for Result<T, E> {
    fn into_answer(self) -> Result<Answer<T>, BoxError> {
        self.map_err(Into::into)?.into_answer()
    }
}

impl<T, E: Into<BoxError>> IntoAnswer<T> for Result<Answer<T>, E> {
    fn into_answer(self) -> Result<Answer<T>, BoxError> {
        self.map_err(Into::into)
    }
}
