//! The user's own rule for what may be sent again.

use std::{fmt, sync::Arc};

use backstop_core::Outcome;
use backstop_kit::RequestFacts;

/// A closure that says whether a request may be sent again after an attempt that came to this.
///
/// Given to [`RetryBuilder::repeat_when`](crate::RetryBuilder::repeat_when).
#[derive(Clone)]
pub struct RepeatWhen(Arc<Rule>);

type Rule = dyn Fn(RequestFacts, &Outcome) -> bool + Send + Sync;

impl RepeatWhen {
    /// The closure `rule`.
    #[must_use]
    pub fn new(rule: impl Fn(RequestFacts, &Outcome) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(rule))
    }

    pub(crate) fn allows(&self, request: RequestFacts, outcome: &Outcome) -> bool {
        (self.0)(request, outcome)
    }
}

/// Whether both are clones of one and the same.
impl PartialEq for RepeatWhen {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for RepeatWhen {}

impl fmt::Debug for RepeatWhen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepeatWhen").finish_non_exhaustive()
    }
}
