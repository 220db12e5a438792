//! Calls of plain async functions: the engine that guards, and layers used without a service, are made of.
//!
//! A function has no request that could be copied, and may borrow from its caller, so a layer can't own it for a second
//! attempt. Instead each layer makes a [`FunctionCall`], which is polled like a future, and is given the function anew by
//! each poll. The outermost part, a [`FunctionFuture`], owns the function and what its errors count as:
//!
//! ```text
//! FunctionFuture { function, errors }
//!   └─ RetryCall ─ CircuitBreakerCall ─ BulkheadCall ─ TimeoutCall ─ Called { the function's own future }
//! ```
//!
//! A handle's `call` is of its layer alone. Its `around` puts the layer around others, which makes
//! [`FunctionLayers`]: they begin a call, and another one for each attempt. Nothing is boxed, and nothing happens before
//! the first poll.

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
pub use called::{Called, Innermost};
pub use errors::{DynError, ErrorRule, ErrorView, FunctionError, HoldsError, IsError, IsNoError, JudgeError};
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

    /// Whether the function may be called again after some result.
    fn may_repeat(&self) -> bool;

    /// What a layer's rejection counts as. It's transient only if the function may be called again.
    fn outcome_of_rejection(&self, rejection: &Rejection) -> Outcome;

    /// Moves the function out. What is left panics when it is used.
    #[must_use]
    fn take(&mut self) -> Self
    where
        Self: Sized;
}

/// What a call of a function gives: its output, or the rejection of a layer.
pub type CallResult<F> = Result<<F as Function>::Output, Box<Rejection>>;

/// A call of a [`Function`], as a layer protects it.
///
/// Like a future, but each poll gets the function, so that its owner may call it again.
pub trait FunctionCall<F: Function> {
    /// Polls the call: its output, or the rejection of a layer. That is boxed, since outputs are mostly small, and move
    /// through all layers.
    ///
    /// # Panics
    /// May panic if it is polled again after it has ended.
    fn poll_call(self: Pin<&mut Self>, function: &mut F, cx: &mut Context<'_>) -> Poll<CallResult<F>>;

    /// Whether it waits in a queue, so that the function wasn't called yet.
    fn is_waiting(&self) -> bool {
        false
    }
}

/// What a function is called through: some layers, from outside to inside.
pub trait FunctionLayers<F: Function> {
    /// A call through all of them.
    type Call: FunctionCall<F>;

    /// A call that hasn't begun.
    fn begin(&self) -> Self::Call;
}

/// Layers that each make one attempt, so that others may stand around them.
///
/// Not of a retry, which keeps the function for itself when it repeats it. So it is the outermost.
pub trait AttemptLayers<F: Function>: FunctionLayers<F> + Clone {}
