//! Follows a response body for a breaker.

use std::{num::NonZero, task::Context};

use backstop_core::{ErrorRef, Outcome, Reason, Verdict, grpc};
use backstop_kit::{BodyAction, BodyGuard, BodyStep, Judge, Protocol, RequestFacts, WrapBody};
use http::{HeaderMap, Response};

use crate::{call_guard::CallGuard, failure::Failure, layer_state::CircuitRef, state::Nanos};

/// The call of a response whose body is still to come. Dropping it before the body's end drops the call.
pub(crate) struct CallInBody<P, L: CircuitRef<P>> {
    call: CallGuard<P, L>,
    /// gRPC's status comes in the trailers, and without one the call has failed.
    status_to_come: bool,
    /// When the body was first pending.
    pending_first: Option<NonZero<Nanos>>,
}

impl<P, L: CircuitRef<P>> CallInBody<P, L> {
    pub(crate) const fn new(call: CallGuard<P, L>, status_to_come: bool) -> Self {
        Self { call, status_to_come, pending_first: None }
    }

    const fn ended(&self) -> (Outcome, Failure<'static>) {
        (if self.status_to_come { Outcome::failure() } else { Outcome::success() }, Failure::NoStatus)
    }
}

impl<B, P, L> BodyGuard<B> for CallInBody<P, L>
where
    B: WrapBody,
    P: Protocol<Judge: Judge<Response<B>>>,
    L: CircuitRef<P>,
{
    fn run<R>(&mut self, poll: impl FnOnce() -> R) -> R {
        self.call.run(poll)
    }

    fn step(&mut self, step: BodyStep<'_, B::Error>, _: &mut Context<'_>) -> BodyAction<B::Error> {
        let judge = self.call.circuit().protocol().judge();
        let (outcome, failure) = match step {
            BodyStep::Error(error) => {
                let error = ErrorRef::new(error);
                (broken(judge.outcome(RequestFacts::none(), Err(error))), Failure::Body(error))
            }
            BodyStep::Frame { trailers: Some(trailers), .. } if self.status_to_come => judge_trailers(judge, trailers),
            BodyStep::Frame { trailers: Some(_), .. } => (Outcome::success(), Failure::Slow),
            BodyStep::Frame { is_last: true, .. } | BodyStep::End => self.ended(),
            BodyStep::Frame { .. } => {
                self.call.has_got_on();
                return BodyAction::Continue;
            }
            _ => {
                self.call.wait_for_body(&mut self.pending_first);
                return BodyAction::Continue;
            }
        };
        if outcome.verdict == Verdict::Failure {
            self.call.finish(outcome, failure);
        } else {
            self.call.finish_well(outcome);
        }
        BodyAction::Finish
    }
}

/// An error that says nothing of the service leaves the head to count: how the body would have ended, nobody will learn.
fn broken(outcome: Outcome) -> Outcome {
    if outcome.verdict == Verdict::Neutral { Outcome::success() } else { outcome }
}

/// What trailers tell that must tell a status.
fn judge_trailers<B: Default>(judge: &impl Judge<Response<B>>, trailers: &HeaderMap) -> (Outcome, Failure<'static>) {
    let Some(mut answer) = grpc::trailers_only(trailers.clone()) else {
        return (Outcome::failure(), Failure::NoStatus);
    };
    let outcome = judge.outcome(RequestFacts::none(), Ok(&mut answer));
    // A reason is asked for only where something failed.
    let failed = outcome.verdict == Verdict::Failure;
    let reason = if failed { judge.reason(RequestFacts::none(), Ok(&mut answer)) } else { Reason::ERROR };
    (outcome, Failure::Trailers(reason))
}
