//! One attempt: a call in a scope of its own, ended when its time is up.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::{
    Deadline, Degradation, Name, Outcome, Reason, Rejection, RejectionDetail, Scope, SetBy, grpc::GrpcCode, scope,
};
use http::StatusCode;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::Call;

pin_project! {
    /// One call, in a [scope](backstop_core::scope) of its own, ended when that scope's deadline passes.
    ///
    /// What every layer needs that limits or repeats calls. The call is polled at least once, whatever the deadline. Its
    /// time begins, and the timer is made, when it is first pending.
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
        timer: Timer,
    }
}

/// An attempt timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Elapsed {
    /// Whose limit bound.
    pub set_by: SetBy,
    /// How far the call had come.
    pub progress: Progress,
}

impl Elapsed {
    /// How far a call got, and whose limit ended it.
    #[must_use]
    pub const fn new(set_by: SetBy, progress: Progress) -> Self {
        Self { set_by, progress }
    }

    /// The rejection of that call by the layer `by`, answered with 504 and gRPC's `DEADLINE_EXCEEDED`.
    ///
    /// A limit of our own that ended a call is a failure of the service. The caller's own limit says nothing about it.
    #[must_use]
    pub fn rejection(self, by: Name) -> Rejection {
        let outcome = match (self.set_by, self.progress) {
            (_, Progress::NotAsked) => Outcome::refusal(),
            (SetBy::Us, Progress::NotReady | Progress::Called) => Outcome::failure().transient(),
            (_, Progress::NotReady | Progress::Called) => Outcome::neutral(),
        };
        Rejection::new(by, Reason::TIMEOUT, outcome)
            .with_status(StatusCode::GATEWAY_TIMEOUT, GrpcCode::DEADLINE_EXCEEDED)
            .with_detail(self)
    }
}

impl RejectionDetail for Elapsed {
    fn describe(&self, by: &Name, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.progress {
            Progress::NotReady => write!(f, "{by} was not ready in time"),
            Progress::NotAsked | Progress::Called => write!(f, "{by} took too long"),
        }
    }
}

/// How far a call had come when it was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Progress {
    /// The inner service was not asked for anything.
    NotAsked,
    /// The inner service was asked whether it is ready, and wasn't.
    NotReady,
    /// The inner service had the request.
    Called,
}

impl Progress {
    /// `not-asked`, `not-ready` or `called`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAsked => "not-asked",
            Self::NotReady => "not-ready",
            Self::Called => "called",
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<F: Call> Attempt<F> {
    /// The attempt that `start` begins; `start` runs inside `scope` already.
    #[inline]
    pub fn start(mut scope: Scope, start: impl FnOnce() -> F) -> Self {
        let call = scope.enter(start);
        Self::begun(call, scope)
    }

    /// The attempt that was begun inside `scope`.
    #[inline]
    pub const fn begun(call: F, scope: Scope) -> Self {
        Self { call: Some(call), scope, timer: Timer::new() }
    }

    /// No attempt: nothing was called, and it is pending for ever.
    pub const fn none() -> Self {
        Self { call: None, scope: Scope::new(), timer: Timer::new() }
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
        match self.as_mut().poll_call(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_limit(cx).map(Err),
        }
    }

    /// Polls the time limit alone, of a call that has just been [polled](Self::poll_call) and is pending.
    ///
    /// The two in turn are [`poll`](Self::poll), for layers that hand the output on as it is: wrapping it in a result
    /// moves it, and moving a response costs more than all the rest.
    ///
    /// # Panics
    /// If it is polled again after it ended the call.
    pub fn poll_limit(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Elapsed> {
        let this = self.as_mut().project();
        if this.call.is_none() {
            polled_again("Attempt");
        }
        let Some(deadline) = this.scope.begin() else {
            // The call wakes whoever polls it.
            return Poll::Pending;
        };
        ready!(this.timer.poll_until(deadline.instant(), cx));
        Poll::Ready(self.end(deadline.set_by()))
    }

    /// Ends the call now, because a limit passed.
    pub fn end(self: Pin<&mut Self>, set_by: SetBy) -> Elapsed {
        let mut this = self.project();
        let progress = this.call.as_ref().get_ref().as_ref().map_or(Progress::Called, Call::progress);
        let call = this.call.as_ref().get_ref().as_ref();
        call.inspect(|call| call.prove_not_called());
        scope::end(set_by, || this.call.set(None));
        Elapsed { set_by, progress }
    }

    /// The attempt's deadline. Starts its limit if it hasn't started.
    #[must_use]
    pub fn deadline(self: Pin<&mut Self>) -> Option<Deadline> {
        self.project().scope.begin()
    }

    /// Gives the call no more time than `scope` has, for a layer that knows only now how much that is.
    ///
    /// Where a buffer further out made the call, the scope around it is known from the first poll on.
    pub fn narrow(self: Pin<&mut Self>, scope: &Scope) {
        self.project().scope.narrow(scope);
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
        self.project().scope.commit();
    }
}

impl<F> fmt::Debug for Attempt<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// Panics, as the futures of the standard library do when they are polled again after they have ended: a future that
/// stayed pending, and woke nobody, would hang its task without a word.
///
/// # Panics
/// Always.
#[cold]
#[track_caller]
#[expect(clippy::panic, reason = "whoever polls a future again has a bug that must show")]
pub fn polled_again(future: &'static str) -> ! {
    panic!("`{future}` was polled after it had ended");
}

/// A timer that costs nothing until it is polled.
#[derive(Debug, Default)]
pub struct Timer {
    // Boxed, since futures are moved about before anything is pending, and most of a timer's size would be moved for nothing.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// A timer that isn't running.
    #[must_use]
    pub const fn new() -> Self {
        Self { sleep: None }
    }

    /// Ready when `until` has passed. The first poll sets the moment.
    pub fn poll_until(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep.get_or_insert_with(|| Box::pin(sleep_until(until))).as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests;
