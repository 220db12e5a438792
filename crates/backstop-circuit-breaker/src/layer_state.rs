//! What all services of a layer share, and how a call gets at it.

use std::{fmt, sync::Arc};

use crate::breaker::{Breaker, HasBreaker};

/// What all services of a layer share.
#[expect(unnameable_types, reason = "the default of parameters that nobody else needs to name")]
pub struct LayerState<P> {
    pub(crate) breaker: Arc<AlignedBreaker>,
    pub(crate) protocol: P,
}

/// Shares a cache line with nothing that healthy calls write, such as reference counts.
#[repr(align(64))]
pub(crate) struct AlignedBreaker(Breaker);

impl HasBreaker for AlignedBreaker {
    fn breaker(&self) -> &Breaker {
        &self.0
    }
}

impl<P> LayerState<P> {
    pub(crate) fn new(breaker: Breaker, protocol: P) -> Self {
        Self { breaker: Arc::new(AlignedBreaker(breaker)), protocol }
    }
}

impl<P> fmt::Debug for LayerState<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.breaker.0.debug(f.debug_struct("LayerState"))
    }
}

/// Leads a call to its circuit and to the layer's protocol. Each call has a clone.
#[expect(unnameable_types, reason = "sealed")]
pub trait CircuitRef<P>: Clone + Unpin {
    fn breaker(&self) -> &Breaker;
    fn protocol(&self) -> &P;
}

impl<P> CircuitRef<P> for Arc<LayerState<P>> {
    #[inline]
    fn breaker(&self) -> &Breaker {
        &self.breaker.0
    }

    #[inline]
    fn protocol(&self) -> &P {
        &self.protocol
    }
}
