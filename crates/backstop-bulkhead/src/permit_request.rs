//! A call's request for a permit: it gets one, waits in line, or is refused.
//!
//! | from | on | to |
//! |---|---|---|
//! | asking | there is room | the end: a permit |
//! | asking | there is no permit, but a place in line | waiting |
//! | asking | the line is full | the end: refused |
//! | waiting | it is its turn | the end: a permit |
//! | waiting | `max_wait` or the request's deadline has passed | the end: refused |

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::scope;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    limiter::Limiter,
    permit::{Acquire, Permit, Waiter, WaiterState},
    telemetry::Refusal,
};

pin_project! {
    /// Asks for a permit when it is first polled.
    pub(crate) struct PermitRequest {
        #[pin]
        waiting: Option<Waiting>,
    }
}

impl PermitRequest {
    pub(crate) const fn new() -> Self {
        Self { waiting: None }
    }

    pub(crate) const fn state(&self) -> &'static str {
        if self.waiting.is_some() { "waiting" } else { "asking" }
    }

    /// Polled after its end, it asks again.
    pub(crate) fn poll(
        self: Pin<&mut Self>,
        limiter: &Arc<Limiter>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Permit, Refusal>> {
        let mut waiting = self.project().waiting;
        let result = loop {
            if let Some(waiting) = waiting.as_mut().as_pin_mut() {
                break ready!(waiting.poll(cx));
            }
            match Acquire::ask(limiter, cx.waker()) {
                Acquire::Admitted(permit) => break Ok(permit),
                Acquire::Queued(waiter) => waiting.set(Some(Waiting::new(waiter))),
                Acquire::Full => break Err(Refusal::Full),
            }
        };
        waiting.set(None);
        Poll::Ready(result)
    }
}

pin_project! {
    /// A call that waits in line, with a limit.
    struct Waiting {
        waiter: Waiter,
        limit: Instant,
        refusal: Refusal,
        // Fires at the limit, or when the next permit expires.
        #[pin]
        timer: Sleep,
    }
}

impl Waiting {
    fn new(waiter: Waiter) -> Self {
        let limit = Instant::now() + waiter.limiter().max_wait();
        let (limit, refusal) = match scope::deadline() {
            Some(deadline) if deadline.instant() <= limit => (deadline.instant(), Refusal::Deadline(deadline.set_by())),
            _ => (limit, Refusal::Waited),
        };
        Self { waiter, limit, refusal, timer: sleep_until(limit) }
    }
}

impl Future for Waiting {
    type Output = Result<Permit, Refusal>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let look_again = match this.waiter.poll(cx.waker()) {
                WaiterState::Admitted(permit) => return Poll::Ready(Ok(permit)),
                WaiterState::Waiting { look_again } => look_again.map_or(*this.limit, |at| at.min(*this.limit)),
            };
            if this.timer.deadline() != look_again {
                this.timer.as_mut().reset(look_again);
            }
            ready!(this.timer.as_mut().poll(cx));
            if Instant::now() >= *this.limit {
                return Poll::Ready(Err(*this.refusal));
            }
        }
    }
}
