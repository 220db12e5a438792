//! What both time limits are: a call that is ended when its time is up, or isn't begun.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use backstop_core::{Attempt, Call, Deadline, Elapsed, Scope};
use pin_project_lite::pin_project;

pin_project! {
    #[project = LimitedProject]
    pub(crate) enum Limited<C> {
        Called { #[pin] attempt: Attempt<C> },
        Refused { elapsed: Elapsed },
    }
}

impl<C: Call> Limited<C> {
    /// A call that was begun in `scope`, until that one's deadline.
    #[inline]
    pub(crate) const fn called(call: C, scope: Scope) -> Self {
        Self::Called { attempt: Attempt::begun(call, scope) }
    }

    /// No call, since its time was up before it.
    pub(crate) const fn refused(elapsed: Elapsed) -> Self {
        Self::Refused { elapsed }
    }

    /// When its time is up, where it has been begun.
    #[inline]
    pub(crate) fn deadline(self: Pin<&mut Self>) -> Option<Deadline> {
        match self.project() {
            LimitedProject::Called { attempt } => attempt.deadline(),
            LimitedProject::Refused { .. } => None,
        }
    }

    /// Polls the call, where it was begun. Its output is handed on as it is.
    #[inline]
    pub(crate) fn poll_call(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let LimitedProject::Called { mut attempt } = self.project() else {
            return Poll::Pending;
        };
        let polled = attempt.as_mut().poll_call(cx);
        if polled.is_ready() {
            attempt.commit();
        }
        polled
    }

    /// Ready when the time of a call is up that is pending.
    pub(crate) fn poll_limit(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Elapsed> {
        match self.project() {
            LimitedProject::Called { attempt } => attempt.poll_limit(cx),
            LimitedProject::Refused { elapsed } => Poll::Ready(*elapsed),
        }
    }
}

impl<C> fmt::Debug for Limited<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Called { attempt } => fmt::Debug::fmt(attempt, f),
            Self::Refused { elapsed } => f.debug_tuple("Refused").field(elapsed).finish(),
        }
    }
}
