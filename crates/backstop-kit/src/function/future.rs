//! The outermost part of a call: the function, its rules, and the layers around it.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::{ErrorRef, Outcome, Rejection};
use pin_project_lite::pin_project;

use super::{
    CallError, ErrorRule, ErrorView, Function, FunctionCall, FunctionLayers, JudgeError,
    errors::{judge, judge_rejection},
};
use crate::polled_again;

/// Something to call: [`Once`] or [`Repeatable`].
pub trait StartFunction {
    /// A call of it.
    type Future: Future;

    /// Calls it.
    ///
    /// # Panics
    /// If it was called before, and can't be called again.
    fn start(&mut self) -> Self::Future;
}

/// A closure that may be called again.
pub struct Repeatable<F>(pub F);

impl<F: FnMut() -> Fut, Fut: Future> StartFunction for Repeatable<F> {
    type Future = Fut;

    #[inline]
    fn start(&mut self) -> Fut {
        (self.0)()
    }
}

/// A closure that is called once.
pub struct Once<F>(Option<F>);

impl<F> Once<F> {
    /// Not called yet.
    pub const fn new(function: F) -> Self {
        Self(Some(function))
    }
}

impl<F: FnOnce() -> Fut, Fut: Future> StartFunction for Once<F> {
    type Future = Fut;

    #[inline]
    fn start(&mut self) -> Fut {
        let Some(function) = self.0.take() else { polled_again("FunctionFuture") };
        function()
    }
}

/// A function with the rules for its errors.
pub struct JudgedFunction<F, R>(Option<Parts<F, R>>);

struct Parts<F, R> {
    function: F,
    errors: R,
    repeat_timeouts: bool,
}

impl<F, R> JudgedFunction<F, R> {
    #[inline]
    fn parts(&self) -> &Parts<F, R> {
        self.0.as_ref().unwrap_or_else(|| polled_again("FunctionFuture"))
    }

    #[cold]
    fn judge<E>(&self, error: &E) -> Outcome
    where
        R: JudgeError<E>,
    {
        let Parts { errors, repeat_timeouts, .. } = self.parts();
        judge(errors, error, *repeat_timeouts)
    }

    /// No effect if it was taken, which did this.
    #[cold]
    fn register<E>(&self)
    where
        R: JudgeError<E>,
    {
        if let Some(parts) = &self.0 {
            parts.errors.register();
        }
    }
}

impl<F, R, T, E> Function for JudgedFunction<F, R>
where
    F: StartFunction<Future: Future<Output = Result<T, E>>>,
    E: 'static,
    R: JudgeError<E>,
{
    type Output = Result<T, E>;
    type Future = F::Future;

    #[inline]
    fn start(&mut self) -> F::Future {
        self.0.as_mut().unwrap_or_else(|| polled_again("FunctionFuture")).function.start()
    }

    #[inline]
    fn outcome(&self, output: &Result<T, E>) -> Outcome {
        match output {
            Ok(_) => Outcome::success(),
            Err(error) => self.judge(error),
        }
    }

    fn error<'a>(&self, output: &'a Result<T, E>) -> Option<ErrorRef<'a>> {
        output.as_ref().err().map(|error| self.parts().errors.error_ref(error))
    }

    #[inline]
    fn may_repeat(&self) -> bool {
        let Parts { errors, repeat_timeouts, .. } = self.parts();
        *repeat_timeouts || errors.has_transient() || errors.repeats_timeouts()
    }

    fn outcome_of_rejection(&self, rejection: &Rejection) -> Outcome {
        let Parts { errors, repeat_timeouts, .. } = self.parts();
        judge_rejection::<E, _>(rejection, errors, *repeat_timeouts)
    }

    fn take(&mut self) -> Self {
        self.register::<E>();
        Self(self.0.take())
    }
}

pin_project! {
    /// A protected call of a function.
    ///
    /// Resolves to the function's value, or to a [`CallError`]. Nothing happens before it is polled. `L` are the layers,
    /// `F` is the function, `R` are the rules for its errors.
    ///
    /// # What an error counts as
    ///
    /// | result | circuit breaker | retry |
    /// |---|---|---|
    /// | `Ok` | success | |
    /// | an error for which [`is_answer`](Self::is_answer) is true | success | no |
    /// | an error for which [`transient`](Self::transient) is true | failure | yes |
    /// | a `tonic::Status` (feature `tonic`) | by its code | no |
    /// | any other error | failure | no |
    /// | our time limit passed | failure | only with [`repeat_timeouts`](Self::repeat_timeouts) |
    /// | the caller's earlier deadline passed | nothing | no |
    /// | a layer refused the call | nothing | no |
    /// | a panic, which propagates | failure | no |
    ///
    /// A [`Rejection`] counts in the same way wherever it comes from: these layers, or an error of the function that is one or
    /// holds one, such as that of a guard further in. No rule is asked about it. It says nothing about what else the function
    /// did before.
    ///
    /// That a closure can be called again says nothing about what it has done already: an `INSERT` whose answer was lost
    /// may have been made. So nothing is repeated but what you say may be repeated.
    ///
    /// The rule that was added last is asked first; those of a guard come after those of the call.
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the call, and gives back what it held: its place in line or its permit, and its admission by the
    /// circuit, which counts a dropped call as it counts any other.
    ///
    /// # Panics
    ///
    /// If it is polled again after it has ended.
    #[must_use = "futures do nothing unless polled"]
    pub struct FunctionFuture<L, F, R = ErrorView>
    where
        L: FunctionLayers<JudgedFunction<F, R>>,
        JudgedFunction<F, R>: Function,
    {
        #[pin]
        call: L::Call,
        layers: L,
        function: JudgedFunction<F, R>,
    }
}

