//! What the future of a request has with it in case the primary fails.

use backstop_core::{Blame, Classify, CopyRequest, Elapsed, ErrorRef, Outcome, Progress, Reason, Reject, RequestFacts};
use tokio::time::Instant;
use tower_service::Service;

use crate::{
    commit::{Committed, Committer},
    future::PolicyOf,
    telemetry,
};

/// What is needed only if the primary fails.
pub(crate) struct Spare<S, Req, C, J, K, A>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
    K: CopyRequest<Req>,
{
    pub(crate) policy: PolicyOf<S, Req, C, J, K, A>,
    pub(crate) started: Instant,
    pub(crate) facts: RequestFacts,
    /// `None` where no provider needs the request.
    pub(crate) kept: Option<K::Kept>,
    pub(crate) context: J::Context,
}

/// What a service gives.
pub(crate) type Given<S, Req> = Result<<S as Service<Req>>::Response, <S as Service<Req>>::Error>;

/// How the primary failed.
pub(crate) struct Failure<S: Service<Req>, Req> {
    /// `None` where it gave nothing in its time, or nothing whole.
    pub(crate) result: Option<Given<S, Req>>,
    pub(crate) reason: Reason,
    pub(crate) outcome: Outcome,
}

impl<S, Req, C, J, K, A> Spare<S, Req, C, J, K, A>
where
    S: Service<Req>,
    S::Error: 'static,
    C: Classify<S::Response>,
    J: Reject<Req, S::Response, S::Error>,
    K: CopyRequest<Req>,
{
    /// What waits for answers' bodies.
    pub(crate) fn committer(&self) -> Option<&Committer<S::Response>> {
        self.policy.chain.shared().committer.as_ref()
    }

    /// What the primary gave, if that is an answer.
    #[inline]
    pub(crate) fn answer(&self, result: Result<Given<S, Req>, Elapsed>) -> Result<Given<S, Req>, Failure<S, Req>> {
        let result = result.map_err(timed_out)?;
        match self.judge(&result) {
            None => Ok(result),
            Some((reason, outcome)) => Err(Failure { result: Some(result), reason, outcome }),
        }
    }

    /// The primary's answer, if its body is one as well.
    pub(crate) fn committed(
        &self,
        result: Result<Option<Committed<S::Response>>, Elapsed>,
    ) -> Result<S::Response, Failure<S, Req>> {
        let broke_off = Failure { result: None, reason: Reason::Body, outcome: Outcome::failure() };
        let Committed { answer, to_judge } = result.map_err(timed_out)?.ok_or(broke_off)?;
        match to_judge.and_then(|answer| self.judge(&Ok(answer))) {
            None => Ok(answer),
            Some((reason, outcome)) => Err(Failure { result: Some(Ok(answer)), reason, outcome }),
        }
    }

    /// Tells that the primary answered.
    pub(crate) fn tell(&self) {
        telemetry::answered(self.policy.chain.name(), &self.policy.primary, || self.started.elapsed());
    }

    /// Why this isn't an answer; `None` if it is.
    fn judge(&self, result: &Given<S, Req>) -> Option<(Reason, Outcome)> {
        let result = result.as_ref().map_err(ErrorRef::new);
        let outcome = self.policy.classify.classify(result);
        // RFC 8470 §5.2: where our caller used early data, a 425 is for the caller to act upon.
        let too_early_for_caller = outcome.blame == Some(Blame::EarlyData) && self.facts.is_early_data();
        if outcome.answers() || too_early_for_caller {
            return None;
        }
        Some((self.policy.classify.reason(result), outcome))
    }
}

fn timed_out<S: Service<Req>, Req>(elapsed: Elapsed) -> Failure<S, Req> {
    let outcome = match elapsed.progress {
        Progress::Called => Outcome::failure(),
        Progress::NotAsked | Progress::NotReady => Outcome::failure().unprocessed(),
    };
    Failure { result: None, reason: Reason::Timeout, outcome }
}
