//! The standard stack for plain async functions.

use std::{error::Error, fmt, sync::Arc};

use backstop_bulkhead::{BulkheadFunctions, BulkheadHandle, BulkheadLayer};
use backstop_circuit_breaker::{CircuitBreakerFunctions, CircuitBreakerHandle, CircuitBreakerLayer};
use backstop_core::{ErrorRef, Inspect, Name, Outcome};
use backstop_kit::function::{ErrorView, FunctionError, FunctionFuture, Innermost, JudgeError, Once, Repeatable};
use backstop_retry::{RetryFunctions, RetryHandle, RetryLayer};
use backstop_timeout::{TimeoutFunctions, TimeoutHandle, TimeoutLayer};

use crate::standard::{Optional, Parts, Standard};

/// Protects calls of plain async functions, such as queries of a database: retry → circuit breaker → bulkhead → timeout.
///
/// [`Standard::guard`] makes it. It has no type parameters, so it goes into an app's state. Clones
/// share everything.
///
/// ```
/// use std::{io, time::Duration};
/// use backstop::{CallError, Standard, name};
///
/// # async fn load(path: &str) -> io::Result<String> { Err(io::ErrorKind::NotFound.into()) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let files = Standard::new(name!("files")).guard().is_answer(|error: &io::Error| error.kind() == io::ErrorKind::NotFound);
///
/// let path = String::from("/srv/greeting");
/// match files.call(|| load(&path)).await {
///     Ok(greeting) => println!("{greeting}"),
///     Err(CallError::Failed(error)) => println!("no greeting: {error}"),
///     // The circuit is open, the bulkhead is full, or the time was up.
///     Err(error) => println!("not asked: {error}"),
/// }
/// # }
/// ```
///
/// # What is repeated
///
/// **Nothing, unless you say so.** A closure that can be called again may still be an `INSERT` that was made before its
/// answer was lost. So [`transient`](Self::transient) says after which errors a function may run again, and
/// [`repeat_timeouts`](Self::repeat_timeouts) that it may after an attempt that took too long. Refusals are never
/// repeated, and nothing that is called by [`call_once`](Self::call_once). [This
/// table](FunctionFuture#what-an-error-counts-as) has all cases.
///
/// Say it on the guard for all calls, or on one call: `guard.call(|| load(&path)).transient(|error| …).await`.
///
/// # Time and cancellation
///
/// An attempt ends after the timeout's limit, 1 s unless set, or at the deadline of the request's [scope](crate::scope) if
/// that is earlier: inside a [`DeadlineLayer`](crate::DeadlineLayer), a query never outlives its request. Dropping a call
/// gives back its permits, and makes no more attempts.
///
/// # Functions and services together
///
/// The guard shares the circuit, the permits and the retry budget with the stack that it was made of. Classifiers of that
/// stack judge its services alone: for functions there are the rules above.
#[derive(Clone)]
#[must_use = "a guard does nothing until a function is called through it"]
pub struct Guard {
    state: Arc<State>,
}

#[derive(Clone)]
struct State {
    name: Name,
    // Each is `None` if it was left out.
    retry: Option<RetryHandle>,
    circuit_breaker: Option<CircuitBreakerHandle>,
    bulkhead: Option<BulkheadHandle>,
    timeout: Option<TimeoutHandle>,
    rules: GuardRules,
}

/// A call through a [`Guard`]: see [`Guard::call`].
pub type GuardCall<'g, F> = FunctionFuture<RetryFunctions<'g, GuardAttempts<'g>>, Repeatable<F>, GuardErrors<'g>>;

/// A call through a [`Guard`] that is never repeated: see [`Guard::call_once`].
pub type GuardCallOnce<'g, F> = FunctionFuture<GuardAttempts<'g>, Once<F>, GuardErrors<'g>>;

/// The layers around each attempt of a guard.
pub type GuardAttempts<'g> = CircuitBreakerFunctions<'g, BulkheadFunctions<'g, TimeoutFunctions<'g, Innermost>>>;

impl Guard {
    /// Calls a function, and again if it may be repeated.
    ///
    /// The function and its future may borrow. [`FunctionFuture`] has rules for this call alone.
    ///
    /// # Errors
    /// The future resolves to [`CallError`](crate::CallError).
    ///
    /// # Cancellation
    /// Dropping the future drops the running attempt, gives back its permits, and makes no other attempt.
    #[inline]
    pub fn call<F, Fut, T, E, Kind>(&self, function: F) -> GuardCall<'_, F>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: FunctionError<Kind>,
    {
        let attempts = self.attempts();
        let layers = match &self.state.retry {
            Some(retry) => retry.around(attempts),
            None => RetryFunctions::without(attempts),
        };
        FunctionFuture::new(layers, Repeatable(function), self.errors::<E, Kind>())
    }

    /// Calls a function that can't be called again. As [`call`](Self::call), without retries.
    #[inline]
    pub fn call_once<F, Fut, T, E, Kind>(&self, function: F) -> GuardCallOnce<'_, F>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: FunctionError<Kind>,
    {
        FunctionFuture::new(self.attempts(), Once::new(function), self.errors::<E, Kind>())
    }

    /// Every part, from outside to inside, for an inventory: `inventory.register_all(guard.components())`.
    #[must_use]
    pub fn components(&self) -> Vec<Arc<dyn Inspect>> {
        let State { retry, circuit_breaker, bulkhead, timeout, .. } = (*self.state).clone();
        let parts: [Option<Arc<dyn Inspect>>; 4] = [
            retry.map(|part| Arc::new(part) as _),
            circuit_breaker.map(|part| Arc::new(part) as _),
            bulkhead.map(|part| Arc::new(part) as _),
            timeout.map(|part| Arc::new(part) as _),
        ];
        parts.into_iter().flatten().collect()
    }

