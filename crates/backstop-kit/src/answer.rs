//! A provider's answer.

use std::time::Duration;

use backstop_core::Freshness;

/// A provider's answer, with its freshness if only the provider knows that: for example a stored copy and its age.
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
    /// An answer with this freshness.
    pub const fn new(value: T, freshness: Freshness) -> Self {
        Self { value, freshness: Some(freshness) }
    }

    /// A stored copy of this age.
    pub const fn stale(value: T, age: Duration) -> Self {
        Self::new(value, Freshness::stale(age))
    }

    /// Its freshness, if the answer has its own.
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

/// An answer without a freshness of its own.
impl<T> From<T> for Answer<T> {
    fn from(value: T) -> Self {
        Self { value, freshness: None }
    }
}