impl<L, F, R> FunctionFuture<L, F, R>
where
    L: FunctionLayers<JudgedFunction<F, R>>,
    JudgedFunction<F, R>: Function,
{
    /// Calls `function` through `layers`.
    #[inline]
    pub fn new(layers: L, function: F, errors: R) -> Self {
        let function = JudgedFunction(Some(Parts { function, errors, repeat_timeouts: false }));
        Self { call: layers.begin(), layers, function }
    }

    /// Calls the function again if our time limit ended an attempt, in a guard or a retry.
    ///
    /// Only for functions that may run twice: the attempt that was ended may have done its work.
    pub fn repeat_timeouts(self) -> Self {
        self.map(|parts| Parts { repeat_timeouts: true, ..parts })
    }

    fn with_rule<A>(self, applies: A, outcome: Outcome) -> FunctionFuture<L, F, ErrorRule<A, R>>
    where
        L: FunctionLayers<JudgedFunction<F, ErrorRule<A, R>>>,
        JudgedFunction<F, ErrorRule<A, R>>: Function,
    {
        self.map(|Parts { function, errors, repeat_timeouts }| {
            let errors = ErrorRule::new(applies, outcome, errors);
            Parts { function, errors, repeat_timeouts }
        })
    }

    fn map<R2>(self, f: impl FnOnce(Parts<F, R>) -> Parts<F, R2>) -> FunctionFuture<L, F, R2>
    where
        L: FunctionLayers<JudgedFunction<F, R2>>,
        JudgedFunction<F, R2>: Function,
    {
        FunctionFuture {
            call: FunctionLayers::<JudgedFunction<F, R2>>::begin(&self.layers),
            layers: self.layers,
            function: JudgedFunction(self.function.0.map(f)),
        }
    }
}

impl<L, F, R, T, E> FunctionFuture<L, F, R>
where
    L: FunctionLayers<JudgedFunction<F, R>>,
    F: StartFunction<Future: Future<Output = Result<T, E>>>,
    E: 'static,
    R: JudgeError<E>,
{
    /// An error for which `applies` is true is an answer: the dependency is well, and the call isn't repeated. It is
    /// returned as the error that it is.
    ///
    /// For errors that the caller caused, such as a row that doesn't exist.
    #[expect(clippy::wrong_self_convention, reason = "reads as the rule that it adds")]
    pub fn is_answer<A: Fn(&E) -> bool>(self, applies: A) -> FunctionFuture<L, F, ErrorRule<A, R>>
    where
        L: FunctionLayers<JudgedFunction<F, ErrorRule<A, R>>>,
    {
        self.with_rule(applies, Outcome::callers_fault())
    }

    /// After an error for which `applies` is true, a guard or a retry calls the function again.
    ///
    /// Say so only of errors after which it may run again: because it did nothing, or because doing it twice is no harm.
    pub fn transient<A: Fn(&E) -> bool>(self, applies: A) -> FunctionFuture<L, F, ErrorRule<A, R>>
    where
        L: FunctionLayers<JudgedFunction<F, ErrorRule<A, R>>>,
    {
        self.with_rule(applies, Outcome::failure().transient())
    }
}

impl<L, F, R, T, E> Future for FunctionFuture<L, F, R>
where
    L: FunctionLayers<JudgedFunction<F, R>>,
    F: StartFunction<Future: Future<Output = Result<T, E>>>,
    E: 'static,
    R: JudgeError<E>,
{
    type Output = Result<T, CallError<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(match ready!(this.call.poll_call(this.function, cx)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                this.function.register::<E>();
                Err(CallError::Failed(error))
            }
            Err(rejection) => {
                this.function.register::<E>();
                Err(CallError::Rejected(*rejection))
            }
        })
    }
}

impl<L, F, R> fmt::Debug for FunctionFuture<L, F, R>
where
    L: FunctionLayers<JudgedFunction<F, R>> + fmt::Debug,
    JudgedFunction<F, R>: Function,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionFuture").field("layers", &self.layers).finish_non_exhaustive()
    }
}

impl<F, R> fmt::Debug for JudgedFunction<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JudgedFunction").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for Repeatable<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Repeatable")
    }
}

impl<F> fmt::Debug for Once<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }
}
