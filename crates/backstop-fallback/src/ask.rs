//! One provider that is being asked.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::{Answer, Attempt, Classify, CopyAs, Deadline, ErrorRef, NotCopied, Outcome, Reason, Scope};

use crate::{Provider, concurrency::Permit, provider::Run};

/// A provider's run, in its scope and within its time.
///
/// # Cancellation
/// Dropping it drops the run, then gives its permit back.
pub(crate) struct Ask<T> {
    /// Boxed, since it is rare, and large. Before the permit, to be dropped first.
    attempt: Pin<Box<Attempt<Run<T>>>>,
    _permit: Option<Permit>,
}

impl<T> Ask<T> {
    /// Starts `provider`, if it has room, with a copy of the request where it needs one.
    pub(crate) fn start<Req>(
        provider: &Provider<Req, T>,
        deadline: Deadline,
        copy: impl FnOnce(CopyAs) -> Result<Req, NotCopied>,
    ) -> Result<Self, Reason> {
        let permit = provider.admit()?;
        let mut scope = Scope::narrowed(deadline);
        let run = scope.enter(|| provider.start(copy)).map_err(|_| Reason::NotReplayable)?;
        Ok(Self { attempt: Box::pin(Attempt::start(scope, || run)), _permit: permit })
    }

    /// The answer, which `accepts` takes for one and whose reports have moved up; or why there is none.
    pub(crate) fn poll<C: Classify<T> + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        judge: &C,
        accepts: fn(&Outcome) -> bool,
    ) -> Poll<Result<Answer<T>, (Reason, Outcome)>> {
        Poll::Ready(match ready!(self.attempt.as_mut().poll(cx)) {
            Err(_elapsed) => Err((Reason::Timeout, Outcome::failure())),
            Ok(Ok(answer)) => {
                let outcome = judge.classify(Ok(answer.value()));
                if accepts(&outcome) {
                    self.attempt.as_mut().commit();
                    Ok(answer)
                } else {
                    Err((judge.reason(Ok(answer.value())), outcome))
                }
            }
            Ok(Err(error)) => {
                let error = ErrorRef::new(&error);
                Err((judge.reason(Err(error)), judge.classify(Err(error))))
            }
        })
    }
}
