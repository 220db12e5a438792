//! A tracked call that gives its permit back when it is dropped.

use std::{fmt, marker::PhantomData, num::NonZero};

use backstop_core::Outcome;
use backstop_kit::{JudgeRequest, Protocol, RequestFacts};

use crate::{
    failure::Failure,
    layer_state::CircuitRef,
    probe_scope::ProbeScope,
    state::{Nanos, Refused},
    tracked_call::TrackedCall,
};

/// A call, held by its future or by its response body.
#[expect(unnameable_types, reason = "only our own strategies get one")]
pub struct CallGuard<P, L: CircuitRef<P>> {
    call: TrackedCall,
    circuit: L,
    protocol: PhantomData<fn() -> P>,
}

impl<P, L: CircuitRef<P>> CallGuard<P, L> {
    #[inline]
    pub(crate) const fn new(call: TrackedCall, circuit: L) -> Self {
        Self { call, circuit, protocol: PhantomData }
    }

    #[inline]
    pub(crate) const fn circuit(&self) -> &L {
        &self.circuit
    }

    /// Moves the call out. The guard left behind is a finished call.
    pub(crate) fn take(&mut self) -> Self {
        Self::new(self.call.take(), self.circuit.clone())
    }

    /// Collects what the judge needs to know about the request, and watches the request's body, if it has one.
    #[inline]
    pub(crate) fn inspect_request<Req>(&mut self, request: &mut Req) -> RequestFacts
    where
        P: Protocol,
        P::Judge: JudgeRequest<Req>,
    {
        let judge = self.circuit.protocol().judge();
        if let Some(upload) = judge.watch(request) {
            self.call.watch(upload);
        }
        if judge.is_grpc(request) { RequestFacts::none().grpc() } else { RequestFacts::none() }
    }

    /// Runs the call's own code. If it panics, the call counts as a failure, even if the panic is caught.
    #[inline]
    pub(crate) fn run<R>(&mut self, code: impl FnOnce() -> R) -> R {
        let result = {
            let _probe = self.enter();
            code()
        };
        self.leave();
        result
    }

    /// As [`run`](Self::run), for a call with a request, which a closure would copy. The scope is dropped after it, then comes
    /// [`leave`](Self::leave).
    #[inline]
    pub(crate) fn enter(&mut self) -> Option<ProbeScope> {
        self.call.enter();
        if self.call.is_probe() { Some(ProbeScope::enter(self.circuit.breaker())) } else { None }
    }

    /// The call's own code has returned.
    #[inline]
    pub(crate) const fn leave(&mut self) {
        self.call.leave();
    }

    /// Asks the circuit again, before a call that has waited begins.
    pub(crate) fn readmit(&mut self) -> Result<(), Refused> {
        self.call.readmit(self.circuit.breaker())
    }

    /// The response is pending.
    pub(crate) fn start_waiting(&mut self) {
        self.call.start_waiting(self.circuit.breaker());
    }

    /// The response head is a success, and the body follows. Returns whether the call continues with the body.
    pub(crate) fn continue_with_body(&mut self) -> bool {
        self.call.continue_with_body(self.circuit.breaker())
    }

    /// The body is pending; `since` is when it first was.
    pub(crate) fn wait_for_body(&mut self, since: &mut Option<NonZero<Nanos>>) {
        self.call.wait_for_body(self.circuit.breaker(), since);
    }

    /// A frame of the body has arrived.
    pub(crate) const fn stop_waiting(&mut self) {
        self.call.stop_waiting();
    }

    /// Makes a failure neutral if the request's body caused it. `is_unanswered` if the service didn't answer.
    #[cold]
    pub(crate) fn judge_upload(&self, outcome: Outcome, is_unanswered: bool) -> Outcome {
        self.call.judge_upload(self.circuit.breaker(), outcome, is_unanswered)
    }

    /// Records a call that failed.
    pub(crate) fn finish(&mut self, outcome: Outcome, failure: Failure<'_>) {
        self.call.finish(self.circuit.breaker(), outcome, failure);
    }

    /// Records a call that didn't fail. It may still be slow.
    #[inline]
    pub(crate) fn finish_well(&mut self, outcome: Outcome) {
        self.call.finish_well(self.circuit.breaker(), outcome);
    }
}

impl<P, L: CircuitRef<P>> Drop for CallGuard<P, L> {
    #[inline]
    fn drop(&mut self) {
        self.call.abandon(self.circuit.breaker());
    }
}

impl<P, L: CircuitRef<P>> fmt::Debug for CallGuard<P, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallGuard").field("name", self.circuit.breaker().name()).finish_non_exhaustive()
    }
}
