//! One attempt: a call in its own scope, with a time limit.

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
    /// One call in its own [scope](backstop_core::scope), which is ended when the scope's deadline passes.
    ///
    /// For layers that limit or repeat calls. The call is polled at least once, even if the deadline has passed. Its time
    /// begins when it is first pending, and no timer is created before that.
    ///
    /// # Cancellation
    /// Dropping it drops the call, and what was reported. While a call is dropped because of the deadline,
    /// [`scope::ended_by`] says so.
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
    /// Whose limit ended it.
    pub set_by: SetBy,
    /// How far the call got.
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
    /// If our own limit ended the call, that is a failure of the service. The caller's limit says nothing about the service.
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
        match (self.progress, self.set_by) {
            (Progress::NotReady, _) => write!(f, "{by} was not ready in time"),
            (_, SetBy::Caller) => write!(f, "{by} took longer than the caller waits"),
            _ => write!(f, "{by} took too long"),
        }
    }
}

/// How far a call got before it was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Progress {
    /// The inner service wasn't polled.
    NotAsked,
    /// The inner service wasn't ready.
    NotReady,
    /// The inner service was called.
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
    /// Starts an attempt. `start` makes the call, inside `scope`.
    #[inline]
    pub fn start(mut scope: Scope, start: impl FnOnce() -> F) -> Self {
        let call = scope.enter(start);
        Self::begun(call, scope)
    }

    /// Polls the call without ending it at the deadline. Layers inside still see the deadline.
    ///
    /// For a layer that has no other answer to return.
    #[inline]
    pub fn poll_call(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.poll_by(|call| call.poll(cx))
    }

    /// Polls the call, then its time limit.
    #[inline]
    pub fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<F::Output, Elapsed>> {
        match self.as_mut().poll_call(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_limit(cx).map(Err),
        }
    }

    /// Polls the time limit of a call that has just been [polled](Self::poll_call) and is pending.
    ///
    /// Layers that return the output unchanged use the two instead of [`poll`](Self::poll), which moves the output into a
    /// result. That move costs more than everything else here.
    ///
    /// # Panics
    /// If it is polled again after it has ended the call.
    pub fn poll_limit(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Elapsed> {
        let set_by = ready!(self.as_mut().poll_deadline(cx));
        Poll::Ready(self.end(set_by))
    }

    /// Ends the call now, because a limit passed.
    pub fn end(self: Pin<&mut Self>, set_by: SetBy) -> Elapsed {
        let progress = self.call.as_ref().map_or(Progress::Called, Call::progress);
        self.call.as_ref().inspect(|call| call.prove_not_called());
        self.drop_call(set_by);
        Elapsed { set_by, progress }
    }
}

impl<F> Attempt<F> {
    /// An attempt whose call was made inside `scope`.
    #[inline]
    pub const fn begun(call: F, scope: Scope) -> Self {
        Self { call: Some(call), scope, timer: Timer::new() }
    }

    /// No attempt: nothing was called, and it is always pending.
    pub const fn none() -> Self {
        Self { call: None, scope: Scope::new(), timer: Timer::new() }
    }

    /// The call, unless it was ended.
    pub const fn call(&self) -> Option<&F> {
        self.call.as_ref()
    }

    /// Polls a call that isn't a future: by `poll`, inside the scope.
    #[inline]
    pub fn poll_by<T>(self: Pin<&mut Self>, poll: impl FnOnce(Pin<&mut F>) -> Poll<T>) -> Poll<T> {
        let this = self.project();
        let Some(call) = this.call.as_pin_mut() else {
            return Poll::Pending;
        };
        // `enter` also narrows this scope to the outer one. `start` had no outer one if a buffer ran it in another task.
        this.scope.enter(|| poll(call))
    }

    /// Ready when the time of a pending call is up. Returns who set the limit. Doesn't drop the call.
    ///
    /// # Panics
    /// If the call was ended.
    pub fn poll_deadline(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SetBy> {
        let this = self.project();
        if this.call.is_none() {
            polled_again("Attempt");
        }
        let Some(deadline) = this.scope.begin() else {
            // No limit: only the call wakes the task.
            return Poll::Pending;
        };
        this.timer.poll_until(deadline.instant(), cx).map(|()| deadline.set_by())
    }

    /// Drops the call, because a limit passed.
    pub fn drop_call(self: Pin<&mut Self>, set_by: SetBy) {
        let mut this = self.project();
        scope::end(set_by, || this.call.set(None));
    }

    /// Drops a call that has ended, and its timer. The scope stays, with what was reported.
    #[inline]
    pub fn drop_ended_call(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.call.set(None);
        *this.timer = Timer::new();
    }

    /// The attempt's deadline. Starts its limit if it hasn't started.
    #[must_use]
    pub fn deadline(self: Pin<&mut Self>) -> Option<Deadline> {
        self.project().scope.begin()
    }

    /// Limits the call to the time of `scope`, for a layer that learns it only after the call was made.
    ///
    /// If a buffer further out made the call, the outer scope is known only from the first poll on.
    pub fn narrow(self: Pin<&mut Self>, scope: &Scope) {
        self.project().scope.narrow(scope);
    }

    /// Takes the scope, with what was reported. For what is awaited after the call has ended, such as the answer's body.
    #[must_use]
    pub fn take_scope(self: Pin<&mut Self>) -> Scope {
        mem::take(self.project().scope)
    }

    /// Takes what was reported during this attempt.
    #[must_use]
    pub fn take_reports(self: Pin<&mut Self>) -> Vec<Degradation> {
        self.project().scope.take_reports()
    }

    /// Moves what was reported during this attempt to the current scope, because its answer was chosen.
    #[inline]
    pub fn pass_on_reports(self: Pin<&mut Self>) {
        self.project().scope.pass_on_reports();
    }
}

impl<F> fmt::Debug for Attempt<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// Panics, as futures of the standard library do when they are polled after they have ended. A future that stays pending
/// without a waker would silently hang its task.
///
/// # Panics
/// Always.
#[cold]
#[track_caller]
#[expect(clippy::panic, reason = "polling a future after its end is a bug that must be visible")]
pub fn polled_again(future: &'static str) -> ! {
    panic!("`{future}` was polled after it had ended");
}

/// A timer that costs nothing until it is polled.
#[derive(Debug, Default)]
pub struct Timer {
    // Boxed, because futures are moved before they are pending, and `Sleep` is large.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// A timer that isn't running.
    #[must_use]
    pub const fn new() -> Self {
        Self { sleep: None }
    }

    /// Ready when `until` has passed. The first poll sets the moment, and later ones may only bring it forward.
    pub fn poll_until(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if until < sleep.deadline() {
            sleep.as_mut().reset(until);
        }
        sleep.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests;
