//! What all services of a layer share, and how a call gets at it.

use std::{fmt, sync::Arc};

use crate::breaker::{Breaker, HasBreaker};

/// What all services of a layer share.
#[expect(unnameable_types, reason = "the default of parameters that nobody else needs to name")]
pub struct LayerState<C, J> {
    pub(crate) breaker: Arc<AlignedBreaker>,
    pub(crate) classify: C,
    pub(crate) reject: J,
}

/// Shares a cache line with nothing that healthy calls write, such as reference counts.
#[repr(align(64))]
pub(crate) struct AlignedBreaker(Breaker);

impl HasBreaker for AlignedBreaker {
    fn breaker(&self) -> &Breaker {
        &self.0
    }
}

impl<C, J> LayerState<C, J> {
    pub(crate) fn new(breaker: Breaker, classify: C, reject: J) -> Self {
        Self { breaker: Arc::new(AlignedBreaker(breaker)), classify, reject }
    }
}

impl<C, J> fmt::Debug for LayerState<C, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.breaker.0.debug(f.debug_struct("LayerState"))
    }
}

/// What leads a call to its circuit, and to what judges and rejects. Each call has a clone.
#[expect(unnameable_types, reason = "sealed")]
pub trait CircuitRef<C, J>: Clone + Unpin {
    fn breaker(&self) -> &Breaker;
    fn classify(&self) -> &C;
    fn reject(&self) -> &J;
}

impl<C, J> CircuitRef<C, J> for Arc<LayerState<C, J>> {
    #[inline]
    fn breaker(&self) -> &Breaker {
        &self.breaker.0
    }

    #[inline]
    fn classify(&self) -> &C {
        &self.classify
    }

    #[inline]
    fn reject(&self) -> &J {
        &self.reject
    }
}
