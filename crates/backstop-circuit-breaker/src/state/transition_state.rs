//! What only a circuit needs that isn't simply closed. Made with the first transition, so that thousands of circuits that
//! never had one are small.

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
    /// Windows of another kind or size than those that the circuit was made with, once there were any. Set and replaced
    /// under the lock. The windows before are freed when no result is on its way into them any more.
    pub(super) replaced: OnceLock<Swap<Windows>>,
    pub(super) listeners: L,
}

/// The windows that were there when somebody looked.
pub(super) enum Current<'a> {
    /// Those that the circuit was made with. To look at them costs no more than a reference.
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
