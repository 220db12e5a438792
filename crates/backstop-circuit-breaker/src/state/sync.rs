//! Where the state machine gets its atomics and its lock from: the standard library, or the model checker.
//!
//! The model checker has a cfg of its own, because `--cfg loom` would also reach into the dependencies.

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

/// Hashes keys with a seed: they come from requests, and nobody may choose keys that collide.
#[cfg(not(backstop_loom))]
pub(crate) type BuildKeyHasher = std::hash::RandomState;
/// The same in each of the model checker's runs.
#[cfg(backstop_loom)]
pub(crate) type BuildKeyHasher = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// Numbers the threads that ask, from 0 on.
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

/// What a [`Swap`] held when it was loaded. It isn't freed while it is held.
#[cfg(not(backstop_loom))]
pub(crate) type Loaded<T> = arc_swap::Guard<std::sync::Arc<T>>;

/// `arc-swap` promises that it loads what was last stored. The model checker tries when that happens.
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

/// The model checker has none.
#[cfg(backstop_loom)]
mod once {
    use super::{AtomicU64, Mutex, Ordering, PoisonError};

    #[derive(Debug)]
    pub(crate) struct OnceLock<T> {
        is_set: AtomicU64,
        setting: Mutex<()>,
        /// Looked into by those alone who saw that it is set, or who are setting it.
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
