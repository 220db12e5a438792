//! Calls of functions that are repeated.
//!
//! | state | on | to |
//! |---|---|---|
//! | passing, or the only attempt | the call ends | the end: its result |
//! | first attempt | a result that isn't repeated | the end: that result |
//! | first attempt | a result worth another attempt | [repeating](crate::retry_loop), with the function |
//! | repeating | the end of the retry loop | the end |
//!
//! The retry loop makes attempts of services, so it gets one that calls the function. It and its judge share the function
//! by a lock, which nobody else ever holds. A call that succeeds at once has neither.

use std::{
    fmt,
    future::{Ready, ready},
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use backstop_core::{Classify, ErrorRef, Limit, Outcome, Reason, Rejection, ResultClassify, Scope, SetBy, Verdict};
use backstop_kit::{
    CloneCopy, Judge, KeepAnswer, RejectAsError, RequestFacts, Snapshot, Strategies, UntilHeaders,
    function::{
        AttemptLayers, CallResult, ErrorView, Function, FunctionCall, FunctionError, FunctionFuture, FunctionLayers,
        Innermost, Repeatable,
    },
    polled_again,
    proof::Frame,
};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use crate::{
    RetryHandle,
    attempt_span::AttemptSpan,
    config::Settings,
    layer_state::{LayerState, RetryState},
    planner::{AttemptResult, RetryPlanner},
    request_state::{ReplaySource, RequestState},
    retry_loop::RetryLoop,
};

impl RetryHandle {
    /// Calls a function, and calls it again after errors that are [`transient`](FunctionFuture::transient).
    ///
    /// ```
    /// use std::{cell::Cell, io};
    /// use backstop_retry::{RetryLayer, name};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let calls = Cell::new(0);
    /// let lookup = async || {
    ///     calls.set(calls.get() + 1);
    ///     if calls.get() < 3 { Err(io::Error::from(io::ErrorKind::ConnectionReset)) } else { Ok(7) }
    /// };
    /// let retry = RetryLayer::new(name!("dns")).handle();
    /// let found = retry.call(lookup).transient(|error| error.kind() == io::ErrorKind::ConnectionReset).await?;
    /// assert_eq!((found, calls.get()), (7, 3));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancellation
    /// Dropping the future drops the running attempt. No other attempt is made.
    #[inline]
    pub fn call<F, Fut, T, E, Kind>(&self, function: F) -> FunctionFuture<RetryFunctions<'_, Innermost>, Repeatable<F>>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: FunctionError<Kind>,
    {
        FunctionFuture::new(self.around(Innermost), Repeatable(function), ErrorView::of::<E, Kind>())
    }

    /// Puts the retry around other layers that functions are called through.
    #[inline]
    pub fn around<L>(&self, inner: L) -> RetryFunctions<'_, L> {
        RetryFunctions { retry: Some(self.state()), inner }
    }
}

/// Calls functions, and repeats them: see [`RetryHandle::around`]. The outermost layer.
#[derive(Clone, Copy)]
pub struct RetryFunctions<'a, L> {
    // `None` without a retry.
    retry: Option<&'a Arc<RetryState>>,
    inner: L,
}

impl<L> RetryFunctions<'_, L> {
    /// The inner layers alone, for a stack that may have no retry.
    pub const fn without(inner: L) -> Self {
        Self { retry: None, inner }
    }
}

impl<'a, F: Function, L: AttemptLayers<F>> FunctionLayers<F> for RetryFunctions<'a, L> {
    type Call = RetryCall<'a, L, F>;

    #[inline]
    fn begin(&self) -> Self::Call {
        RetryCall {
            call: self.inner.begin(),
            scope: Scope::new(),
            span: AttemptSpan::none(),
            stage: Stage::New,
            settings: None,
            retry_loop: None,
            retry: self.retry,
            layers: self.inner.clone(),
        }
    }
}

