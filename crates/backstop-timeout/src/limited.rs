//! A call with a time limit, for the timeout and the deadline.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use backstop_core::{Deadline, Scope, SetBy};
use backstop_kit::{Attempt, Call, Elapsed, proof::Entered};
use pin_project_lite::pin_project;

pin_project! {
    /// A call with a time limit.
    pub(crate) struct Limited<C> {
        #[pin]
        attempt: Attempt<C>,
        // Why there is no call. A field instead of an enum, which the compiler would move variant by variant.
        refused: Option<(Elapsed, Entered)>,
    }
}

impl<C: Call> Limited<C> {
    /// A call that was started in `scope`, until the scope's deadline.
    #[inline]
    pub(crate) const fn called(call: C, scope: Scope) -> Self {
        Self { attempt: Attempt::begun(call, scope), refused: None }
    }

    /// No call, because no time was left.
    pub(crate) fn refused(elapsed: Elapsed) -> Self {
        Self { attempt: Attempt::none(), refused: Some((elapsed, Entered::now())) }
    }

    /// When its time is up.
    pub(crate) fn deadline(self: Pin<&mut Self>) -> Option<Deadline> {
        self.project().attempt.deadline()
    }

    /// Polls the call, if there is one.
    #[inline]
    pub(crate) fn poll_call(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let mut attempt = self.project().attempt;
        let polled = attempt.as_mut().poll_call(cx);
        if polled.is_ready() {
            attempt.pass_on_reports();
        }
        polled
    }

    /// Ends the call because our limit passed.
    pub(crate) fn end(self: Pin<&mut Self>) -> Elapsed {
        self.project().attempt.end(SetBy::Us)
    }

    /// Ready when the time of a pending call is up. If the service wasn't called, proves it.
    pub(crate) fn poll_limit(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Elapsed> {
        let this = self.project();
        match this.refused {
            None => this.attempt.poll_limit(cx),
            Some((elapsed, entered)) => {
                entered.prove();
                Poll::Ready(*elapsed)
            }
        }
    }
}

impl<C> fmt::Debug for Limited<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.refused {
            None => fmt::Debug::fmt(&self.attempt, f),
            Some((elapsed, _)) => f.debug_tuple("Refused").field(elapsed).finish(),
        }
    }
}
