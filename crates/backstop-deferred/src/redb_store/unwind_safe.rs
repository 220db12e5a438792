//! Drops what belongs to a transaction that has panicked.
#![expect(clippy::expect_used, reason = "only `into_inner` and `drop`, which end it, take the value")]

use std::{
    ops::{Deref, DerefMut},
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

/// A value whose destructor may panic while another panic unwinds, which would otherwise abort the process.
///
/// After a panic in a transaction, redb's locks are poisoned, and the destructors of the transaction and its tables panic.
pub(super) struct UnwindSafe<T>(Option<T>);

impl<T> UnwindSafe<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(Some(value))
    }

    pub(super) fn into_inner(mut self) -> T {
        self.0.take().expect("taken")
    }
}

impl<T> Deref for UnwindSafe<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("taken")
    }
}

impl<T> DerefMut for UnwindSafe<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("taken")
    }
}

impl<T> Drop for UnwindSafe<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        // Otherwise the panic must be seen: it may mean that the transaction can't be committed.
        if thread::panicking() {
            _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PanicsWhenDropped;

    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    #[test]
    fn a_second_panic_does_not_abort_the_process() {
        let panicked = catch_unwind(|| {
            let _values = [UnwindSafe::new(PanicsWhenDropped), UnwindSafe::new(PanicsWhenDropped)];
            panic!("first");
        });
        assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"first"));
    }

    #[test]
    fn a_destructor_that_panics_is_seen() {
        let panicked = catch_unwind(|| drop(UnwindSafe::new(PanicsWhenDropped)));
        assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"dropped"));
    }
}
