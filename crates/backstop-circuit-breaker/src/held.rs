//! A permit that gives itself back.

use std::{fmt, marker::PhantomData, num::NonZero, sync::Arc};

use backstop_core::{Outcome, Reject};

use crate::{
    breaker::{Breaker, Permit},
    failure::Failure,
    layer::Shared,
    probing::Probe,
    state::Nanos,
};

/// What leads a call to its circuit, and to what judges and rejects. Each call has a clone.
#[expect(unnameable_types, reason = "sealed")]
pub trait Link<C, J>: Clone + Unpin {
    fn breaker(&self) -> &Breaker;
    fn classify(&self) -> &C;
    fn reject(&self) -> &J;
}

impl<C, J> Link<C, J> for Arc<Shared<C, J>> {
    #[inline]
    fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    #[inline]
    fn classify(&self) -> &C {
        &self.classify
    }

    #[inline]
    fn reject(&self) -> &J {
        &self.reject
    }
}

/// The permit of a call, wherever that is: in its future, or in the body of its response.
#[expect(unnameable_types, reason = "only our own strategies get one")]
pub struct Held<C, J, L: Link<C, J>> {
    permit: Permit,
    link: L,
    strategies: PhantomData<fn() -> (C, J)>,
}

impl<C, J, L: Link<C, J>> Held<C, J, L> {
    #[inline]
    pub(crate) const fn new(permit: Permit, link: L) -> Self {
        Self { permit, link, strategies: PhantomData }
    }

    #[inline]
    pub(crate) const fn link(&self) -> &L {
        &self.link
    }

    /// Takes the permit along, to where the call goes on. What is left has ended.
    pub(crate) fn take(&mut self) -> Self {
        Self::new(self.permit.take(), self.link.clone())
    }

    /// Watches the request's body, if it has one.
    #[inline]
    pub(crate) fn watch<Req, Res, E>(&mut self, request: &mut Req)
    where
        J: Reject<Req, Res, E>,
    {
        if let Some(upload) = self.link.reject().watch(request) {
            self.permit.watch(upload);
        }
    }

    /// Runs code of the call's own. Where that panics, the call is a failure, whoever catches the panic.
    #[inline]
    pub(crate) fn run<R>(&mut self, code: impl FnOnce() -> R) -> R {
        self.permit.enter();
        let probe = if self.permit.is_probe() { Some(Probe::enter(self.link.breaker())) } else { None };
        let result = code();
        drop(probe);
        self.permit.leave();
        result
    }

    /// The response is pending.
    pub(crate) fn start_waiting(&mut self) {
        self.permit.start_waiting(self.link.breaker());
    }

    /// The response head is a success, and the body is still to come. Whether the call goes on with it.
    pub(crate) fn go_on_with_body(&mut self) -> bool {
        self.permit.go_on_with_body(self.link.breaker())
    }

    /// The body is pending; `since` is when it first was.
    pub(crate) fn wait_for_body(&mut self, since: &mut Option<NonZero<Nanos>>) {
        self.permit.wait_for_body(self.link.breaker(), since);
    }

    /// A piece of the body has come.
    pub(crate) const fn has_got_on(&mut self) {
        self.permit.has_got_on();
    }

    /// What a failure counts as once the request's body is looked at. `is_unanswered` where the service didn't answer.
    #[cold]
    pub(crate) fn judge_upload(&self, outcome: Outcome, is_unanswered: bool) -> Outcome {
        self.permit.judge_upload(self.link.breaker(), outcome, is_unanswered)
    }

    /// The call has ended. `failure` is how, if it failed.
    #[inline]
    pub(crate) fn finish(&mut self, outcome: Outcome, failure: Failure<'_>) {
        self.permit.finish(self.link.breaker(), outcome, failure);
    }

    /// The call has ended well, unless it was slow.
    #[inline]
    pub(crate) fn finish_well(&mut self, outcome: Outcome) {
        self.finish(outcome, Failure::Slow);
    }
}

impl<C, J, L: Link<C, J>> Drop for Held<C, J, L> {
    #[inline]
    fn drop(&mut self) {
        self.permit.drop(self.link.breaker());
    }
}

impl<C, J, L: Link<C, J>> fmt::Debug for Held<C, J, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("name", self.link.breaker().name()).finish_non_exhaustive()
    }
}
