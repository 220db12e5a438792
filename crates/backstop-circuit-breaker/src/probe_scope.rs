//! Which probes this thread is inside of.
//!
//! A layer that stands on both sides of the same request, around a server and around a client that the server calls, asks
//! its circuit for a second call inside its own probe. With one probe at a time that is refused, the refusal fails the
//! probe or says nothing of it, and the circuit never closes. Only a refusal looks, so that only probes need to be noted.

use std::cell::RefCell;

use crate::breaker::Breaker;

thread_local! {
    /// The addresses of their circuits, the innermost last. A circuit stays where it is while a call is made.
    static PROBES: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Whether this thread is running a probe of that circuit.
pub(crate) fn is_inside(breaker: &Breaker) -> bool {
    PROBES.try_with(|probes| probes.borrow().contains(&address(breaker))).unwrap_or(false)
}

/// That code of a probe's own runs. Left when it is dropped, also by a panic.
pub(crate) struct ProbeScope;

impl ProbeScope {
    #[cold]
    pub(crate) fn enter(breaker: &Breaker) -> Self {
        _ = PROBES.try_with(|probes| probes.borrow_mut().push(address(breaker)));
        Self
    }
}

impl Drop for ProbeScope {
    fn drop(&mut self) {
        _ = PROBES.try_with(|probes| probes.borrow_mut().pop());
    }
}

fn address(breaker: &Breaker) -> usize {
    std::ptr::from_ref(breaker).addr()
}
