//! What all services of a layer share.

use std::sync::Arc;

use crate::limiter::Limiter;

/// What all services of a layer share. Aligned, so that the reference count, which every call changes, is in another cache
/// line.
#[repr(align(64))]
pub(crate) struct LayerState<R> {
    // Also held by bodies and handles, which don't need `R`.
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) reject: R,
}