    /// Errors of type `E` for which `applies` is true are answers: the dependency is well, and the call isn't repeated.
    /// They are returned as the errors that they are.
    ///
    /// For errors that the caller caused, such as a row that doesn't exist. Also finds an `E` inside a box, and among an
    /// error's causes. The rule that was added last is asked first.
    #[expect(clippy::wrong_self_convention, reason = "reads as the rule that it adds")]
    pub fn is_answer<E: Error + 'static>(self, applies: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.with_rule(applies, Outcome::callers_fault())
    }

    /// After errors of type `E` for which `applies` is true, [`call`](Self::call) calls the function again.
    ///
    /// Say so only of errors after which the functions may run again: because they did nothing, or because doing it twice
    /// is no harm. Finds errors as [`is_answer`](Self::is_answer) does.
    pub fn transient<E: Error + 'static>(self, applies: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.with_rule(applies, Outcome::failure().transient())
    }

    /// [`call`](Self::call) calls the function again if the timeout's limit ended an attempt.
    ///
    /// Only for functions that may run twice: the attempt that was ended may have done its work.
    pub fn repeat_timeouts(self) -> Self {
        self.with(|state| state.rules.repeat_timeouts = true)
    }

    fn with_rule<E: Error + 'static>(
        self,
        applies: impl Fn(&E) -> bool + Send + Sync + 'static,
        outcome: Outcome,
    ) -> Self {
        let rule = Arc::new(move |error: ErrorRef<'_>| error.find().is_some_and(&applies).then_some(outcome));
        self.with(|state| {
            state.rules.errors.push(rule);
            state.rules.has_transient |= outcome.transient;
        })
    }

    /// Changes this guard, and not its clones.
    fn with(self, change: impl FnOnce(&mut State)) -> Self {
        let mut state = Arc::unwrap_or_clone(self.state);
        change(&mut state);
        Self { state: Arc::new(state) }
    }

    #[inline]
    fn errors<E: FunctionError<Kind>, Kind>(&self) -> GuardErrors<'_> {
        GuardErrors { rules: &self.state.rules, view: ErrorView::of::<E, Kind>() }
    }

    #[inline]
    fn attempts(&self) -> GuardAttempts<'_> {
        let State { circuit_breaker, bulkhead, timeout, .. } = &*self.state;
        let timed = match timeout {
            Some(timeout) => timeout.around(Innermost),
            None => TimeoutFunctions::without(Innermost),
        };
        let bounded = match bulkhead {
            Some(bulkhead) => bulkhead.around(timed),
            None => BulkheadFunctions::without(timed),
        };
        match circuit_breaker {
            Some(circuit) => circuit.around(bounded),
            None => CircuitBreakerFunctions::without(bounded),
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("name", &self.state.name).finish_non_exhaustive()
    }
}

/// A guard's rules for errors of any type.
#[derive(Clone, Default)]
struct GuardRules {
    errors: Vec<Arc<Rule>>,
    /// Whether one of them makes an error transient.
    has_transient: bool,
    repeat_timeouts: bool,
}

type Rule = dyn Fn(ErrorRef<'_>) -> Option<Outcome> + Send + Sync;

/// A guard's rules for the errors of one call.
#[derive(Clone, Copy)]
pub struct GuardErrors<'g> {
    rules: &'g GuardRules,
    view: ErrorView,
}

impl<E: 'static> JudgeError<E> for GuardErrors<'_> {
    fn outcome(&self, error: &E) -> Option<Outcome> {
        let error = self.error_ref(error);
        self.rules.errors.iter().rev().find_map(|rule| rule(error))
    }

    fn error_ref<'a>(&self, error: &'a E) -> ErrorRef<'a> {
        self.view.error_ref(error)
    }

    fn register(&self) {
        JudgeError::<E>::register(&self.view);
    }

    #[inline]
    fn has_transient(&self) -> bool {
        self.rules.has_transient
    }

    #[inline]
    fn repeats_timeouts(&self) -> bool {
        self.rules.repeat_timeouts
    }
}

impl fmt::Debug for GuardErrors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardErrors").field("repeat_timeouts", &self.rules.repeat_timeouts).finish_non_exhaustive()
    }
}

/// A stack of any strategies, without stored answers.
type AnyStandard<R, C, Rej, U, T, D> = Standard<
    Parts<
        Optional<RetryLayer<R>>,
        Optional<CircuitBreakerLayer<C>>,
        Optional<BulkheadLayer<Rej, U>>,
        Optional<TimeoutLayer<T>>,
        D,
    >,
>;

impl<R, C, Rej, U, T, D> AnyStandard<R, C, Rej, U, T, D> {
    /// The same stack for plain async functions, with the same circuit, permits and budget.
    ///
    /// A stack that stores good answers has none: what functions return is stored by `LastKnownValues`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop::{Guard, Standard, name, standard};
    ///
    /// let cache: Guard = Standard::new(name!("cache")).guard();
    /// let db: Guard = standard("db").timeout(Duration::from_millis(300)).build()?.guard();
    /// # let _ = (cache, db);
    /// # Ok::<(), backstop::ConfigError>(())
    /// ```
    pub fn guard(&self) -> Guard {
        let Parts { retry, circuit_breaker, bulkhead, timeout, .. } = &self.parts;
        let state = State {
            name: self.name.clone(),
            retry: retry.get_ref().map(RetryLayer::handle),
            circuit_breaker: circuit_breaker.get_ref().map(CircuitBreakerLayer::handle),
            bulkhead: bulkhead.get_ref().map(BulkheadLayer::handle),
            timeout: timeout.get_ref().map(TimeoutLayer::handle),
            rules: GuardRules::default(),
        };
        Guard { state: Arc::new(state) }
    }
}