pin_project! {
    /// A call of a function that may be repeated.
    // No enum of its states: that would have the compiler move the call.
    pub struct RetryCall<'a, L, F>
    where
        F: Function,
        L: AttemptLayers<F>,
    {
        // The first attempt.
        #[pin]
        call: L::Call,
        scope: Scope,
        span: AttemptSpan,
        stage: Stage,
        // From the first poll until it fails.
        settings: Option<Snapshot<Settings>>,
        // Once it is repeated. Boxed: it is rare, and large.
        retry_loop: Option<Box<RetryLoop<Attempts<L, F>, (), FunctionStrategies<F>>>>,
        // `None` without a retry.
        retry: Option<&'a Arc<RetryState>>,
        layers: L,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    /// Without a retry, or with one of a single attempt.
    Passing,
    /// Of a function that is never repeated. It pays nothing, and has no total.
    SingleAttempt,
    First,
    Repeating,
    Done,
}

impl<L, F> RetryCall<'_, L, F>
where
    F: Function,
    L: AttemptLayers<F>,
{
    /// Takes the settings, and pays into the budget if the function may be repeated.
    #[inline]
    fn begin(self: Pin<&mut Self>, function: &F) {
        let this = self.project();
        *this.stage = Stage::Passing;
        let Some(retry) = *this.retry else { return };
        retry.requests.increment();
        let snapshot = retry.live.snapshot();
        let settings = retry.live.at(&snapshot);
        if settings.max_attempts == 1 {
            return;
        }
        *this.span = AttemptSpan::open(retry.live.name(), 1, None);
        *this.stage = Stage::SingleAttempt;
        if function.may_repeat() {
            settings.budget.as_ref().inspect(|budget| budget.deposit());
            *this.scope = Scope::limited(Limit::new(settings.total, SetBy::Us));
            *this.settings = Some(snapshot);
            *this.stage = Stage::First;
        }
    }

    /// The only attempt has ended, or the first one with a result that isn't repeated.
    #[inline]
    fn end(retry: &RetryState, span: &mut AttemptSpan, outcome: Outcome, function: &F, result: &CallResult<F>) {
        if outcome.verdict == Verdict::Success {
            span.end(|| (outcome.verdict, None));
        } else {
            Self::finish_failed(retry, span, outcome, error(function, result));
        }
    }

    #[cold]
    fn finish_failed(retry: &RetryState, span: &mut AttemptSpan, outcome: Outcome, error: Option<ErrorRef<'_>>) {
        retry.log_not_worth_repeating(1, &outcome, retry.logged(error));
        span.end(|| (outcome.verdict, Some(reason(error))));
    }

    /// The first attempt has failed, and may be repeated: the final result, if it isn't.
    #[cold]
    fn repeat(
        self: Pin<&mut Self>,
        outcome: Outcome,
        result: CallResult<F>,
        function: &mut F,
    ) -> Option<CallResult<F>> {
        let mut this = self.project();
        let (Some(retry), Some(settings)) = (*this.retry, this.settings.take()) else { polled_again("FunctionFuture") };
        let deadline = retry.deadline_after_first(retry.live.at(&settings), this.scope);
        let answer =
            AttemptResult { result: result.map_err(|rejection| *rejection), reports: this.scope.take_reports() };
        let request_state = shared_state(retry, settings, this.layers.clone(), function.take());
        let span = mem::replace(this.span, AttemptSpan::none());
        // Proof is a matter of services.
        let mut planner = RetryPlanner::new(request_state, deadline, Frame::detached(), span);
        let step = planner.after(outcome, answer);
        // Drops the attempt, and what it holds, before the wait.
        this.call.set(this.layers.begin());
        match RetryLoop::begin(planner, step) {
            Ok(retry_loop) => {
                *this.stage = Stage::Repeating;
                *this.retry_loop = Some(Box::new(retry_loop));
                None
            }
            Err(result) => {
                *this.stage = Stage::Done;
                Some(result.map_err(Box::new))
            }
        }
    }

    #[cold]
    fn poll_loop(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CallResult<F>> {
        let this = self.project();
        let Some(retry_loop) = this.retry_loop else { polled_again("FunctionFuture") };
        let result = ready!(retry_loop.poll(cx));
        *this.stage = Stage::Done;
        *this.retry_loop = None;
        Poll::Ready(result.map_err(Box::new))
    }
}

impl<F: Function, L: AttemptLayers<F>> FunctionCall<F> for RetryCall<'_, L, F> {
    #[inline]
    fn poll_call(mut self: Pin<&mut Self>, function: &mut F, cx: &mut Context<'_>) -> Poll<CallResult<F>> {
        if self.stage == Stage::New {
            self.as_mut().begin(function);
        }
        let this = self.as_mut().project();
        match (*this.stage, *this.retry) {
            (Stage::First, Some(retry)) => {
                let polled = {
                    let _in_span = this.span.enter();
                    this.scope.enter(|| this.call.poll_call(function, cx))
                };
                let Poll::Ready(result) = &polled else {
                    // The time of all attempts begins with the wait for the first one.
                    this.scope.begin();
                    return Poll::Pending;
                };
                let outcome = outcome(function, result);
                if !outcome.transient {
                    Self::end(retry, this.span, outcome, function, result);
                    this.scope.pass_on_reports();
                    return polled;
                }
                if let Poll::Ready(result) = polled
                    && let Some(result) = self.as_mut().repeat(outcome, result, function)
                {
                    return Poll::Ready(result);
                }
                self.poll_loop(cx)
            }
            (Stage::SingleAttempt, Some(retry)) => {
                let polled = {
                    let _in_span = this.span.enter();
                    this.call.poll_call(function, cx)
                };
                if let Poll::Ready(result) = &polled {
                    Self::end(retry, this.span, outcome(function, result), function, result);
                }
                polled
            }
            (Stage::Passing, _) => this.call.poll_call(function, cx),
            _ => self.poll_loop(cx),
        }
    }
}

#[inline]
fn outcome<F: Function>(function: &F, result: &CallResult<F>) -> Outcome {
    match result {
        Ok(output) => function.outcome(output),
        Err(rejection) => function.outcome_of_rejection(rejection),
    }
}

fn error<'a, F: Function>(function: &F, result: &'a CallResult<F>) -> Option<ErrorRef<'a>> {
    match result {
        Ok(output) => function.error(output),
        Err(rejection) => Some(ErrorRef::new(&**rejection)),
    }
}

