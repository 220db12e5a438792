//! Calls of plain async functions: the engine that guards, and layers used without a service, are made of.
//!
//! A function has no request that could be copied, and may borrow from its caller, so a layer can't own it for a second
//! attempt. Instead each layer makes a [`FunctionCall`], which is polled like a future, and is given the function anew by
//! each poll. The outermost one, a [`FunctionFuture`], owns the function and what its errors count as:
//!
//! ```text
//! FunctionFuture { function, errors }
//!   └─ RetryCall ─ CircuitBreakerCall ─ BulkheadCall ─ TimeoutCall ─ Called { the function's own future }
//! ```
//!
//! A handle's `call` puts its layer around [`Called`]; its `around` puts it around another layer's call. Nothing is
//! boxed, and nothing happens before the first poll.

mod call_error;
mod called;
mod errors;
mod future;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use backstop_core::{ErrorRef, Outcome, Rejection};

pub use call_error::CallError;
pub use called::Called;
pub use errors::{ErrorRule, JudgeError, judge_function_error};
pub use future::{FunctionFuture, JudgedFunction, Once, Repeatable, StartFunction};

/// A function that layers call, and what its results count as.
pub trait Function {
    /// What it resolves to.
    type Output;
    /// A call of it.
    type Future: Future<Output = Self::Output>;

    /// Calls it.
    ///
    /// # Panics
    /// If it was called before, and can't be called again.
    fn start(&mut self) -> Self::Future;

    /// What this output counts as. It's transient only if the function may be called again.
    fn outcome(&self, output: &Self::Output) -> Outcome;

    /// The error in an output, if it is one.
    fn error<'a>(&self, output: &'a Self::Output) -> Option<ErrorRef<'a>>;

    /// What a layer's rejection counts as. It's transient only if the function may be called again.
    fn outcome_of_rejection(&self, rejection: &Rejection) -> Outcome;
}

/// A call of a [`Function`], as a layer protects it.
///
/// Like a future, but each poll gets the function, so that its owner may call it again.
pub trait FunctionCall<F: Function> {
    /// Polls the call: its output, or the rejection of a layer.
    ///
    /// # Panics
    /// May panic if it is polled again after it has ended.
    fn poll_call(self: Pin<&mut Self>, function: &mut F, cx: &mut Context<'_>) -> Poll<Result<F::Output, Rejection>>;

    /// A call with the same layers that hasn't begun.
    #[must_use]
    fn again(&self) -> Self;
}
