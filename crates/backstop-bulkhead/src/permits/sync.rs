//! Where the permits get their atomics and their lock from: the standard library, or the model checker.
//!
//! The model checker has a cfg of its own, because `--cfg loom` would also reach into the dependencies.

#[cfg(backstop_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic::AtomicU64};
#[cfg(not(backstop_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic::AtomicU64};

pub(crate) use std::sync::atomic::Ordering;
