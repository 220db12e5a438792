//! Calls of functions through a circuit.
//!
//! | from | on | to |
//! |---|---|---|
//! | – | it is first polled, and the circuit admits it | called |
//! | – | it is first polled, and the circuit refuses it | the end: the refusal |
//! | called | the call ends, or is dropped | the end: it is counted |

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use backstop_core::{ErrorRef, Outcome, Reason, Verdict};
use backstop_kit::function::{
    AttemptLayers, CallResult, ErrorView, Function, FunctionCall, FunctionError, FunctionFuture, FunctionLayers,
    Innermost, Once,
};
use pin_project_lite::pin_project;

use crate::{
    CircuitBreakerHandle, breaker::Breaker, call_guard::CallGuard, failure::Failure, future::rejection,
    layer_state::CircuitRef, tracked_call::TrackedCall,
};

impl CircuitBreakerHandle {
    /// Calls a function if the circuit admits it, and counts how that ends. Any handle of the circuit will do, whatever
    /// services the layer is applied to.
    ///
    /// Errors are failures, unless [`is_answer`](FunctionFuture::is_answer) says otherwise: see [what an error counts
    /// as](FunctionFuture#what-an-error-counts-as).
    ///
    /// ```
    /// use std::io;
    /// use backstop_circuit_breaker::{CallError, CircuitBreakerLayer, name};
    ///
    /// async fn read(_path: &str) -> io::Result<String> {
    ///     Err(io::ErrorKind::NotFound.into())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let circuit = CircuitBreakerLayer::new(name!("disk")).handle();
    /// let result = circuit.call(|| read("a")).is_answer(|error| error.kind() == io::ErrorKind::NotFound).await;
    /// assert!(matches!(result, Err(CallError::Failed(_))));
    /// assert_eq!(circuit.counts().failures, 0);
    ///
    /// circuit.isolate();
    /// assert!(matches!(circuit.call(|| read("a")).await, Err(CallError::Rejected(_))));
    /// # }
    /// ```
    ///
    /// # Cancellation
    /// Dropping the future drops the call and returns its permit. See [how a dropped call is counted](crate#cancellation).
    #[inline]
    pub fn call<F, Fut, T, E, Kind>(
        &self,
        function: F,
    ) -> FunctionFuture<CircuitBreakerFunctions<'_, Innermost>, Once<F>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: FunctionError<Kind>,
    {
        FunctionFuture::new(self.around(Innermost), Once::new(function), ErrorView::of::<E, Kind>())
    }

    /// Puts the circuit around other layers that functions are called through.
    #[inline]
    pub fn around<L>(&self, inner: L) -> CircuitBreakerFunctions<'_, L> {
        CircuitBreakerFunctions { breaker: Some(self.breaker()), inner }
    }
}

/// Calls functions through a circuit: see [`CircuitBreakerHandle::around`].
#[derive(Clone, Copy)]
pub struct CircuitBreakerFunctions<'a, L> {
    // `None` without a circuit.
    breaker: Option<&'a Breaker>,
    inner: L,
}

impl<L> CircuitBreakerFunctions<'_, L> {
    /// The inner layers alone, for a stack that may have no circuit.
    pub const fn without(inner: L) -> Self {
        Self { breaker: None, inner }
    }
}

impl<'a, F: Function, L: AttemptLayers<F>> FunctionLayers<F> for CircuitBreakerFunctions<'a, L> {
    type Call = CircuitBreakerCall<Borrowed<'a>, L::Call>;

    #[inline]
    fn begin(&self) -> Self::Call {
        CircuitBreakerCall::new(self.breaker.map(Borrowed), self.inner.begin())
    }
}

impl<F: Function, L: AttemptLayers<F>> AttemptLayers<F> for CircuitBreakerFunctions<'_, L> {}

