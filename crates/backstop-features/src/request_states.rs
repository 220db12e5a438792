//! The states of features that a request has seen, so that it sees one state of each.
//!
//! Those of the request that is being polled are in a thread-local, in the same way as its [scope](backstop_core::scope). They
//! aren't part of that scope: an attempt of a retry or a chain has a scope of its own, but sees the states of its request.

use std::{
    cell::{Cell, RefCell},
    mem,
    sync::Arc,
};

use crate::{FeatureState, probes::Place, slot::Slot};

thread_local! {
    /// Whether a request is being polled. Apart from its states, because a thread-local without a destructor costs nothing.
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
    static STATES: RefCell<RequestStates> = const { RefCell::new(RequestStates::new()) };
}

/// How many states are kept without an allocation.
const FEW: usize = 6;

/// States by the address of the feature's slot.
#[derive(Debug)]
pub(crate) struct RequestStates {
    few: [(usize, FeatureState); FEW],
    len: usize,
    more: Vec<(usize, FeatureState)>,
}

impl RequestStates {
    pub(crate) const fn new() -> Self {
        Self { few: [(0, FeatureState::Enabled); FEW], len: 0, more: Vec::new() }
    }

    fn find(&self, slot: usize) -> Option<FeatureState> {
        let mut states = self.few[..self.len].iter().chain(&self.more);
        states.find(|(other, _)| *other == slot).map(|(_, state)| *state)
    }

    fn keep(&mut self, slot: usize, state: FeatureState) {
        match self.few.get_mut(self.len) {
            Some(free) => {
                *free = (slot, state);
                self.len += 1;
            }
            None => self.more.push((slot, state)),
        }
    }
}

/// The state of a feature for the current request, if there is one, or for this call.
#[inline]
pub(crate) fn state(slot: &Arc<Slot>, place: Place) -> FeatureState {
    if IS_INSIDE.get() { state_inside(slot) } else { slot.state_for_call(place) }
}

fn state_inside(slot: &Arc<Slot>) -> FeatureState {
    let address = Arc::as_ptr(slot).addr();
    // Fails while the thread ends.
    let kept = STATES.try_with(|states| states.borrow().find(address)).ok().flatten();
    kept.unwrap_or_else(|| {
        // As the innermost place: places further in see the state that is kept here, and need no pass.
        let state = slot.state_for_call(Place::Layer);
        _ = STATES.try_with(|states| states.borrow_mut().keep(address, state));
        state
    })
}

/// Makes these the states of the current request, until the guard is dropped. Inside of another request's, that one's are used.
#[inline]
pub(crate) fn enter(states: &mut RequestStates) -> Option<Entered<'_>> {
    if IS_INSIDE.get() {
        return None;
    }
    swap(states);
    IS_INSIDE.set(true);
    Some(Entered(states))
}

/// Swaps the states back when it is dropped, also by a panic.
#[must_use = "the states are swapped back when this is dropped"]
pub(crate) struct Entered<'a>(&'a mut RequestStates);

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        IS_INSIDE.set(false);
        swap(self.0);
    }
}

/// Swaps the states with those of the thread. Before a request asks for its first feature both have none, and swapping them would
/// be most of what the layer costs.
#[inline]
fn swap(states: &mut RequestStates) {
    // Fails while the thread ends.
    _ = STATES.try_with(|inside| {
        let inside = &mut *inside.borrow_mut();
        if states.len > 0 || inside.len > 0 {
            mem::swap(inside, states);
        }
    });
}
