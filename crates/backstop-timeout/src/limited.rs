//! What both time limits are: a call that is ended when its time is up, or isn't begun.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::{Attempt, Call, Deadline, Progress, Scope, SetBy};
use pin_project_lite::pin_project;

pin_project! {
    #[project = LimitedProject]
    pub(crate) enum Limited<C> {
        Called { #[pin] attempt: Attempt<C> },
        Refused { set_by: SetBy, progress: Progress },
    }
}

/// Whose limit bound, and how far the call had come.
pub(crate) type TimeIsUp = (SetBy, Progress);

impl<C: Call> Limited<C> {
    /// The call that `start` begins, until `deadline`, or until an earlier one of the scope.
    #[inline]
    pub(crate) fn called(deadline: Deadline, start: impl FnOnce() -> C) -> Self {
        Self::Called { attempt: Attempt::start(Scope::narrowed(deadline), start) }
    }

    /// No call, since its time was up before it.
    pub(crate) const fn refused(set_by: SetBy, progress: Progress) -> Self {
        Self::Refused { set_by, progress }
    }

    /// When its time is up, where it has been begun.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Deadline> {
        match self {
            Self::Called { attempt } => attempt.deadline(),
            Self::Refused { .. } => None,
        }
    }

    #[inline]
    pub(crate) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<C::Output, TimeIsUp>> {
        Poll::Ready(match self.project() {
            LimitedProject::Called { mut attempt } => match ready!(attempt.as_mut().poll(cx)) {
                Ok(output) => {
                    attempt.commit();
                    Ok(output)
                }
                Err(elapsed) => Err((elapsed.set_by, elapsed.progress)),
            },
            LimitedProject::Refused { set_by, progress } => Err((*set_by, *progress)),
        })
    }
}

impl<C> fmt::Debug for Limited<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Called { attempt } => fmt::Debug::fmt(attempt, f),
            Self::Refused { progress, .. } => f.debug_tuple("Refused").field(progress).finish(),
        }
    }
}