pin_project! {
    /// A call of a function through a circuit.
    pub struct CircuitBreakerCall<R: CircuitRef<()>, C> {
        // Dropped first: the call ends before its permit is free.
        #[pin]
        inner: C,
        // `None` until the call is admitted.
        guard: Option<CallGuard<(), R>>,
        // `None` without a circuit.
        circuit: Option<R>,
    }
}

impl<R: CircuitRef<()>, C> CircuitBreakerCall<R, C> {
    pub(crate) const fn new(circuit: Option<R>, inner: C) -> Self {
        Self { inner, guard: None, circuit }
    }
}

/// Leads to a circuit whose handle is borrowed.
#[derive(Clone, Copy)]
#[expect(unnameable_types, reason = "nobody needs to name it")]
pub struct Borrowed<'a>(&'a Breaker);

/// A function has no protocol: it says itself what its results count as.
impl CircuitRef<()> for Borrowed<'_> {
    #[inline]
    fn breaker(&self) -> &Breaker {
        self.0
    }

    #[inline]
    fn protocol(&self) -> &() {
        &()
    }
}

impl<F: Function, R: CircuitRef<()>, C: FunctionCall<F>> FunctionCall<F> for CircuitBreakerCall<R, C> {
    #[inline]
    fn poll_call(self: Pin<&mut Self>, function: &mut F, cx: &mut Context<'_>) -> Poll<CallResult<F>> {
        let this = self.project();
        let Some(circuit) = this.circuit else { return this.inner.poll_call(function, cx) };
        let guard = match this.guard {
            Some(guard) => {
                if this.inner.is_waiting()
                    && let Err(refused) = guard.readmit()
                {
                    guard.finish_well(Outcome::neutral());
                    return Poll::Ready(Err(Box::new(rejection(refused, circuit.breaker()))));
                }
                guard
            }
            None => {
                let breaker = circuit.breaker();
                match breaker.admit(None) {
                    Ok(admission) => this.guard.insert(CallGuard::new(TrackedCall::new(admission), circuit.clone())),
                    Err(refused) => return Poll::Ready(Err(Box::new(rejection(refused, breaker)))),
                }
            }
        };
        // Handed on as it is: moving an output costs more than everything else here.
        let polled = guard.run(|| this.inner.poll_call(function, cx));
        match &polled {
            Poll::Ready(result) => finish(guard, function, result),
            Poll::Pending => guard.start_waiting(),
        }
        polled
    }

    #[inline]
    fn is_waiting(&self) -> bool {
        self.inner.is_waiting()
    }
}

/// Counts a result.
#[inline]
fn finish<F: Function, R: CircuitRef<()>>(guard: &mut CallGuard<(), R>, function: &F, result: &CallResult<F>) {
    let outcome = match result {
        Ok(output) => function.outcome(output),
        Err(rejection) => function.outcome_of_rejection(rejection),
    };
    if outcome.verdict == Verdict::Failure {
        let error = match result {
            Ok(output) => function.error(output),
            Err(rejection) => Some(ErrorRef::new(&**rejection)),
        };
        guard.finish(outcome, error.map_or(Failure::Response(Reason::ERROR), Failure::Error));
    } else {
        // The service wasn't asked, and the caller hasn't left.
        guard.finish_well(outcome.or_unprocessed(outcome.refused));
    }
}

impl fmt::Debug for Borrowed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Borrowed").field(self.0.name()).finish()
    }
}

impl<L: fmt::Debug> fmt::Debug for CircuitBreakerFunctions<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(self.breaker, f.debug_struct("CircuitBreakerFunctions").field("inner", &self.inner))
    }
}

impl<R: CircuitRef<()>, C: fmt::Debug> fmt::Debug for CircuitBreakerCall<R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(self.circuit.as_ref().map(R::breaker), f.debug_struct("CircuitBreakerCall").field("inner", &self.inner))
    }
}

fn debug(breaker: Option<&Breaker>, f: &mut fmt::DebugStruct<'_, '_>) -> fmt::Result {
    f.field("name", &breaker.map(Breaker::name)).finish_non_exhaustive()
}
