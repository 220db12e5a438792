//! What the future of a request has with it in case its first attempt fails. Small, since it is moved with every future, and
//! most requests never need it.

use std::sync::Arc;

use backstop_core::{ErrorRef, Outcome, Reason, Verdict};
use backstop_kit::{CopyRequest, Judge, Protocol, RequestFacts};

use crate::{StopReason, layer::Policy, telemetry};

/// What is needed for other attempts.
pub(crate) struct Spare<S, Kept, P> {
    pub(crate) policy: Arc<Policy<P>>,
    pub(crate) facts: RequestFacts,
    /// Or why there is none: then nothing is kept or recorded for nothing.
    pub(crate) again: Result<Again<S, Kept>, StopReason>,
}

/// What the protocol keeps of a request.
pub(crate) type KeptBy<P, Req> = <<P as Protocol>::Copy as CopyRequest<Req>>::Kept;

pub(crate) struct Again<S, Kept> {
    pub(crate) service: S,
    pub(crate) kept: Kept,
}

impl<S, Kept, P> Spare<S, Kept, P> {
    /// What an attempt's result counts as.
    #[inline]
    pub(crate) fn judge<Res, E: 'static>(&self, result: &mut Result<Res, E>) -> Outcome
    where
        P: Protocol,
        P::Judge: Judge<Res>,
    {
        self.policy.protocol.judge().outcome(self.facts, seen(result))
    }

    /// In a word, why this result isn't an answer.
    pub(crate) fn reason<Res, E: 'static>(&self, result: &mut Result<Res, E>) -> Reason
    where
        P: Protocol,
        P::Judge: Judge<Res>,
    {
        self.policy.protocol.judge().reason(self.facts, seen(result))
    }

    /// Says that attempt number `attempt` has come to no answer, and isn't worth another one.
    #[cold]
    pub(crate) fn say_not_worth_it(&self, attempt: u32, outcome: &Outcome) {
        let is_refusal = is_refusal(outcome);
        let stop = if is_refusal { StopReason::Refused } else { StopReason::NotTransient };
        telemetry::stopped(&self.policy.settings.name, attempt, stop);
    }
}

/// As judges see it.
#[inline]
fn seen<Res, E: 'static>(result: &mut Result<Res, E>) -> Result<&mut Res, ErrorRef<'_>> {
    result.as_mut().map_err(|error| ErrorRef::new(error))
}

/// Whether a layer further in didn't pass the request on: it refused it, or the result is neutral, and proved or said to be
/// unprocessed.
pub(crate) fn is_refusal(outcome: &Outcome) -> bool {
    outcome.refused || outcome.verdict == Verdict::Neutral && outcome.unprocessed && !outcome.transient
}
