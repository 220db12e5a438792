//! Calls of functions with a time limit.
//!
//! | from | on | to |
//! |---|---|---|
//! | – | it is first polled, and the scope's deadline has passed | the end: the rejection |
//! | – | it is first polled otherwise | called |
//! | called | the call ends | the end: its result |
//! | called | the limit, or the scope's earlier deadline, passes | the end: the call is dropped, the rejection |

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use backstop_core::{Limit, Name, Rejection, Scope, SetBy, scope};
use backstop_kit::{
    Attempt, Elapsed, Progress,
    function::{Called, Function, FunctionCall, FunctionFuture, Once},
    polled_again,
};
use pin_project_lite::pin_project;

use crate::{TimeoutHandle, telemetry};

impl TimeoutHandle {
    /// Calls a function, and ends it when its time is up: the layer's limit, or the time left until the deadline of the
    /// [scope](backstop_core::scope) if that is shorter.
    ///
    /// ```
    /// use std::{future::pending, time::Duration};
    /// use backstop_timeout::{CallError, TimeoutLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let timeout = TimeoutLayer::builder("db").limit(Duration::from_millis(300)).build()?.handle();
    /// let result = timeout.call(|| pending::<Result<(), std::io::Error>>()).await;
    /// assert!(matches!(result, Err(CallError::Rejected(late)) if late.reason().as_str() == "timeout"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancellation
    /// Dropping the future drops the call, and nothing is counted.
    #[inline]
    pub fn call<F, Fut, T, E>(&self, function: F) -> FunctionFuture<TimeoutCall<'_, Called<Fut>>, Once<F>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        FunctionFuture::new(self.around(Called::new()), Once::new(function), ())
    }

    /// Puts the time limit around another layer's call of a function.
    #[inline]
    pub fn around<C>(&self, inner: C) -> TimeoutCall<'_, C> {
        TimeoutCall::new(inner, Some((self.name(), self.limit())))
    }
}

pin_project! {
    /// A call of a function with a time limit: see [`TimeoutHandle::around`].
    pub struct TimeoutCall<'a, C> {
        #[pin]
        attempt: Attempt<C>,
        stage: Stage,
        // `None` without a limit.
        limit: Option<(&'a Name, Duration)>,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Called,
    /// Its limit has passed.
    Ended,
}

impl<'a, C> TimeoutCall<'a, C> {
    #[inline]
    fn new(inner: C, limit: Option<(&'a Name, Duration)>) -> Self {
        let scope = match limit {
            Some((_, limit)) => Scope::limited(Limit::new(limit, SetBy::Us)),
            None => Scope::new(),
        };
        Self { attempt: Attempt::begun(inner, scope), stage: Stage::New, limit }
    }

    /// The call alone, for a stack that may have no time limit.
    pub fn without(inner: C) -> Self {
        Self::new(inner, None)
    }
}

impl<F: Function, C: FunctionCall<F>> FunctionCall<F> for TimeoutCall<'_, C> {
    #[inline]
    fn poll_call(self: Pin<&mut Self>, function: &mut F, cx: &mut Context<'_>) -> Poll<Result<F::Output, Rejection>> {
        let mut this = self.project();
        match (*this.stage, *this.limit) {
            (Stage::New, Some(limit)) => {
                if let Some(passed) = scope::passed() {
                    *this.stage = Stage::Ended;
                    return Poll::Ready(Err(rejection(limit, passed.set_by(), Progress::NotAsked)));
                }
                *this.stage = Stage::Called;
            }
            (Stage::Ended, _) => polled_again("FunctionFuture"),
            _ => {}
        }
        let polled = this.attempt.as_mut().poll_by(|call| call.poll_call(function, cx));
        if polled.is_ready() {
            this.attempt.pass_on_reports();
            return polled;
        }
        let Some(limit) = *this.limit else { return Poll::Pending };
        let set_by = ready!(this.attempt.as_mut().poll_deadline(cx));
        *this.stage = Stage::Ended;
        if let Some(next) = this.attempt.call().map(C::again) {
            this.attempt.replace(set_by, next);
        }
        Poll::Ready(Err(rejection(limit, set_by, Progress::Called)))
    }

    fn again(&self) -> Self {
        // There is always a call: an ended one was replaced.
        match self.attempt.call() {
            Some(call) => Self::new(call.again(), self.limit),
            None => polled_again("FunctionFuture"),
        }
    }
}

fn rejection((name, limit): (&Name, Duration), set_by: SetBy, progress: Progress) -> Rejection {
    telemetry::rejection(name, Some(limit), Elapsed::new(set_by, progress))
}

impl<C> fmt::Debug for TimeoutCall<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutCall").field("stage", &self.stage).field("limit", &self.limit).finish_non_exhaustive()
    }
}
