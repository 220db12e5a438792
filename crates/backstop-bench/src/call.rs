//! Calls of services that are ready at once.

use std::{
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use tower::Service;

/// What makes `service` ready and calls it, with the number of the call.
pub(crate) fn calls<S: Service<u64> + Send + 'static>(mut service: S) -> impl FnMut(u64) + Send + 'static {
    move |n| {
        if is_ready(&mut service) {
            _ = black_box(poll_once(service.call(black_box(n))).is_ok());
        }
    }
}

/// Whether a service, which must answer at once, is ready for a call.
pub(crate) fn is_ready<Req, S: Service<Req>>(service: &mut S) -> bool {
    match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ready) => ready.is_ok(),
        Poll::Pending => unreachable!("the service is ready at once"),
    }
}

/// The output of a future that is ready at once, or whenever it is polled again.
#[inline(always)]
pub(crate) fn poll_again<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

/// The output of a future that is ready at once. Inlined, so that the future is polled where it was made.
#[inline(always)]
pub(crate) fn poll_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the service answers at once"),
    }
}
