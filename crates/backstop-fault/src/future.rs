//! The response future.
//!
//! | from | on | to |
//! |---|---|---|
//! | – | the call isn't hit | made |
//! | – | its answer is to be truncated | made |
//! | – | it is delayed, or hangs | held |
//! | held | its time has passed, or its run has ended | made |
//! | – | any other fault: at the first poll | answered, or a panic |
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

use crate::{
    Fault, MakeFault, engine::Hit, hold::Hold, injected_panic, injector::Injector, make_fault::sealed::Failure,
};

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
}

/// A call that is hit.
struct HitCall<S, Req> {
    injector: Arc<Injector>,
    hit: Hit,
    protocol: WireProtocol,
    // `None` once the call is made, and for a call that is answered without.
    held: Option<(Hold, S, Req)>,
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
    pub(crate) fn hit(injector: &Arc<Injector>, hit: Hit, mut service: S, request: Req) -> Self {
        let protocol = F::protocol(&request);
        let (mut call, mut held) = (None, None);
        if let Some(place) = hit.held {
            held = Some((Hold::new(Arc::clone(injector), place), service, request));
        } else if matches!(hit.run.fault, Fault::TruncatedBody { .. }) {
            call = Some(service.call(request));
        }
        let hit = HitCall { injector: Arc::clone(injector), hit, protocol, held };
        Self { call, hit: Some(Box::new(hit)), faults: PhantomData }
    }

    #[cold]
    fn poll_hit(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<S::Response, S::Error>> {
        let mut this = self.as_mut().project();
        let Some(HitCall { injector, hit, protocol, held }) = this.hit.as_deref_mut() else {
            polled_again("FaultFuture")
        };
        let failure = match &hit.run.fault {
            Fault::Error => Failure::Error,
            Fault::Status(fault) => Failure::Status(fault),
            Fault::Reset => Failure::Reset,
            Fault::Panic => injected_panic(injector.name()),
            Fault::Delay(_) | Fault::Hang => {
                if let Some((hold, ..)) = held {
                    ready!(Pin::new(hold).poll(cx));
                }
                if let Some((hold, mut service, request)) = held.take() {
                    // Its place is free before the call is made.
                    drop(hold);
                    this.call.set(Some(service.call(request)));
                }
                let Some(call) = this.call.as_pin_mut() else { polled_again("FaultFuture") };
                return call.poll(cx);
            }
            Fault::TruncatedBody { after } => {
                let Some(call) = this.call.as_pin_mut() else { polled_again("FaultFuture") };
                let mut result = ready!(call.poll(cx));
                if F::truncate(&mut result, *after, injector.rejection()) {
                    injector.truncated(&hit.run);
                }
                return Poll::Ready(result);
            }
        };
        let answer = F::fail(*protocol, failure, injector.rejection());
        *this.hit = None;
        Poll::Ready(answer)
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
        scope::inject_fault(|| self.poll_hit(cx))
    }
}

impl<S: Service<Req>, Req, F> fmt::Debug for FaultFuture<S, Req, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = self.hit.as_ref().map(|hit| hit.hit.run.fault.kind());
        f.debug_struct("FaultFuture").field("fault", &fault).finish_non_exhaustive()
    }
}
