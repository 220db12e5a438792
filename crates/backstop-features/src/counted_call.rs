//! A call that is counted when it ends.

use std::{fmt, sync::Arc};

use backstop_core::{
    Name, Outcome, Scope, Verdict,
    scope::{self, EnteredScope},
};
use backstop_kit::{JudgeRequest, Protocol, RequestFacts, Upload};

use crate::layer::LayerState;

/// A call of a feature.
pub(crate) struct CountedCall<P> {
    state: Arc<LayerState<P>>,
    /// The request's body, if it has one.
    upload: Option<Upload>,
    /// Whether the call's own code is running. Stays true if that code panicked, even if the panic was caught.
    is_running: bool,
    has_ended: bool,
    /// Where injected faults leave their mark, even if no scope is open around the call. `None` while there can be none.
    scope: Option<Scope>,
}

impl<P> CountedCall<P> {
    #[inline]
    pub(crate) fn new(state: Arc<LayerState<P>>) -> Self {
        let scope = scope::may_inject_faults().then(Scope::new);
        Self { state, upload: None, is_running: false, has_ended: false, scope }
    }

    #[inline]
    pub(crate) fn protocol(&self) -> &P {
        &self.state.protocol
    }

    pub(crate) fn feature(&self) -> &Name {
        self.state.gate.name()
    }

    /// Collects what the judge needs to know about the request, and watches the request's body, if it has one.
    #[inline]
    pub(crate) fn inspect_request<Req>(&mut self, request: &mut Req) -> RequestFacts
    where
        P: Protocol,
        P::Judge: JudgeRequest<Req>,
    {
        let judge = self.state.protocol.judge();
        self.upload = judge.watch(request);
        if judge.is_grpc(request) { RequestFacts::none().grpc() } else { RequestFacts::none() }
    }

    /// The call's own code begins to run, until [`leave`](Self::leave). A closure would copy the request.
    #[inline]
    pub(crate) const fn enter(&mut self) {
        self.is_running = true;
    }

    /// The call's own code has returned.
    #[inline]
    pub(crate) fn leave(&mut self) {
        self.is_running = false;
        if let Some(scope) = &mut self.scope {
            scope.pass_on_reports();
        }
    }

    /// Enters the call's own scope, if it has one.
    #[inline]
    pub(crate) fn enter_scope(&mut self) -> Option<EnteredScope<'_>> {
        self.scope.as_mut().map(|scope| scope.entered())
    }

    /// Counts the call.
    #[inline]
    pub(crate) fn end(&mut self, outcome: &Outcome) {
        self.has_ended = true;
        if self.scope.as_ref().is_some_and(Scope::has_injected_fault) && outcome.verdict == Verdict::Failure {
            return;
        }
        // A request's body that broke off is the caller's failure.
        if outcome.verdict == Verdict::Failure && self.upload.as_ref().is_some_and(|upload| upload.failure().is_some())
        {
            return;
        }
        self.state.gate.record(outcome);
    }
}

impl<P> Drop for CountedCall<P> {
    #[inline]
    fn drop(&mut self) {
        if !self.has_ended && (self.is_running || scope::ended_by().is_some_and(scope::EndedBy::is_failure)) {
            self.end(&Outcome::failure());
        }
    }
}

impl<P> fmt::Debug for CountedCall<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountedCall").field("feature", self.feature()).finish_non_exhaustive()
    }
}
