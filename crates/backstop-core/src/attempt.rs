//! One attempt: a call in a scope of its own, ended when its time is up.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use crate::{Deadline, Degradation, Progress, Scope, SetBy, scope};

pin_project! {
    /// One call, in a [scope](crate::scope) of its own, ended when that scope's deadline passes.
    ///
    /// What every layer needs that limits or repeats calls. The call is polled at least once, whatever the deadline. The
    /// timer is made when the call is first pending.
    ///
    /// # Cancellation
    /// Dropping it drops the call, and with it what was reported. A call that the deadline ends is dropped under the
    /// mark of [`scope::ended_by`].
    #[must_use = "an attempt does nothing unless polled"]
    pub struct Attempt<F> {
        // `None` once it was ended by its deadline.
        #[pin]
        call: Option<F>,
        scope: Scope,
        #[pin]
        timer: Timer,
    }
}

/// A call whose progress can be told.
pub trait Call: Future {
    /// How far it has come.
    fn progress(&self) -> Progress {
        Progress::Called
    }
}

/// Calls that were erased run from the start.
impl<T> Call for Pin<Box<dyn Future<Output = T> + Send>> {}

/// An attempt's time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Elapsed {
    /// Whose limit bound.
    pub set_by: SetBy,
    /// How far the call had come.
    pub progress: Progress,
}

impl<F: Call> Attempt<F> {
    /// The attempt that `start` begins; `start` runs inside `scope` already.
    #[inline]
    pub fn start(mut scope: Scope, start: impl FnOnce() -> F) -> Self {
        let call = scope.enter(start);
        Self { call: Some(call), scope, timer: Timer::new() }
    }

    /// Polls the call alone: the deadline is told to what runs inside, and ends nothing here.
    ///
    /// For a layer that has no answer of its own to give instead.
    #[inline]
    pub fn poll_call(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Some(call) = this.call.as_pin_mut() else {
            return Poll::Pending;
        };
        // The scope around it narrows this one here too: where a buffer further out ran `start` in another task, there
        // was none.
        this.scope.enter(|| call.poll(cx))
    }

    /// Polls the call, then its time limit.
    #[inline]
    pub fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<F::Output, Elapsed>> {
        if let Poll::Ready(output) = self.as_mut().poll_call(cx) {
            return Poll::Ready(Ok(output));
        }
        let mut this = self.project();
        let (true, Some(deadline)) = (this.call.is_some(), this.scope.deadline()) else {
            return Poll::Pending;
        };
        ready!(this.timer.poll_until(deadline.instant(), cx));
        let set_by = deadline.set_by();
        let progress = this.call.as_ref().get_ref().as_ref().map_or(Progress::Called, Call::progress);
        scope::end(set_by, || this.call.set(None));
        Poll::Ready(Err(Elapsed { set_by, progress }))
    }

    /// When its time is up.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        self.scope.deadline()
    }

    /// Takes the scope, for what is still to be waited for in it after the call's own end: the body of an answer, say.
    ///
    /// What was reported goes with it.
    #[must_use]
    pub fn take_scope(self: Pin<&mut Self>) -> Scope {
        mem::take(self.project().scope)
    }

    /// Takes what was reported during this attempt.
    #[must_use]
    pub fn take_reports(self: Pin<&mut Self>) -> Vec<Degradation> {
        self.project().scope.take_reports()
    }

    /// Moves what was reported during this attempt to the current scope: its answer was chosen.
    #[inline]
    pub fn commit(self: Pin<&mut Self>) {
        self.project().scope.move_reports_up();
    }
}

impl<F> fmt::Debug for Attempt<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("scope", &self.scope).finish_non_exhaustive()
    }
}

pin_project! {
    /// A timer that costs nothing until it is polled.
    #[derive(Debug, Default)]
    pub struct Timer {
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl Timer {
    /// A timer that isn't running.
    #[must_use]
    pub const fn new() -> Self {
        Self { sleep: None }
    }

    /// Ready when `until` has passed. The first poll sets the moment.
    pub fn poll_until(self: Pin<&mut Self>, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let mut sleep = self.project().sleep;
        if sleep.is_none() {
            sleep.set(Some(sleep_until(until)));
        }
        sleep.as_pin_mut().map_or(Poll::Pending, |sleep| sleep.poll(cx))
    }
}

pin_project! {
    /// A call of a service, which is made ready first unless it was already.
    #[project = Step]
    #[must_use = "futures do nothing unless polled"]
    pub enum ServiceCall<S, Req>
    where
        S: Service<Req>,
    {
        /// Waits for the service to be ready.
        #[doc(hidden)]
        Waiting { service: S, request: Option<Req> },
        /// Waits for its answer.
        #[doc(hidden)]
        Called { #[pin] future: S::Future },
    }
}

impl<S: Service<Req>, Req> ServiceCall<S, Req> {
    /// Makes `service` ready, then calls it.
    #[inline]
    pub const fn when_ready(service: S, request: Req) -> Self {
        Self::Waiting { service, request: Some(request) }
    }

    /// A service that was ready has been called.
    #[inline]
    pub const fn called(future: S::Future) -> Self {
        Self::Called { future }
    }
}

impl<S: Service<Req>, Req> Future for ServiceCall<S, Req> {
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let future = match self.as_mut().project() {
                Step::Called { future } => return future.poll(cx),
                Step::Waiting { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    let Some(request) = request.take() else {
                        return Poll::Pending;
                    };
                    service.call(request)
                }
            };
            self.set(Self::Called { future });
        }
    }
}

impl<S: Service<Req>, Req> Call for ServiceCall<S, Req> {
    fn progress(&self) -> Progress {
        match self {
            Self::Waiting { .. } => Progress::NotReady,
            Self::Called { .. } => Progress::Called,
        }
    }
}

impl<S: Service<Req>, Req> fmt::Debug for ServiceCall<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceCall").field(&self.progress()).finish()
    }
}

#[cfg(test)]
mod tests;
