//! A permit that gives itself back.

use std::{fmt, sync::Arc};

use backstop_core::Outcome;

use crate::{
    breaker::{Breaker, Permit},
    layer::Shared,
    metrics::FailureReason,
};

/// The permit of a call, wherever that is: in its future, or in the body of its response.
#[expect(unnameable_types, reason = "only our own strategies get one")]
pub struct Held<C, J> {
    permit: Permit,
    shared: Arc<Shared<C, J>>,
}

impl<C, J> Held<C, J> {
    #[inline]
    pub(crate) const fn new(permit: Permit, shared: Arc<Shared<C, J>>) -> Self {
        Self { permit, shared }
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Shared<C, J> {
        &self.shared
    }

    fn breaker(&self) -> &Breaker {
        &self.shared.breaker
    }

    /// Takes the permit along, to where the call goes on. What is left has ended.
    pub(crate) fn take(&mut self) -> Self {
        Self { permit: self.permit.take(), shared: Arc::clone(&self.shared) }
    }

    /// Runs code of the call's own. Where that panics, the call is a failure, whoever catches the panic.
    #[inline]
    pub(crate) fn run<R>(&mut self, code: impl FnOnce() -> R) -> R {
        self.permit.enter();
        let result = code();
        self.permit.leave();
        result
    }

    /// The call, or its body, is pending.
    pub(crate) fn start_waiting(&mut self) {
        self.permit.start_waiting(&self.shared.breaker);
    }

    /// The response head is there, and the body is still to come.
    pub(crate) fn go_on_with_body(&mut self) {
        self.permit.go_on_with_body(&self.shared.breaker);
    }

    /// A piece of the body has come.
    pub(crate) const fn has_got_on(&mut self) {
        self.permit.has_got_on();
    }

    /// The call has ended. Where it failed, that is how.
    #[inline]
    pub(crate) fn finish(&mut self, outcome: Outcome, reason: FailureReason) {
        self.permit.finish(&self.shared.breaker, outcome, reason);
    }
}

impl<C, J> Drop for Held<C, J> {
    #[inline]
    fn drop(&mut self) {
        self.permit.drop(&self.shared.breaker);
    }
}

impl<C, J> fmt::Debug for Held<C, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("name", self.breaker().name()).finish_non_exhaustive()
    }
}
