//! What only a circuit needs that isn't simply closed. Made with the first transition, so that thousands of circuits that
//! never had one are small.

use std::{ops::Deref, sync::Arc};

use super::{
    Circuit, Nanos, Observer,
    recovery::Recovery,
    sync::{AtomicU64, Loaded, Mutex, MutexGuard, OnceLock, Ordering, PoisonError, Swap},
    windows::{self, Windows},
};

#[derive(Debug)]
pub(super) struct Rare<L> {
    /// When an open circuit takes its first probe, or a saturated one's earliest lease expires.
    deadline: AtomicU64,
    recovery: Mutex<Recovery>,
    /// Windows of another kind or size than those that the circuit was made with, once there were any. Set and replaced
    /// under the lock. The windows before are freed when no result is on its way into them any more.
    replaced: OnceLock<Swap<Windows>>,
    listeners: L,
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

impl<O: Observer> Circuit<O> {
    pub(super) fn rare(&self) -> &Rare<O::Listeners> {
        self.rare.get_or_init(|| {
            Box::new(Rare {
                deadline: AtomicU64::new(0),
                recovery: Mutex::new(Recovery::new(self.observer.knobs().seed())),
                replaced: OnceLock::new(),
                listeners: O::Listeners::default(),
            })
        })
    }

    pub(crate) fn listeners(&self) -> &O::Listeners {
        &self.rare().listeners
    }

    pub(super) fn deadline(&self) -> Nanos {
        // Relaxed: ordered by the word, or by the lock.
        self.rare.get().map_or(0, |rare| rare.deadline.load(Ordering::Relaxed))
    }

    pub(super) fn set_deadline(&self, deadline: Nanos) {
        self.rare().deadline.store(deadline, Ordering::Relaxed);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Recovery> {
        // Nothing that could panic runs under it, and nothing is left half done.
        self.rare().recovery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, where there ever was a transition.
    pub(super) fn lock_if_made(&self) -> Option<MutexGuard<'_, Recovery>> {
        self.rare.get().map(|rare| rare.recovery.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[inline]
    pub(super) fn windows(&self) -> Current<'_> {
        match self.rare.get().and_then(|rare| rare.replaced.get()) {
            None => Current::First(self.windows.as_deref().unwrap_or(&windows::NONE)),
            Some(replaced) => Current::Replaced(replaced.load()),
        }
    }

    /// Called under the lock, so that there is one after another.
    pub(super) fn replace_windows(&self, windows: Windows) {
        let (replaced, windows) = (&self.rare().replaced, Arc::new(windows));
        match replaced.get() {
            Some(replaced) => replaced.store(windows),
            None => _ = replaced.get_or_init(|| Swap::new(windows)),
        }
    }
}
