//! The response future.
//!
//! | from | on | to |
//! |---|---|---|
//! | – | the call isn't hit | made |
//! | – | it is hit | unmade, or held |
//! | held | its time has passed, or its run has ended | made |
//! | unmade | polled: its run has ended, or its answer is to be truncated | made |
//! | unmade | polled: any other fault | answered, or a panic |
//! | made | the inner service answers | answered |

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{grpc::WireProtocol, scope};
use backstop_kit::polled_again;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{Fault, MakeFault, engine::Hit, hold::Hold, injector::Injector, pending::PendingFault};

pin_project! {
    /// The response future of [`FaultService`](crate::FaultService).
    ///
    /// # Cancellation
    /// Dropping it drops the call, or frees the place of a call that is held.
    ///
    /// # Panics
    /// If the fault is a panic, and if it is polled again after it has ended.
    #[must_use = "futures do nothing unless polled"]
    pub struct FaultFuture<S, Req, F>
    where
        S: Service<Req>,
    {
        // `None` until it is made.
        #[pin]
        call: Option<S::Future>,
        // Boxed, since few calls are hit. `None` for all others.
        hit: Option<Box<HitCall<S, Req>>>,
        faults: PhantomData<fn() -> F>,
    }

    impl<S, Req, F> PinnedDrop for FaultFuture<S, Req, F>
    where
        S: Service<Req>,
    {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.hit.is_some() {
                // Whoever counts a call that is dropped sees that it is hit.
                scope::inject_fault(|| this.call.set(None));
            }
        }
    }
}

/// A call that is hit.
struct HitCall<S, Req> {
    fault: PendingFault,
    protocol: WireProtocol,
    // `None` once it isn't held any more.
    hold: Option<Hold>,
    // `None` once it is made or has failed.
    unmade: Option<(S, Req)>,
}

impl<S: Service<Req>, Req, F> FaultFuture<S, Req, F> {
    /// A call that isn't hit.
    #[inline]
    pub(crate) const fn made(call: S::Future) -> Self {
        Self { call: Some(call), hit: None, faults: PhantomData }
    }
}

impl<S, Req, F> FaultFuture<S, Req, F>
where
    S: Service<Req>,
    F: MakeFault<Req, S::Response, S::Error>,
{
    pub(crate) fn hit(injector: &Arc<Injector>, hit: Hit, service: S, request: Req) -> Self {
        let hit = HitCall {
            protocol: F::protocol(&request),
            fault: PendingFault::new(Arc::clone(injector), hit.run),
            hold: hit.held.map(|place| Hold::new(Arc::clone(injector), place)),
            unmade: Some((service, request)),
        };
        Self { call: None, hit: Some(Box::new(hit)), faults: PhantomData }
    }

    /// Out of line, and marked inside: handing the result through costs the path that isn't hit.
    #[cold]
    #[inline(never)]
    fn poll_hit(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<S::Response, S::Error>> {
        scope::inject_fault(|| self.poll_marked(cx))
    }

    fn poll_marked(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<S::Response, S::Error>> {
        let mut this = self.as_mut().project();
        let Some(HitCall { fault, protocol, hold, unmade }) = this.hit.as_deref_mut() else {
            polled_again("FaultFuture")
        };
        if let Some(waiting) = hold {
            ready!(Pin::new(waiting).poll(cx));
            // Its place is free before the call is made.
            *hold = None;
        }
        if let Some((mut service, request)) = unmade.take() {
            if let Some((failure, rejection)) = fault.failure() {
                let answer = F::fail(*protocol, failure, rejection);
                *this.hit = None;
                return Poll::Ready(answer);
            }
            this.call.set(Some(service.call(request)));
        }
        let Some(call) = this.call.as_pin_mut() else { polled_again("FaultFuture") };
        let mut result = ready!(call.poll(cx));
        if let Fault::TruncatedBody { after } = fault.fault() {
            F::truncate(&mut result, *after, fault);
        }
        Poll::Ready(result)
    }
}

impl<S, Req, F> Future for FaultFuture<S, Req, F>
where
    S: Service<Req>,
    F: MakeFault<Req, S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        if this.hit.is_none()
            && let Some(call) = this.call.as_pin_mut()
        {
            return call.poll(cx);
        }
        self.poll_hit(cx)
    }
}

impl<S: Service<Req>, Req, F> fmt::Debug for FaultFuture<S, Req, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = self.hit.as_ref().map(|hit| hit.fault.fault().kind());
        f.debug_struct("FaultFuture").field("fault", &fault).finish_non_exhaustive()
    }
}
