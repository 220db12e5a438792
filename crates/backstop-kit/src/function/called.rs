//! The innermost call: of the function itself.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use backstop_core::Rejection;
use pin_project_lite::pin_project;

use super::{Function, FunctionCall};

pin_project! {
    /// Calls the function when it is first polled.
    pub struct Called<Fut> {
        #[pin]
        future: Option<Fut>,
    }
}

impl<Fut> Called<Fut> {
    /// Not called yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { future: None }
    }
}

impl<Fut> Default for Called<Fut> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Function> FunctionCall<F> for Called<F::Future> {
    #[inline]
    fn poll_call(self: Pin<&mut Self>, function: &mut F, cx: &mut Context<'_>) -> Poll<Result<F::Output, Rejection>> {
        let mut future = self.project().future;
        if future.is_none() {
            future.set(Some(function.start()));
        }
        match future.as_pin_mut() {
            Some(future) => future.poll(cx).map(Ok),
            None => Poll::Pending,
        }
    }

    fn again(&self) -> Self {
        Self::new()
    }
}

impl<Fut> fmt::Debug for Called<Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.future.is_some() { "Called" } else { "NotCalled" })
    }
}
