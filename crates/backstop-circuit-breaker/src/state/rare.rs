//! What only a circuit needs that isn't simply closed. Made with the first transition, so that thousands of circuits that
//! never had one are small.

use super::{
    Circuit, Nanos, Observer,
    recovery::Recovery,
    sync::{AtomicU64, Mutex, MutexGuard, OnceLock, Ordering, PoisonError},
    windows::{self, Windows},
};

#[derive(Debug)]
pub(super) struct Rare<L> {
    /// When an open circuit takes its first probe, or a saturated one's earliest lease expires.
    deadline: AtomicU64,
    recovery: Mutex<Recovery>,
    replaced: OnceLock<Box<Replaced>>,
    listeners: L,
}

/// Windows that replaced others of another kind or size.
///
/// Those are kept, because a result that began in them may still be on its way there.
#[derive(Debug)]
struct Replaced {
    windows: Windows,
    next: OnceLock<Box<Self>>,
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
    pub(super) fn windows(&self) -> &Windows {
        let mut windows = self.windows.as_deref().unwrap_or(&windows::NONE);
        let mut replaced = self.rare.get().and_then(|rare| rare.replaced.get());
        while let Some(newer) = replaced {
            windows = &newer.windows;
            replaced = newer.next.get();
        }
        windows
    }

    /// Called under the lock, so that there is one after another.
    pub(super) fn replace_windows(&self, windows: Windows) {
        let mut last = &self.rare().replaced;
        while let Some(newer) = last.get() {
            last = &newer.next;
        }
        last.get_or_init(|| Box::new(Replaced { windows, next: OnceLock::new() }));
    }
}
