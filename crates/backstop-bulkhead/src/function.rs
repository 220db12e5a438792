//! Calls of functions in a bulkhead.
//!
//! | from | on | to |
//! |---|---|---|
//! | – | it is first polled, and there is room | called, with a permit |
//! | – | it is first polled, and there is no room | waiting |
//! | waiting | it gets a permit | called |
//! | waiting | it is refused | the end: the refusal |
//! | called | the call ends, or is dropped | the end: the permit is given back |

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::Rejection;
use backstop_kit::function::{
    AttemptLayers, CallResult, ErrorView, Function, FunctionCall, FunctionError, FunctionFuture, FunctionLayers,
    Innermost, Once,
};
use pin_project_lite::pin_project;

use crate::{BulkheadHandle, limiter::Limiter, permit::BorrowedPermit, permit_request::PermitRequest};

impl BulkheadHandle {
    /// Calls a function once there is room, and counts it until it ends. Any handle of the bulkhead will do, whatever
    /// services the layer is applied to.
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop_bulkhead::{BulkheadLayer, CallError};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let printer = BulkheadLayer::builder("printer").max_concurrent(1).max_waiting(0).build()?.handle();
    /// let print = async || {
    ///     tokio::time::sleep(Duration::from_secs(1)).await;
    ///     Ok::<_, std::io::Error>("printed")
    /// };
    /// let (first, second) = tokio::join!(printer.call(print), printer.call(print));
    /// assert_eq!(first?, "printed");
    /// assert!(matches!(second, Err(CallError::Rejected(full)) if full.reason().as_str() == "bulkhead-full"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancellation
    /// Dropping the future gives up its place in line, or drops the call and then gives its permit back.
    #[inline]
    pub fn call<F, Fut, T, E, Kind>(&self, function: F) -> FunctionFuture<BulkheadFunctions<'_, Innermost>, Once<F>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: FunctionError<Kind>,
    {
        FunctionFuture::new(self.around(Innermost), Once::new(function), ErrorView::of::<E, Kind>())
    }

    /// Puts the bulkhead around other layers that functions are called through.
    #[inline]
    pub fn around<L>(&self, inner: L) -> BulkheadFunctions<'_, L> {
        BulkheadFunctions { limiter: Some(self.limiter()), inner }
    }
}

/// Calls functions in a bulkhead: see [`BulkheadHandle::around`].
#[derive(Clone, Copy, Debug)]
pub struct BulkheadFunctions<'a, L> {
    // `None` without a bulkhead.
    limiter: Option<&'a Arc<Limiter>>,
    inner: L,
}

impl<L> BulkheadFunctions<'_, L> {
    /// The inner layers alone, for a stack that may have no bulkhead.
    pub const fn without(inner: L) -> Self {
        Self { limiter: None, inner }
    }
}

impl<'a, F: Function, L: AttemptLayers<F>> FunctionLayers<F> for BulkheadFunctions<'a, L> {
    type Call = BulkheadCall<'a, L::Call>;

    #[inline]
    fn begin(&self) -> Self::Call {
        BulkheadCall {
            inner: self.inner.begin(),
            permit: BorrowedPermit::NONE,
            permit_request: None,
            limiter: self.limiter,
        }
    }
}

impl<F: Function, L: AttemptLayers<F>> AttemptLayers<F> for BulkheadFunctions<'_, L> {}

pin_project! {
    /// A call of a function in a bulkhead.
    pub struct BulkheadCall<'a, C> {
        // Dropped before its permit is given back.
        #[pin]
        inner: C,
        permit: BorrowedPermit<'a>,
        // Boxed, for calls that find room at once. `None` for those, and once there is a permit.
        permit_request: Option<Pin<Box<PermitRequest>>>,
        // `None` without a bulkhead.
        limiter: Option<&'a Arc<Limiter>>,
    }
}

impl<F: Function, C: FunctionCall<F>> FunctionCall<F> for BulkheadCall<'_, C> {
    #[inline]
    fn poll_call(self: Pin<&mut Self>, function: &mut F, cx: &mut Context<'_>) -> Poll<CallResult<F>> {
        let this = self.project();
        let Some(limiter) = *this.limiter else { return this.inner.poll_call(function, cx) };
        if !this.permit.is_held() {
            *this.permit = match ready!(poll_permit(limiter, this.permit_request, cx)) {
                Ok(permit) => permit,
                Err(rejection) => return Poll::Ready(Err(rejection)),
            };
        }
        let polled = this.inner.poll_call(function, cx);
        if polled.is_ready() {
            this.permit.give_back();
        }
        polled
    }

    #[inline]
    fn is_waiting(&self) -> bool {
        self.permit_request.is_some() || self.inner.is_waiting()
    }
}

#[inline]
fn poll_permit<'a>(
    limiter: &'a Arc<Limiter>,
    request: &mut Option<Pin<Box<PermitRequest>>>,
    cx: &mut Context<'_>,
) -> Poll<Result<BorrowedPermit<'a>, Box<Rejection>>> {
    if request.is_none()
        && let Some(permit) = BorrowedPermit::try_acquire(limiter)
    {
        return Poll::Ready(Ok(permit));
    }
    poll_request(limiter, request, cx)
}

#[cold]
fn poll_request<'a>(
    limiter: &'a Arc<Limiter>,
    request: &mut Option<Pin<Box<PermitRequest>>>,
    cx: &mut Context<'_>,
) -> Poll<Result<BorrowedPermit<'a>, Box<Rejection>>> {
    let asked = request.get_or_insert_with(|| Box::pin(PermitRequest::new()));
    let result = ready!(asked.as_mut().poll(limiter, cx));
    *request = None;
    Poll::Ready(match result {
        Ok(permit) => Ok(BorrowedPermit::of(permit, limiter)),
        Err(refusal) => Err(Box::new(limiter.refuse(refusal))),
    })
}

impl<C: fmt::Debug> fmt::Debug for BulkheadCall<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadCall")
            .field("inner", &self.inner)
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}
