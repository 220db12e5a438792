//! What a circuit needs for transitions. Made with the first one, so that the many circuits that never had one are small.

use std::ops::Deref;

use super::{
    recovery_state::Recovery,
    sync::{AtomicU64, Loaded, Mutex, OnceLock, Swap},
    windows::Windows,
};

#[derive(Debug)]
pub(super) struct TransitionState<L> {
    /// When an open circuit takes its first probe, or a saturated one's earliest lease expires.
    pub(super) deadline: AtomicU64,
    pub(super) recovery: Mutex<Recovery>,
    /// The windows of the last reload that changed their kind or size. Set and replaced under the lock. The windows before
    /// are freed once no result is being counted in them.
    pub(super) replaced: OnceLock<Swap<Windows>>,
    pub(super) listeners: L,
}

/// The windows at the time of the look-up.
pub(super) enum Current<'a> {
    /// Those that the circuit was made with. They cost no more than a reference.
    First(&'a Windows),
    Replaced(Loaded<Windows>),
}

impl Deref for Current<'_> {
    type Target = Windows;

    #[inline]
    fn deref(&self) -> &Windows {
        match self {
            Self::First(windows) => windows,
            Self::Replaced(windows) => windows,
        }
    }
}
