//! What the future of a request has with it in case its first attempt fails. Small, since it is moved with every future, and
//! most requests never need it.

use std::sync::Arc;

use backstop_core::{Classify, ErrorRef, Outcome, RequestFacts};

use crate::{StopReason, layer::Policy};

/// What is needed for other attempts.
pub(crate) struct Spare<S, Kept, C, K, A> {
    pub(crate) policy: Arc<Policy<C, K, A>>,
    pub(crate) facts: RequestFacts,
    /// Or why there is none: then nothing is kept or recorded for nothing.
    pub(crate) again: Result<Again<S, Kept>, StopReason>,
}

pub(crate) struct Again<S, Kept> {
    pub(crate) service: S,
    pub(crate) kept: Kept,
}

impl<S, Kept, C, K, A> Spare<S, Kept, C, K, A> {
    /// What an attempt's result counts as.
    #[inline]
    pub(crate) fn judge<Res, E: 'static>(&self, result: &Result<Res, E>) -> Outcome
    where
        C: Classify<Res>,
    {
        self.policy.classify.classify(result.as_ref().map_err(ErrorRef::new))
    }
}
