//! What providers may return.

use backstop_core::Freshness;

/// What can go wrong in a provider.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A provider's answer, with how good it is where only the provider knows: a stored copy and its age.
///
/// ```
/// use std::time::Duration;
/// use backstop_core::Freshness;
/// use backstop_fallback::Answer;
///
/// let answer = Answer::stale("yesterday's", Duration::from_secs(86_400));
/// assert_eq!(answer.freshness(), Some(Freshness::stale(Duration::from_secs(86_400))));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    value: T,
    freshness: Option<Freshness>,
}

impl<T> Answer<T> {
    /// An answer as good as `freshness`.
    pub const fn new(value: T, freshness: Freshness) -> Self {
        Self { value, freshness: Some(freshness) }
    }

    /// A stored copy of this age.
    pub const fn stale(value: T, age: std::time::Duration) -> Self {
        Self::new(value, Freshness::stale(age))
    }

    /// How good it is, where the answer tells.
    pub const fn freshness(&self) -> Option<Freshness> {
        self.freshness
    }

    /// The value itself.
    pub const fn value(&self) -> &T {
        &self.value
    }

    /// The value itself.
    pub fn into_value(self) -> T {
        self.value
    }
}

/// What a provider of `T` may return: `T`, an [`Answer`] of it, or a `Result` of either.
///
/// An error says that this provider has no answer. Its type may be any that goes into a `Box<dyn Error + Send + Sync>`.
#[diagnostic::on_unimplemented(
    message = "a provider of `{T}` can't return `{Self}`",
    label = "not an answer",
    note = "it returns `{T}`, `Answer<{T}>`, or a `Result` of either, whose error goes into a `Box<dyn Error + Send + Sync>`"
)]
pub trait IntoAnswer<T> {
    /// The answer, or why there is none.
    ///
    /// # Errors
    /// The provider's own.
    fn into_answer(self) -> Result<Answer<T>, BoxError>;
}

impl<T> IntoAnswer<T> for T {
    fn into_answer(self) -> Result<Answer<T>, BoxError> {
        Ok(Answer { value: self, freshness: None })
    }
}

impl<T> IntoAnswer<T> for Answer<T> {
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
