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
    function::{
        AttemptLayers, CallResult, ErrorView, Function, FunctionCall, FunctionError, FunctionFuture, FunctionLayers,
        Innermost, Once,
    },
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
    pub fn call<F, Fut, T, E, Kind>(&self, function: F) -> FunctionFuture<TimeoutFunctions<'_, Innermost>, Once<F>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: FunctionError<Kind>,
    {
        FunctionFuture::new(self.around(Innermost), Once::new(function), ErrorView::of::<E, Kind>())
    }

    /// Puts the time limit around other layers that functions are called through.
    #[inline]
    pub fn around<L>(&self, inner: L) -> TimeoutFunctions<'_, L> {
        TimeoutFunctions { limit: Some((self.name(), self.limit())), inner }
    }
}

/// Calls functions with a time limit: see [`TimeoutHandle::around`].
#[derive(Clone, Copy, Debug)]
pub struct TimeoutFunctions<'a, L> {
    // `None` without a limit.
    limit: Option<(&'a Name, Duration)>,
    inner: L,
}

impl<L> TimeoutFunctions<'_, L> {
    /// The inner layers alone, for a stack that may have no time limit.
    pub const fn without(inner: L) -> Self {
        Self { limit: None, inner }
    }
}

impl<'a, F: Function, L: AttemptLayers<F>> FunctionLayers<F> for TimeoutFunctions<'a, L> {
    type Call = TimeoutCall<'a, L::Call>;

    #[inline]
    fn begin(&self) -> Self::Call {
        let scope = match self.limit {
            Some((_, limit)) => Scope::limited(Limit::new(limit, SetBy::Us)),
            None => Scope::new(),
        };
        TimeoutCall { attempt: Attempt::begun(self.inner.begin(), scope), has_begun: false, limit: self.limit }
    }
}

impl<F: Function, L: AttemptLayers<F>> AttemptLayers<F> for TimeoutFunctions<'_, L> {}

pin_project! {
    /// A call of a function with a time limit.
    pub struct TimeoutCall<'a, C> {
        #[pin]
        attempt: Attempt<C>,
        has_begun: bool,
        // `None` without a limit.
        limit: Option<(&'a Name, Duration)>,
    }
}

impl<F: Function, C: FunctionCall<F>> FunctionCall<F> for TimeoutCall<'_, C> {
    #[inline]
    fn poll_call(self: Pin<&mut Self>, function: &mut F, cx: &mut Context<'_>) -> Poll<CallResult<F>> {
        let mut this = self.project();
        if !*this.has_begun {
            *this.has_begun = true;
            if let (Some(limit), Some(passed)) = (*this.limit, scope::passed()) {
                this.attempt.drop_call(passed.set_by());
                return Poll::Ready(Err(rejection(limit, passed.set_by(), Progress::NotAsked)));
            }
        }
        let polled = this.attempt.as_mut().poll_by(|call| call.poll_call(function, cx));
        if polled.is_ready() {
            this.attempt.pass_on_reports();
            return polled;
        }
        let Some(limit) = *this.limit else { return Poll::Pending };
        let set_by = ready!(this.attempt.as_mut().poll_deadline(cx));
        this.attempt.drop_call(set_by);
        Poll::Ready(Err(rejection(limit, set_by, Progress::Called)))
    }

    #[inline]
    fn is_waiting(&self) -> bool {
        self.attempt.call().is_some_and(C::is_waiting)
    }
}

fn rejection((name, limit): (&Name, Duration), set_by: SetBy, progress: Progress) -> Box<Rejection> {
    Box::new(telemetry::rejection(name, Some(limit), Elapsed::new(set_by, progress)))
}

impl<C> fmt::Debug for TimeoutCall<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutCall").field("limit", &self.limit).finish_non_exhaustive()
    }
}
