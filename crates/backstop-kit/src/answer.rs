//! A provider's answer.

use std::time::Duration;

use backstop_core::Freshness;

/// A provider's answer, with how good it is where only the provider knows: a stored copy and its age.
///
/// ```
/// use std::time::Duration;
/// use backstop_kit::Answer;
/// use backstop_core::Freshness;
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
    pub const fn stale(value: T, age: Duration) -> Self {
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
    pub const fn value_mut(&mut self) -> &mut T {
        &mut self.value
    }

    /// The value itself.
    pub fn into_value(self) -> T {
        self.value
    }
}

/// An answer that doesn't tell how good it is.
impl<T> From<T> for Answer<T> {
    fn from(value: T) -> Self {
        Self { value, freshness: None }
    }
}
