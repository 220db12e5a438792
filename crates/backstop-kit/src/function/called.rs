//! The innermost call: of the function itself.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{AttemptLayers, CallResult, Function, FunctionCall, FunctionLayers};

pin_project! {
    /// Calls the function when it is first polled.
    pub struct Called<Fut> {
        #[pin]
        future: Option<Fut>,
    }
}

/// No layer: the function itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Innermost;

impl<F: Function> FunctionLayers<F> for Innermost {
    type Call = Called<F::Future>;

    #[inline]
    fn begin(&self) -> Called<F::Future> {
        Called { future: None }
    }
}

impl<F: Function> AttemptLayers<F> for Innermost {}

impl<F: Function> FunctionCall<F> for Called<F::Future> {
    #[inline]
    fn poll_call(self: Pin<&mut Self>, function: &mut F, cx: &mut Context<'_>) -> Poll<CallResult<F>> {
        let mut future = self.project().future;
        if future.is_none() {
            future.set(Some(function.start()));
        }
        match future.as_pin_mut() {
            Some(future) => future.poll(cx).map(Ok),
            None => Poll::Pending,
        }
    }
}

impl<Fut> fmt::Debug for Called<Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.future.is_some() { "Called" } else { "NotCalled" })
    }
}
