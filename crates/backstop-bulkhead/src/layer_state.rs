//! What all services of a layer share.

use std::sync::Arc;

use crate::limiter::Limiter;

/// What all services of a layer share. Aligned to a cache line, apart from the reference count, which every call changes.
#[repr(align(64))]
pub(crate) struct LayerState<R> {
    // Apart, for bodies and handles: they need nothing of `R`.
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) reject: R,
}
