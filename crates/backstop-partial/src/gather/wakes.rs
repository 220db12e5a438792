//! Which parts were woken, so that only those are polled.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Wake, Waker},
};

const BITS: usize = u64::BITS as usize;

/// A waker for each part of a page. Made when the page is polled again: one whose parts are ready at once needs none.
pub(super) struct Wakes {
    shared: Arc<Shared>,
    wakers: Vec<Waker>,
    /// Those that were woken before this poll.
    woken: Vec<u64>,
}

struct Shared {
    /// The task of the page.
    task: Mutex<Waker>,
    /// A bit for each part that was woken since the last poll.
    woken: Box<[AtomicU64]>,
}

struct PartWaker {
    shared: Arc<Shared>,
    index: usize,
}

impl Wakes {
    /// For a page of so many parts. All count as woken.
    pub(super) fn new(parts: usize, task: &Waker) -> Self {
        let woken = (0..parts.div_ceil(BITS)).map(|_| AtomicU64::new(u64::MAX)).collect();
        let shared = Arc::new(Shared { task: Mutex::new(task.clone()), woken });
        let waker = |index| Waker::from(Arc::new(PartWaker { shared: Arc::clone(&shared), index }));
        Self { wakers: (0..parts).map(waker).collect(), shared, woken: Vec::new() }
    }

    /// Begins a poll of the page by `task`.
    pub(super) fn begin_poll(&mut self, task: &Waker) {
        // Before the bits are taken: who sets one afterwards wakes this task.
        self.shared.lock().clone_from(task);
        self.woken.clear();
        self.woken.extend(self.shared.woken.iter().map(|word| word.swap(0, Ordering::AcqRel)));
    }

    /// Whether this part was woken before this poll.
    pub(super) fn is_woken(&self, index: usize) -> bool {
        self.woken.get(index / BITS).is_some_and(|word| word >> (index % BITS) & 1 == 1)
    }

    /// The part's waker.
    pub(super) fn waker(&self, index: usize) -> Option<&Waker> {
        self.wakers.get(index)
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waker> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for PartWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let bit = 1 << (self.index % BITS);
        let Some(word) = self.shared.woken.get(self.index / BITS) else { return };
        // The thread that set it first has woken the task.
        if word.fetch_or(bit, Ordering::AcqRel) & bit == 0 {
            let task = self.shared.lock().clone();
            task.wake();
        }
    }
}

impl fmt::Debug for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakes").field("parts", &self.wakers.len()).finish_non_exhaustive()
    }
}
