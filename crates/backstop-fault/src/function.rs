//! Calls of functions that may be made to fail.

use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{Rejection, scope};
use backstop_kit::{
    function::{
        AttemptLayers, CallResult, ErrorView, Function, FunctionCall, FunctionError, FunctionFuture, FunctionLayers,
        Innermost, Once,
    },
    polled_again,
};
use pin_project_lite::pin_project;

use crate::{Fault, FaultHandle, hold::Hold, injector::Injector, pending::PendingFault};

impl FaultHandle {
    /// Calls a function that a run may make fail. Any handle of the layer will do, whatever services the layer is applied to.
    ///
    /// A run hits functions only if the layer was built with [`allow_unsafe_methods`](crate::FaultBuilder::allow_unsafe_methods):
    /// nothing says whether a function is safe. One that names a method, a path, a header or principals hits none. An error, a status and a reset are a
    /// [`Rejection`](crate::Rejection); a truncated body is one in the place of the function's value.
    ///
    /// ```
    /// use backstop_fault::{CallError, FAULT_INJECTED, Fault, FaultLayer, FaultRun};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let faults = FaultLayer::builder("database").arm().max_share(1.0).allow_unsafe_methods().without_health();
    /// let faults = faults.build()?.handle();
    /// let query = async || Ok::<_, std::io::Error>(7);
    /// assert_eq!(faults.call(query).await?, 7);
    ///
    /// faults.start(FaultRun::new(Fault::Error, 1.0, "ada", "a game day"))?;
    /// let failed = faults.call(query).await;
    /// assert!(matches!(failed, Err(CallError::Rejected(it)) if it.reason() == FAULT_INJECTED));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancellation
    /// Dropping the future drops the call, or frees the place of a call that is held.
    #[inline]
    pub fn call<C, Fut, T, E, Kind>(&self, function: C) -> FunctionFuture<FaultFunctions<'_, Innermost>, Once<C>>
    where
        C: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: FunctionError<Kind>,
    {
        FunctionFuture::new(self.around(Innermost), Once::new(function), ErrorView::of::<E, Kind>())
    }

    /// Puts the faults around other layers that functions are called through.
    #[inline]
    pub fn around<L>(&self, inner: L) -> FaultFunctions<'_, L> {
        FaultFunctions { injector: self.injector(), inner }
    }
}

/// Calls functions that may be made to fail: see [`FaultHandle::around`].
#[derive(Clone, Copy, Debug)]
pub struct FaultFunctions<'a, L> {
    injector: &'a Arc<Injector>,
    inner: L,
}

impl<'a, F: Function, L: AttemptLayers<F>> FunctionLayers<F> for FaultFunctions<'a, L> {
    type Call = FaultCall<'a, L::Call>;

    #[inline]
    fn begin(&self) -> Self::Call {
        FaultCall { inner: Some(self.inner.begin()), injector: self.injector, is_decided: false, hit: None }
    }
}

impl<F: Function, L: AttemptLayers<F>> AttemptLayers<F> for FaultFunctions<'_, L> {}

pin_project! {
    /// A call of a function that may be made to fail.
    pub struct FaultCall<'a, C> {
        // `None` once it is dropped.
        #[pin]
        inner: Option<C>,
        injector: &'a Arc<Injector>,
        is_decided: bool,
        // Boxed, since few calls are hit. `None` for all others.
        hit: Option<Box<HitFunction>>,
    }

    impl<C> PinnedDrop for FaultCall<'_, C> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.hit.is_some() {
                // Whoever counts a call that is dropped sees that it is hit.
                scope::inject_fault(|| this.inner.set(None));
            }
        }
    }
}

/// A call that is hit.
struct HitFunction {
    fault: PendingFault,
    // `None` once it isn't held any more.
    hold: Option<Hold>,
    is_made: bool,
}

impl<F: Function, C: FunctionCall<F>> FunctionCall<F> for FaultCall<'_, C> {
    #[inline]
    fn poll_call(mut self: Pin<&mut Self>, function: &mut F, cx: &mut Context<'_>) -> Poll<CallResult<F>> {
        let this = self.as_mut().project();
        if !*this.is_decided {
            *this.is_decided = true;
            if this.injector.is_running() {
                *this.hit = decide(this.injector);
            }
        }
        if this.hit.is_none()
            && let Some(inner) = this.inner.as_pin_mut()
        {
            return inner.poll_call(function, cx);
        }
        scope::inject_fault(|| self.poll_hit(function, cx))
    }

    #[inline]
    fn is_waiting(&self) -> bool {
        self.inner.as_ref().is_some_and(C::is_waiting)
    }
}

#[cold]
fn decide(injector: &Arc<Injector>) -> Option<Box<HitFunction>> {
    let hit = injector.decide(None)?;
    let hold = hit.held.map(|place| Hold::new(Arc::clone(injector), place));
    let fault = PendingFault::new(Arc::clone(injector), hit.run);
    Some(Box::new(HitFunction { fault, hold, is_made: false }))
}

impl<C> FaultCall<'_, C> {
    #[cold]
    fn poll_hit<F: Function>(self: Pin<&mut Self>, function: &mut F, cx: &mut Context<'_>) -> Poll<CallResult<F>>
    where
        C: FunctionCall<F>,
    {
        let this = self.project();
        let (Some(inner), Some(HitFunction { fault, hold, is_made })) =
            (this.inner.as_pin_mut(), this.hit.as_deref_mut())
        else {
            polled_again("FunctionFuture")
        };
        if let Some(waiting) = hold {
            ready!(Pin::new(waiting).poll(cx));
            *hold = None;
        }
        if !mem::replace(is_made, true)
            && let Some((failure, rejection)) = fault.failure()
        {
            return Poll::Ready(Err(boxed(failure.of_function(rejection))));
        }
        let result = ready!(inner.poll_call(function, cx));
        if matches!(fault.fault(), Fault::TruncatedBody { .. })
            && result.as_ref().is_ok_and(|output| function.error(output).is_none())
            && let Some(rejection) = fault.apply()
        {
            return Poll::Ready(Err(boxed(rejection)));
        }
        Poll::Ready(result)
    }
}

fn boxed(rejection: Rejection) -> Box<Rejection> {
    Box::new(rejection)
}

impl<C: fmt::Debug> fmt::Debug for FaultCall<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = self.hit.as_ref().map(|hit| hit.fault.fault().kind());
        f.debug_struct("FaultCall").field("inner", &self.inner).field("fault", &fault).finish_non_exhaustive()
    }
}
