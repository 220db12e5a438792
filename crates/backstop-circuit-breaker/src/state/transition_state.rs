//! What a circuit needs for transitions. Created with the first one, because most circuits never have one.

use std::ops::Deref;

use super::{
    ramp::Ramp,
    recovery_state::Recovery,
    sync::{AtomicU64, Loaded, Mutex, OnceLock, Swap},
    windows::Windows,
};

#[derive(Debug)]
pub(super) struct TransitionState<L> {
    /// When an open circuit admits its first probe, or the earliest lease of a saturated one expires.
    pub(super) deadline: AtomicU64,
    pub(super) ramp: Ramp,
    pub(super) recovery: Mutex<Recovery>,
    /// The windows of the last reload that changed their kind or size. Written under the lock. The previous windows are freed
    /// once no result is being counted in them.
    pub(super) replaced: OnceLock<Swap<Windows>>,
    pub(super) listeners: L,
}

/// The current windows.
pub(super) enum Current<'a> {
    /// Those that the circuit was created with.
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
