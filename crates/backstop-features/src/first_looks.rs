//! The first look at each feature within a request, which all later looks repeat.
//!
//! The looks of the request that is being polled are in a thread-local, in the same way as its
//! [scope](backstop_core::scope).

use std::{
    cell::{Cell, RefCell},
    mem,
    sync::Arc,
};

use crate::{
    FeatureState,
    slot::{Place, Slot},
};

thread_local! {
    /// Whether a request is being polled. Apart from its looks, because a thread-local without a destructor costs nothing.
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
    static LOOKS: RefCell<FirstLooks> = const { RefCell::new(FirstLooks::new()) };
}

/// How many looks are kept without an allocation.
const FEW: usize = 6;

/// What a request has looked at. Features are told apart by the addresses of their slots.
#[derive(Debug)]
pub(crate) struct FirstLooks {
    few: [(usize, FeatureState); FEW],
    len: usize,
    more: Vec<(usize, FeatureState)>,
}

impl FirstLooks {
    pub(crate) const fn new() -> Self {
        Self { few: [(0, FeatureState::Enabled); FEW], len: 0, more: Vec::new() }
    }

    fn find(&self, slot: usize) -> Option<FeatureState> {
        let looks = self.few[..self.len].iter().chain(&self.more);
        looks.clone().find(|(other, _)| *other == slot).map(|(_, state)| *state)
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

/// Looks at a feature, or repeats the request's first look.
#[inline]
pub(crate) fn look(slot: &Arc<Slot>, place: Place) -> FeatureState {
    if IS_INSIDE.get() { look_inside(slot, place) } else { slot.look(place) }
}

fn look_inside(slot: &Arc<Slot>, place: Place) -> FeatureState {
    let address = Arc::as_ptr(slot).addr();
    // Fails while the thread ends.
    let kept = LOOKS.try_with(|looks| looks.borrow().find(address)).ok().flatten();
    kept.unwrap_or_else(|| {
        let state = slot.look(place);
        _ = LOOKS.try_with(|looks| looks.borrow_mut().keep(address, state));
        state
    })
}

/// Runs a request's code with its looks. Inside of another request's, that one's looks are used.
#[inline]
pub(crate) fn with<R>(looks: &mut FirstLooks, code: impl FnOnce() -> R) -> R {
    let _entered = enter(looks);
    code()
}

/// As [`with`], until the guard is dropped: moving a request into a closure would copy it.
#[inline]
pub(crate) fn enter(looks: &mut FirstLooks) -> Option<Swapped<'_>> {
    if IS_INSIDE.get() { None } else { Some(Swapped::begin(looks)) }
}

/// Swaps the looks back when it is dropped, also by a panic.
#[must_use = "the looks are swapped back when this is dropped"]
pub(crate) struct Swapped<'a>(&'a mut FirstLooks);

impl<'a> Swapped<'a> {
    #[inline]
    fn begin(looks: &'a mut FirstLooks) -> Self {
        swap(looks);
        IS_INSIDE.set(true);
        Self(looks)
    }
}

impl Drop for Swapped<'_> {
    #[inline]
    fn drop(&mut self) {
        IS_INSIDE.set(false);
        swap(self.0);
    }
}

/// Swaps the looks with those of the thread. Before a request's first look both have none, and swapping them would be most of
/// what the layer costs.
#[inline]
fn swap(looks: &mut FirstLooks) {
    // Fails while the thread ends.
    _ = LOOKS.try_with(|inside| {
        let inside = &mut *inside.borrow_mut();
        if looks.len > 0 || inside.len > 0 {
            mem::swap(inside, looks);
        }
    });
}
