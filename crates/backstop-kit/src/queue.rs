//! Calls that wait in a layer's queue, and the layers around it that may refuse them meanwhile.
//!
//! A circuit breaker admits a call, then a bulkhead further in lets it wait. If the circuit opens while it waits, it must not
//! reach the service: the circuit must be asked again. So the bulkhead enters a [`QueuedCall`] in its `Service::call`. The
//! breaker, whose own `call` made that call synchronously, finds it by [`QueueWatch`], asks the circuit before each poll until
//! the call has left the queue, and may [refuse](QueuedCall::refuse) it. The bulkhead answers a refused call as it answers its
//! own refusals, and proves that the request was not processed.
//!
//! | from | on | to |
//! |---|---|---|
//! | waiting | [`refuse`](QueuedCall::refuse) | refused |
//! | waiting | [`leave`](QueuedCall::leave) | left: the service is called next |
//!
//! A call that is made later, such as by a handler that awaits something first, isn't found: only its own layers refuse it.

use std::{
    cell::{Cell, RefCell},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use backstop_core::Rejection;

thread_local! {
    /// How many calls this thread has entered. Has no destructor, so that an access is one instruction.
    static ENTERED: Cell<u32> = const { Cell::new(0) };
    static LAST: RefCell<Weak<Mutex<State>>> = const { RefCell::new(Weak::new()) };
}

/// A call that waits in a queue. Clones are the same call.
#[derive(Clone, Debug)]
pub struct QueuedCall(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    is_waiting: bool,
    refusal: Option<Rejection>,
}

impl QueuedCall {
    /// A call that may wait. Call this in [`Service::call`](tower_service::Service::call), once.
    #[must_use]
    pub fn enter() -> Self {
        let call = Arc::new(Mutex::new(State { is_waiting: true, refusal: None }));
        ENTERED.set(ENTERED.get().wrapping_add(1));
        LAST.replace(Arc::downgrade(&call));
        Self(call)
    }

    /// Whether it waits.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.lock().is_waiting
    }

    /// Refuses it, if it waits. Its queue answers with the rejection when it is polled next.
    pub fn refuse(&self, rejection: Rejection) {
        let mut state = self.lock();
        if state.is_waiting {
            *state = State { is_waiting: false, refusal: Some(rejection) };
        }
    }

    /// Why it was refused, if it was.
    #[must_use]
    pub fn take_refusal(&self) -> Option<Rejection> {
        self.lock().refusal.take()
    }

    /// The service is called next. From now on the call can't be refused.
    pub fn leave(&self) {
        self.lock().is_waiting = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds the call that an inner `Service::call` lets wait.
#[derive(Clone, Copy, Debug)]
#[must_use = "ask it after the inner call"]
pub struct QueueWatch {
    entered_before: u32,
}

impl QueueWatch {
    /// Call this right before the inner call.
    #[inline]
    pub fn begin() -> Self {
        Self { entered_before: ENTERED.get() }
    }

    /// The call that was entered last since then, if any.
    #[inline]
    #[must_use]
    pub fn queued_call(self) -> Option<QueuedCall> {
        if ENTERED.get() == self.entered_before { None } else { last_entered() }
    }
}

#[cold]
fn last_entered() -> Option<QueuedCall> {
    LAST.with_borrow(Weak::upgrade).map(QueuedCall)
}

#[cfg(test)]
mod tests {
    use backstop_core::{Reason, name};

    use super::*;

    fn refusal() -> Rejection {
        Rejection::refused(name!("db"), Reason::CIRCUIT_OPEN)
    }

    #[test]
    fn each_layer_around_it_finds_a_call_that_waits_and_may_refuse_it_once() {
        let (outer, inner) = (QueueWatch::begin(), QueueWatch::begin());
        let call = QueuedCall::enter();
        assert!(inner.queued_call().is_some_and(|found| found.is_waiting()));
        outer.queued_call().unwrap().refuse(refusal());
        assert!(!call.is_waiting());
        assert_eq!(call.take_refusal().unwrap().reason(), Reason::CIRCUIT_OPEN);
        assert!(call.take_refusal().is_none());
    }

    #[test]
    fn a_call_that_has_left_can_not_be_refused() {
        let call = QueuedCall::enter();
        call.leave();
        call.refuse(refusal());
        assert!(!call.is_waiting() && call.take_refusal().is_none());
    }

    #[test]
    fn calls_of_before_and_calls_that_are_gone_are_not_found() {
        let _before = QueuedCall::enter();
        let watch = QueueWatch::begin();
        assert!(watch.queued_call().is_none());
        drop(QueuedCall::enter());
        assert!(watch.queued_call().is_none());
    }
}
