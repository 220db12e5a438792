//! What the future of a request has with it in case its first attempt fails. Small, since it is moved with every future, and
//! most requests never need it.

use std::sync::Arc;

use backstop_core::{Classify, ErrorRef, KeepAnswer, Outcome, Reason, RequestFacts, Verdict, judge_error};

use crate::{StopReason, layer::Policy, telemetry};

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
        A: KeepAnswer<Res>,
    {
        let Policy { classify, keep, .. } = &*self.policy;
        match result {
            Ok(answer) => keep.judge(self.facts, classify, answer),
            Err(error) => judge_error(classify, ErrorRef::new(error)),
        }
    }

    /// In a word, why this result isn't an answer.
    pub(crate) fn reason<Res, E: 'static>(&self, result: &Result<Res, E>) -> Reason
    where
        C: Classify<Res>,
        A: KeepAnswer<Res>,
    {
        let Policy { classify, keep, .. } = &*self.policy;
        match result {
            Ok(answer) => keep.reason(self.facts, classify, answer),
            Err(error) => classify.reason(Err(ErrorRef::new(error))),
        }
    }

    /// Says that attempt number `attempt` has come to no answer, and isn't worth another one.
    #[cold]
    pub(crate) fn say_not_worth_it<Res, E: 'static>(&self, attempt: u32, outcome: &Outcome, result: &Result<Res, E>)
    where
        C: Classify<Res>,
        A: KeepAnswer<Res>,
    {
        let is_refusal = is_refusal(outcome, self.reason(result));
        let stop = if is_refusal { StopReason::Refused } else { StopReason::NotTransient };
        telemetry::stopped(&self.policy.settings.name, attempt, stop);
    }
}

/// Whether a layer further in didn't pass the request on: by the reason of its refusal, or by a neutral result that is
/// proved or said to be unprocessed.
pub(crate) fn is_refusal(outcome: &Outcome, reason: Reason) -> bool {
    let shape = outcome.verdict == Verdict::Neutral && outcome.unprocessed && !outcome.transient;
    shape || matches!(reason, Reason::CircuitOpen | Reason::BulkheadFull)
}
