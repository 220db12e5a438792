//! Settings that are replaced while calls run.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwapOption, Guard};

/// A [`Duration`] that can be changed while calls read it: one relaxed load, and no division.
///
/// Holds up to 2³⁴ seconds (544 years), and takes a longer time for that.
///
/// ```
/// use std::time::Duration;
/// use backstop_kit::AtomicDuration;
///
/// let limit = AtomicDuration::new(Duration::from_secs(1));
/// limit.set(Duration::from_millis(250));
/// assert_eq!(limit.get(), Duration::from_millis(250));
/// ```
pub struct AtomicDuration(AtomicU64);

/// A second has fewer nanoseconds than 2³⁰.
const NANOS_BITS: u32 = 30;
const NANOS: u64 = (1 << NANOS_BITS) - 1;
const MAX_SECS: u64 = u64::MAX >> NANOS_BITS;

impl AtomicDuration {
    /// Begins with `time`.
    #[must_use]
    pub const fn new(time: Duration) -> Self {
        Self(AtomicU64::new(packed(time)))
    }

    /// The time.
    #[inline]
    #[must_use]
    pub fn get(&self) -> Duration {
        let bits = self.0.load(Ordering::Relaxed);
        Duration::new(bits >> NANOS_BITS, (bits & NANOS) as u32)
    }

    /// Replaces the time.
    pub fn set(&self, time: Duration) {
        self.0.store(packed(time), Ordering::Relaxed);
    }
}

const fn packed(time: Duration) -> u64 {
    let secs = if time.as_secs() > MAX_SECS { MAX_SECS } else { time.as_secs() };
    secs << NANOS_BITS | time.subsec_nanos() as u64
}

impl fmt::Debug for AtomicDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), f)
    }
}

/// Settings that a layer shares with its handle, which replaces them while calls run.
///
/// A call takes them once, with [`load`](Self::load) or [`snapshot`](Self::snapshot), and so sees either the old ones or the
/// new ones as a whole. Until they are first replaced, that costs one load of a flag. Afterwards it costs what an
/// [`ArcSwap`](arc_swap::ArcSwap) costs; nothing is locked. Replaced settings are freed when no call uses them, except those
/// that the layer was built with.
///
/// ```
/// use backstop_kit::Reloadable;
///
/// let attempts = Reloadable::new(3);
/// let running = attempts.snapshot();
/// attempts.replace(5);
/// assert_eq!((*attempts.at(&running), *attempts.load()), (3, 5));
/// ```
pub struct Reloadable<T> {
    first: T,
    is_replaced: AtomicBool,
    current: ArcSwapOption<T>,
}

/// The settings of one call: see [`Reloadable::snapshot`].
#[derive(Debug)]
pub struct Snapshot<T>(Option<Arc<T>>);

impl<T> Reloadable<T> {
    /// Begins with `first`.
    pub const fn new(first: T) -> Self {
        Self { first, is_replaced: AtomicBool::new(false), current: ArcSwapOption::const_empty() }
    }

    /// Borrows the current settings.
    #[inline]
    pub fn load(&self) -> Loaded<'_, T> {
        Loaded { first: &self.first, replaced: self.is_replaced().then(|| self.current.load()) }
    }

    /// Keeps the current settings for a call that outlives this borrow.
    #[inline]
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<T> {
        Snapshot(if self.is_replaced() { self.current.load_full() } else { None })
    }

    /// The settings of a snapshot that was taken here.
    #[inline]
    #[must_use]
    pub fn at<'a>(&'a self, snapshot: &'a Snapshot<T>) -> &'a T {
        snapshot.0.as_deref().unwrap_or(&self.first)
    }

    /// Replaces the settings for all calls that begin afterwards.
    ///
    /// Reloads that first look at the current settings must be kept apart by a lock.
    pub fn replace(&self, settings: T) {
        self.current.store(Some(Arc::new(settings)));
        // Who sees the flag sees the settings.
        self.is_replaced.store(true, Ordering::Release);
    }

    #[inline]
    fn is_replaced(&self) -> bool {
        self.is_replaced.load(Ordering::Acquire)
    }
}

impl<T: fmt::Debug> fmt::Debug for Reloadable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.load(), f)
    }
}

/// Borrows the current settings: see [`Reloadable::load`].
pub struct Loaded<'a, T> {
    first: &'a T,
    replaced: Option<Guard<Option<Arc<T>>>>,
}

impl<T> Deref for Loaded<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.replaced.as_ref().and_then(|guard| guard.as_deref()).unwrap_or(self.first)
    }
}

impl<T: fmt::Debug> fmt::Debug for Loaded<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(all(test, not(backstop_loom)))]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_call_keeps_the_settings_that_it_began_with() {
        let settings = Reloadable::new("built");
        let before = settings.snapshot();
        settings.replace("second");
        let between = settings.snapshot();
        settings.replace("third");
        assert_eq!(
            [before, between, settings.snapshot()].each_ref().map(|it| *settings.at(it)),
            ["built", "second", "third"]
        );
        assert_eq!(*settings.load(), "third");
    }

    #[test]
    fn replaced_settings_are_freed_when_no_call_uses_them() {
        let settings = Reloadable::new(Arc::new(0));
        let [second, third] = [2, 3].map(Arc::new);
        settings.replace(Arc::clone(&second));
        let running = settings.snapshot();
        settings.replace(Arc::clone(&third));
        assert_eq!(Arc::strong_count(&second), 2);
        drop(running);
        assert_eq!(Arc::strong_count(&second), 1);
        assert_eq!(Arc::strong_count(&third), 2);
    }

    #[test]
    fn settings_are_seen_whole_while_they_are_replaced() {
        let settings = Reloadable::new([0_u32; 8]);
        thread::scope(|scope| {
            scope.spawn(|| (1..1000).for_each(|n| settings.replace([n; 8])));
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    while last < 999 {
                        let seen = *settings.load();
                        assert!(seen.iter().all(|n| *n == seen[0]) && seen[0] >= last);
                        last = seen[0];
                    }
                });
            }
        });
    }

    proptest! {
        #[test]
        fn a_time_is_read_as_it_was_set(secs in 0..=MAX_SECS, nanos in 0..1_000_000_000_u32) {
            let time = AtomicDuration::new(Duration::ZERO);
            time.set(Duration::new(secs, nanos));
            prop_assert_eq!(time.get(), Duration::new(secs, nanos));
        }
    }

    #[test]
    fn a_time_too_long_is_as_long_as_can_be() {
        assert_eq!(AtomicDuration::new(Duration::MAX).get(), Duration::new(MAX_SECS, 999_999_999));
    }
}
