//! The future of a page.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use backstop_core::{
    Deadline, Limit, Scope, SetBy,
    scope::{self, CurrentLimit},
};
use pin_project_lite::pin_project;

use crate::{Page, RequiredPartFailed, aggregate::Shared, outcome};

pub(crate) mod schedule;
pub(crate) mod set;
mod wakes;

use schedule::Schedule;
use set::{Flatten, TakeValues};

/// What is left of the caller's time when the page is made of what there is: enough to serialise and send it.
const MARGIN: Duration = Duration::from_millis(50);

pin_project! {
    /// The future of [`Aggregate::gather`](crate::Aggregate::gather) and [`gather_all`](crate::Aggregate::gather_all).
    ///
    /// # Cancellation
    /// Dropping it drops all parts. Nothing is reported, logged or counted then.
    ///
    /// # Panics
    /// If it is polled again after it has ended.
    #[must_use = "futures do nothing unless polled"]
    // The type of what runs, not of the parts: whether it may go to another thread is then plain to the compiler.
    pub struct Gather<'a, S> {
        aggregate: &'a Shared,
        #[pin]
        set: S,
        run: Option<Run>,
    }
}

#[derive(Debug)]
struct Run {
    scope: Scope,
    schedule: Schedule,
}

impl<'a, S> Gather<'a, S> {
    #[inline]
    pub(crate) const fn new(aggregate: &'a Shared, set: S) -> Self {
        Self { aggregate, set, run: None }
    }
}

impl Run {
    #[inline]
    fn begin(aggregate: &Shared) -> Self {
        let settings = aggregate.settings.load();
        Self { scope: page_scope(settings.total), schedule: Schedule::new(settings.max_concurrent) }
    }
}

/// A scope for `total`, or for the time that is left, less a margin.
fn page_scope(total: Duration) -> Scope {
    match scope::limit() {
        CurrentLimit::Endless => Scope::limited(Limit::new(total, SetBy::Us)),
        CurrentLimit::NotBegun(callers) => {
            Scope::limited(Limit::new(total, SetBy::Us).narrowed_by(Some(callers.shortened_by(MARGIN))))
        }
        CurrentLimit::Begun => {
            let callers = scope::deadline().map(|deadline| deadline.earlier_by(MARGIN));
            Scope::narrowed(Deadline::after(total, SetBy::Us).narrowed_by(callers))
        }
    }
}

impl<S: TakeValues> Future for Gather<'_, S> {
    type Output = Result<Page<<S::Values as Flatten>::Flat>, RequiredPartFailed>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let aggregate = *this.aggregate;
        let Run { scope, schedule } = this.run.get_or_insert_with(|| Run::begin(aggregate));
        ready!(scope.enter(|| schedule.poll(this.set.as_mut(), cx, &aggregate.error_text)));
        let status = outcome::conclude(aggregate, this.set.as_mut())?;
        let Some(values) = this.set.take() else { backstop_kit::polled_again("Gather") };
        Poll::Ready(Ok(Page::new(values.flatten(), status)))
    }
}

impl<S> fmt::Debug for Gather<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gather")
            .field("aggregate", &self.aggregate.name)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}
