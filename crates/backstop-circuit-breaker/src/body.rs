//! Follows a response body for a breaker.

use std::{num::NonZero, task::Context};

use backstop_core::{ErrorRef, Outcome, Verdict, grpc};
use backstop_kit::{BodyAction, BodyGuard, BodyStep, Judge, Protocol, RequestFacts, WrapBody};
use http::{HeaderMap, Response};

use crate::{call_guard::CallGuard, failure::Failure, layer_state::CircuitRef, state::Nanos};

/// The call of a response whose body hasn't ended. Dropping it drops the call.
pub(crate) struct CallInBody<P, L: CircuitRef<P>> {
    call: CallGuard<P, L>,
    /// Whether gRPC's status must come in the trailers. Without one, the call has failed.
    status_to_come: bool,
    /// When the body was first pending.
    pending_first: Option<NonZero<Nanos>>,
}

/// How a body ended: what it counts as, and how it failed if it did.
type End<'a> = Result<Outcome, (Outcome, Failure<'a>)>;

impl<P, L: CircuitRef<P>> CallInBody<P, L> {
    pub(crate) const fn new(call: CallGuard<P, L>, status_to_come: bool) -> Self {
        Self { call, status_to_come, pending_first: None }
    }

    const fn ended(&self) -> End<'static> {
        if self.status_to_come { Err((Outcome::failure(), Failure::NoStatus)) } else { Ok(Outcome::success()) }
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
        let end = match step {
            BodyStep::Error(error) => {
                let error = ErrorRef::new(error);
                let outcome = judge.outcome(RequestFacts::none(), Err(error));
                match outcome.verdict {
                    Verdict::Failure => Err((outcome, Failure::Body(error))),
                    Verdict::Success => Ok(outcome),
                    // It says nothing about the service, so the head decides.
                    _ => Ok(Outcome::success()),
                }
            }
            BodyStep::Frame { trailers: Some(trailers), .. } if self.status_to_come => judge_trailers(judge, trailers),
            BodyStep::Frame { trailers: Some(_), .. } => Ok(Outcome::success()),
            BodyStep::Frame { is_last: true, .. } | BodyStep::End => self.ended(),
            BodyStep::Frame { .. } => {
                self.call.stop_waiting();
                return BodyAction::Continue;
            }
            _ => {
                self.call.wait_for_body(&mut self.pending_first);
                return BodyAction::Continue;
            }
        };
        match end {
            Ok(outcome) => self.call.finish_well(outcome),
            Err((outcome, failure)) => self.call.finish(outcome, failure),
        }
        BodyAction::Finish
    }
}

/// Judges the trailers of a gRPC response, which must have a status.
fn judge_trailers<B: Default>(judge: &impl Judge<Response<B>>, trailers: &HeaderMap) -> End<'static> {
    let Some(mut answer) = grpc::trailers_only(trailers.clone()) else {
        return Err((Outcome::failure(), Failure::NoStatus));
    };
    let outcome = judge.outcome(RequestFacts::none(), Ok(&mut answer));
    if outcome.verdict != Verdict::Failure {
        return Ok(outcome);
    }
    Err((outcome, Failure::Trailers(judge.reason(RequestFacts::none(), Ok(&mut answer)))))
}
