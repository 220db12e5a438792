//! A part while it runs.
//!
//! | in | on | goes to |
//! |---|---|---|
//! | waiting | its turn | running |
//! | waiting | the page's time is up | failed, as `not-started` |
//! | running | an answer | answered |
//! | running | any other result, a panic, or its time is up | failed |
//! | waiting, running | a required part failed | ended |

use std::{
    any::Any,
    borrow::Cow,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::{Degradation, Freshness, Limit, Name, Scope, SetBy, scope, scope::EndedBy};
use backstop_kit::{Attempt, ErrorText};
use pin_project_lite::pin_project;

use super::{Miss, NOT_STARTED_MISS, Part, PartJudge, Recover};

/// What the page needs to know of a part, whatever its types.
#[derive(Debug)]
pub struct Status {
    pub(crate) name: Name,
    pub(crate) state: State,
    pub(crate) warning: Option<Cow<'static, str>>,
    /// What was reported while it ran, if it answered.
    pub(crate) reports: Vec<Degradation>,
    /// Its own freshness, if it answered with one.
    pub(crate) freshness: Option<Freshness>,
    pub(crate) miss: Option<Box<Miss>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Waiting,
    Running,
    Answered,
    Failed,
    Ended,
}

/// A part while it runs, whatever its types.
pub trait RunSlot {
    #[doc(hidden)]
    fn is_required(&self) -> bool;

    /// The source of the value that takes its place.
    #[doc(hidden)]
    fn source(&self) -> Name;

    #[doc(hidden)]
    fn status(&self) -> &Status;

    #[doc(hidden)]
    fn status_mut(self: Pin<&mut Self>) -> &mut Status;

    /// Polls it. Ready when it has answered or failed: whether the page fails with it.
    #[doc(hidden)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>, errors: &ErrorText) -> Poll<bool>;

    /// Ends it, because its result isn't needed any more.
    #[doc(hidden)]
    fn end(self: Pin<&mut Self>);
}

/// A part with a value.
pub trait TakeValue: RunSlot {
    /// What the page has of it.
    type Value;

    /// Takes it. `None` if the page fails with this part.
    #[doc(hidden)]
    fn take(self: Pin<&mut Self>) -> Option<Self::Value>;
}

pin_project! {
    /// A [`Part`] while it runs. `V` is its own value.
    #[derive(Debug)]
    pub struct Slot<F, J, R, V> {
        #[pin]
        attempt: Attempt<F>,
        judge: J,
        recovery: R,
        answer: Option<V>,
        status: Status,
    }
}

impl<F, J, R, V> Slot<F, J, R, V> {
    #[inline]
    pub(super) fn new(part: Part<F, J, R>) -> Self {
        let Part { name, future, judge, recovery, timeout, warning } = part;
        let scope = timeout.map_or_else(Scope::new, |timeout| Scope::limited(Limit::new(timeout, SetBy::Us)));
        let status = Status { name, state: State::Waiting, warning, reports: Vec::new(), freshness: None, miss: None };
        Self { attempt: Attempt::begun(future, scope), judge, recovery, answer: None, status }
    }
}

impl<F, J, R> RunSlot for Slot<F, J, R, J::Value>
where
    F: Future,
    J: PartJudge<F::Output>,
    R: Recover<J::Value>,
{
    fn is_required(&self) -> bool {
        R::IS_REQUIRED
    }

    fn source(&self) -> Name {
        R::SOURCE
    }

    fn status(&self) -> &Status {
        &self.status
    }

    fn status_mut(self: Pin<&mut Self>) -> &mut Status {
        self.project().status
    }

    // Out of line: otherwise each tuple has a copy of it for each of its parts.
    #[inline(never)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>, errors: &ErrorText) -> Poll<bool> {
        let mut this = self.project();
        this.status.state = State::Running;
        // After a panic, the future is dropped, and nobody sees it half done.
        let polled = caught(|| {
            let output = ready!(this.attempt.as_mut().poll_by(|future| future.poll(cx)));
            let judged = this.judge.judge(output, errors);
            // Gives back what it holds, such as a permit, while the others run.
            this.attempt.as_mut().drop_ended_call();
            Poll::Ready(judged)
        });
        let miss = match polled {
            Ok(Poll::Ready(Ok(answer))) => {
                this.status.freshness = answer.freshness();
                this.status.reports = this.attempt.take_reports();
                this.status.state = State::Answered;
                *this.answer = Some(answer.into_value());
                return Poll::Ready(false);
            }
            Ok(Poll::Ready(Err(miss))) => miss,
            Ok(Poll::Pending) => {
                let set_by = ready!(this.attempt.as_mut().poll_deadline(cx));
                match caught(|| this.attempt.drop_call(set_by)) {
                    Ok(()) => Box::new(Miss::timed_out(&this.status.name, set_by)),
                    Err(payload) => Box::new(Miss::panicked(&*payload, errors)),
                }
            }
            Err(payload) => {
                // A second panic, of its destructor, says nothing more.
                _ = caught(|| this.attempt.drop_ended_call());
                Box::new(Miss::panicked(&*payload, errors))
            }
        };
        this.status.miss = Some(miss);
        this.status.state = State::Failed;
        Poll::Ready(R::IS_REQUIRED)
    }

    fn end(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.status.state = State::Ended;
        // The page fails with another part, whatever the destructor of this one's future does.
        _ = caught(|| scope::end(EndedBy::Replaced, || this.attempt.set(Attempt::none())));
    }
}

impl Status {
    /// It fails before it was polled.
    pub(crate) fn fail_unstarted(&mut self) {
        self.state = State::Failed;
        self.miss = Some(Box::new(NOT_STARTED_MISS));
    }
}

impl<F, J, R> TakeValue for Slot<F, J, R, J::Value>
where
    F: Future,
    J: PartJudge<F::Output>,
    R: Recover<J::Value>,
{
    type Value = R::Value;

    #[inline]
    fn take(self: Pin<&mut Self>) -> Option<R::Value> {
        let this = self.project();
        match this.answer.take() {
            Some(answer) => Some(this.recovery.keep(answer)),
            None => this.recovery.recover(&this.status.miss.as_ref()?.describe(&this.status.name)),
        }
    }
}

/// The result of `f`, or what it panicked with.
#[inline]
fn caught<T>(f: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    panic::catch_unwind(AssertUnwindSafe(f))
}
