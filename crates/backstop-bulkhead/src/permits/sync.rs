//! The atomics and the lock of the permits: the standard library's, or the model checker's.
//!
//! The model checker has its own cfg, because `--cfg loom` would also affect dependencies.

#[cfg(backstop_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic::AtomicU64};
#[cfg(not(backstop_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic::AtomicU64};

pub(crate) use std::sync::atomic::Ordering;
