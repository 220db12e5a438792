//! The state of a request while its first attempt runs, in case that fails. Small, since it moves with every future.

use std::sync::Arc;

use backstop_core::{ErrorRef, Name, Outcome, Reason, Verdict};
use backstop_kit::{CopyRequest, Judge, Protocol, RequestFacts, Snapshot};

use crate::{StopReason, config::Settings, layer_state::LayerState};

/// What later attempts need.
pub(crate) struct RequestState<S, Kept, P> {
    pub(crate) layer: Arc<LayerState<P>>,
    /// The settings that the request began with.
    pub(crate) settings: Snapshot<Settings>,
    pub(crate) facts: RequestFacts,
    /// The source of later attempts, or why there are none.
    pub(crate) replay: Result<ReplaySource<S, Kept>, StopReason>,
}

/// What the protocol keeps of a request.
pub(crate) type KeptBy<P, Req> = <<P as Protocol>::Copy as CopyRequest<Req>>::Kept;

/// The source of a later attempt.
pub(crate) struct ReplaySource<S, Kept> {
    pub(crate) service: S,
    pub(crate) kept: Kept,
}

impl<S, Kept, P> RequestState<S, Kept, P> {
    pub(crate) fn name(&self) -> &Name {
        self.layer.retry.live.name()
    }

    pub(crate) fn settings(&self) -> &Settings {
        self.layer.retry.live.at(&self.settings)
    }

    /// The outcome of an attempt.
    #[inline]
    pub(crate) fn judge<Res, E: 'static>(&self, result: &mut Result<Res, E>) -> Outcome
    where
        P: Protocol,
        P::Judge: Judge<Res>,
    {
        self.layer.protocol.judge().outcome(self.facts, seen(result))
    }

    /// Why this result isn't an answer.
    pub(crate) fn reason<Res, E: 'static>(&self, result: &mut Result<Res, E>) -> Reason
    where
        P: Protocol,
        P::Judge: Judge<Res>,
    {
        self.layer.protocol.judge().reason(self.facts, seen(result))
    }

    /// What the span of an attempt says about its result.
    pub(crate) fn reported<Res, E: 'static>(
        &self,
        outcome: &Outcome,
        result: &mut Result<Res, E>,
    ) -> (Verdict, Option<Reason>)
    where
        P: Protocol,
        P::Judge: Judge<Res>,
    {
        (outcome.verdict, (outcome.verdict != Verdict::Success).then(|| self.reason(result)))
    }

    /// Logs that this attempt failed, and isn't worth repeating.
    #[cold]
    pub(crate) fn log_not_worth_repeating<Res, E: 'static>(
        &self,
        attempt: u32,
        outcome: &Outcome,
        result: &Result<Res, E>,
    ) where
        P: Protocol,
        P::Judge: Judge<Res>,
    {
        self.layer.retry.log_not_worth_repeating(attempt, outcome, self.layer.logged(result));
    }
}

/// The form that a judge takes.
#[inline]
fn seen<Res, E: 'static>(result: &mut Result<Res, E>) -> Result<&mut Res, ErrorRef<'_>> {
    result.as_mut().map_err(|error| ErrorRef::new(error))
}

/// Whether a layer inside didn't pass the request on: it refused it, or the result is neutral and unprocessed.
pub(crate) fn is_refusal(outcome: &Outcome) -> bool {
    outcome.refused || outcome.verdict == Verdict::Neutral && outcome.unprocessed && !outcome.transient
}
