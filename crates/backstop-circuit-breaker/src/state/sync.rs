//! The atomics and the lock of the state machine: the standard library's, or the model checker's.
//!
//! The model checker has its own cfg, because `--cfg loom` would also affect dependencies.

#[cfg(not(backstop_loom))]
pub(crate) use arc_swap::ArcSwap as Swap;
#[cfg(backstop_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, fence},
};
#[cfg(backstop_loom)]
pub(crate) use once::OnceLock;
#[cfg(not(backstop_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard, OnceLock,
    atomic::{AtomicU64, fence},
};
#[cfg(backstop_loom)]
pub(crate) use swap::{Loaded, Swap};

pub(crate) use std::sync::{PoisonError, atomic::Ordering};

/// Seeded, because keys come from requests, and nobody must be able to choose keys that collide.
#[cfg(not(backstop_loom))]
pub(crate) type BuildKeyHasher = std::hash::RandomState;
/// The same in each of the model checker's runs.
#[cfg(backstop_loom)]
pub(crate) type BuildKeyHasher = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// The number of the current thread, from 0 on.
#[cfg(not(backstop_loom))]
pub(crate) fn thread_number() -> usize {
    use std::sync::atomic::AtomicUsize;

    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}

/// The same in each of the model checker's runs.
#[cfg(backstop_loom)]
pub(crate) fn thread_number() -> usize {
    let id = format!("{:?}", loom::thread::current().id());
    id.chars().filter_map(|char| char.to_digit(10)).fold(0, |number, digit| number * 10 + digit as usize)
}

/// The value that a [`Swap`] held when it was loaded. It isn't freed while this exists.
#[cfg(not(backstop_loom))]
pub(crate) type Loaded<T> = arc_swap::Guard<std::sync::Arc<T>>;

/// `arc-swap` guarantees that a load returns the last stored value. The model checker tries all orders of loads and stores.
#[cfg(backstop_loom)]
mod swap {
    use std::sync::Arc;

    use super::{Mutex, PoisonError};

    pub(crate) type Loaded<T> = Arc<T>;

    #[derive(Debug)]
    pub(crate) struct Swap<T>(Mutex<Arc<T>>);

    impl<T> Swap<T> {
        pub(crate) fn new(value: Arc<T>) -> Self {
            Self(Mutex::new(value))
        }

        pub(crate) fn load(&self) -> Loaded<T> {
            Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }

        pub(crate) fn store(&self, value: Arc<T>) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
        }
    }
}

/// The model checker has no `OnceLock`.
#[cfg(backstop_loom)]
mod once {
    use super::{AtomicU64, Mutex, Ordering, PoisonError};

    #[derive(Debug)]
    pub(crate) struct OnceLock<T> {
        is_set: AtomicU64,
        setting: Mutex<()>,
        /// Read only after `is_set`, or while it is being set.
        value: std::sync::OnceLock<T>,
    }

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> Self {
            Self { is_set: AtomicU64::new(0), setting: Mutex::new(()), value: std::sync::OnceLock::new() }
        }

        pub(crate) fn get(&self) -> Option<&T> {
            if self.is_set.load(Ordering::Acquire) == 1 { self.value.get() } else { None }
        }

        pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
            if self.get().is_none() {
                let _setting = self.setting.lock().unwrap_or_else(PoisonError::into_inner);
                self.value.get_or_init(make);
                self.is_set.store(1, Ordering::Release);
            }
            self.value.get_or_init(|| unreachable!("it is set"))
        }
    }
}
