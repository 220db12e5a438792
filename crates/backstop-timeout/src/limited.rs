//! What both time limits are: a call that is ended when its time is up, or isn't begun.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use backstop_core::{Attempt, Call, Deadline, Elapsed, Scope, SetBy, proof::Entered};
use pin_project_lite::pin_project;

pin_project! {
    /// A call with a time limit.
    pub(crate) struct Limited<C> {
        #[pin]
        attempt: Attempt<C>,
        // Why there is none. Beside it, not instead of it: in the place of the call, its few bytes would have the compiler
        // move every call in pieces around them.
        refused: Option<(Elapsed, Entered)>,
    }
}

impl<C: Call> Limited<C> {
    /// A call that was begun in `scope`, until that one's deadline.
    #[inline]
    pub(crate) const fn called(call: C, scope: Scope) -> Self {
        Self { attempt: Attempt::begun(call, scope), refused: None }
    }

    /// No call, since its time was up before it.
    pub(crate) fn refused(elapsed: Elapsed) -> Self {
        Self { attempt: Attempt::none(), refused: Some((elapsed, Entered::now())) }
    }

    /// When its time is up, where it has been begun.
    pub(crate) fn deadline(self: Pin<&mut Self>) -> Option<Deadline> {
        self.project().attempt.deadline()
    }

    /// Polls the call, where it was begun. Its output is handed on as it is.
    #[inline]
    pub(crate) fn poll_call(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let mut attempt = self.project().attempt;
        let polled = attempt.as_mut().poll_call(cx);
        if polled.is_ready() {
            attempt.commit();
        }
        polled
    }

    /// Ends a call that was begun, because a limit of ours passed.
    pub(crate) fn end(self: Pin<&mut Self>) -> Elapsed {
        self.project().attempt.end(SetBy::Us)
    }

    /// Ready when the time of a call is up that is pending. What wasn't called by then is proved not to be.
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