fn reason(error: Option<ErrorRef<'_>>) -> Reason {
    error.map_or(Reason::ERROR, |error| Classify::<()>::reason(&ResultClassify::new(), Err(error)))
}

/// The strategies of the retry loop for a function `F`.
type FunctionStrategies<F> = Strategies<SharedFunction<F>, RejectAsError, UntilHeaders, CloneCopy, KeepOutput>;

/// What the retry loop needs.
fn shared_state<L, F>(
    retry: &Arc<RetryState>,
    settings: Snapshot<Settings>,
    layers: L,
    function: F,
) -> RequestState<Attempts<L, F>, (), FunctionStrategies<F>> {
    let function = SharedFunction(Arc::new(Mutex::new(function)));
    let judge = function.clone();
    let protocol =
        Strategies { judge, reject: RejectAsError::new(), until: UntilHeaders, copy: CloneCopy, keep: KeepOutput };
    RequestState {
        layer: Arc::new(LayerState { retry: Arc::clone(retry), protocol }),
        settings,
        // Only what may be repeated is transient.
        facts: RequestFacts::none().idempotent(),
        replay: Ok(ReplaySource { service: Attempts { layers, function }, kept: () }),
    }
}

/// A function that the attempts and their judge share.
struct SharedFunction<F>(Arc<Mutex<F>>);

impl<F> SharedFunction<F> {
    fn lock(&self) -> MutexGuard<'_, F> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> Clone for SharedFunction<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: Function> Judge<F::Output> for SharedFunction<F> {
    fn outcome(&self, _: RequestFacts, result: Result<&mut F::Output, ErrorRef<'_>>) -> Outcome {
        match result {
            Ok(output) => self.lock().outcome(output),
            Err(error) => match Rejection::in_error(error) {
                Some(rejection) => self.lock().outcome_of_rejection(rejection),
                None => Outcome::failure(),
            },
        }
    }

    fn reason(&self, _: RequestFacts, result: Result<&mut F::Output, ErrorRef<'_>>) -> Reason {
        let error = match result {
            Ok(output) => self.lock().error(output),
            Err(error) => Some(error),
        };
        reason(error)
    }

    fn error<'a>(&self, output: &'a F::Output) -> Option<ErrorRef<'a>> {
        self.lock().error(output)
    }
}

/// Keeps a function's output as it is.
struct KeepOutput;

impl<Output> KeepAnswer<Output> for KeepOutput {
    type Keeping = Ready<Option<Output>>;

    fn keep(&self, output: Output, _: Instant) -> Self::Keeping {
        ready(Some(output))
    }
}

/// Makes an attempt of each call.
struct Attempts<L, F> {
    layers: L,
    function: SharedFunction<F>,
}

impl<L: Clone, F> Clone for Attempts<L, F> {
    fn clone(&self) -> Self {
        Self { layers: self.layers.clone(), function: self.function.clone() }
    }
}

impl<F: Function, L: AttemptLayers<F>> Service<()> for Attempts<L, F> {
    type Response = F::Output;
    type Error = Rejection;
    type Future = AttemptFuture<L::Call, F>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        AttemptFuture { call: self.layers.begin(), function: self.function.clone() }
    }
}

pin_project! {
    struct AttemptFuture<C, F> {
        #[pin]
        call: C,
        function: SharedFunction<F>,
    }
}

impl<F: Function, C: FunctionCall<F>> Future for AttemptFuture<C, F> {
    type Output = Result<F::Output, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut function = this.function.lock();
        this.call.poll_call(&mut *function, cx).map_err(|rejection| *rejection)
    }
}

impl<L: fmt::Debug> fmt::Debug for RetryFunctions<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.retry.map(|retry| retry.live.name());
        f.debug_struct("RetryFunctions").field("name", &name).field("inner", &self.inner).finish()
    }
}

impl<F: Function, L: AttemptLayers<F>> fmt::Debug for RetryCall<'_, L, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryCall").field("stage", &self.stage).finish_non_exhaustive()
    }
}
