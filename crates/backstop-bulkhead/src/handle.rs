//! The operator's side of a bulkhead.

use std::{sync::Arc, time::Duration};

use backstop_core::{ConfigError, Name};

use crate::{config::check_max_concurrent, room::Room};

/// Looks at a bulkhead and resizes it: see [`BulkheadLayer::handle`](crate::BulkheadLayer::handle).
///
/// All clones, and all services of the layer, share the bulkhead.
#[derive(Clone, Debug)]
pub struct BulkheadHandle {
    room: Arc<Room>,
}

impl BulkheadHandle {
    pub(crate) const fn new(room: Arc<Room>) -> Self {
        Self { room }
    }

    /// The layer's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        self.room.name()
    }

    /// How many permits are out: calls that run, and bodies of theirs that are still read.
    ///
    /// More than [`max_concurrent`](Self::max_concurrent) for a while, where that was lowered.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.room.in_use() as usize
    }

    /// How many calls wait for a permit.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.room.permits().waiting()
    }

    /// How many calls may run at once.
    #[must_use]
    pub fn max_concurrent(&self) -> u32 {
        self.room.permits().limit()
    }

    /// How many more may wait.
    #[must_use]
    pub fn max_waiting(&self) -> u32 {
        self.room.permits().max_waiting()
    }

    /// How long each of them may wait.
    #[must_use]
    pub fn max_wait(&self) -> Duration {
        self.room.max_wait()
    }

    /// How long a response body may hold its call's permit.
    #[must_use]
    pub fn max_hold(&self) -> Duration {
        self.room.max_hold()
    }

    /// Lets so many calls run at once from now on: 1 to 1,000,000.
    ///
    /// Where that is more than before, those in line come in, in their order. Where it is less, nobody is thrown out:
    /// calls that end make no room until the new limit is met.
    ///
    /// ```
    /// use backstop_bulkhead::{BulkheadLayer, name};
    ///
    /// let bulkhead = BulkheadLayer::new(name!("ml_service")).handle();
    /// bulkhead.set_max_concurrent(10)?;
    /// assert_eq!(bulkhead.max_concurrent(), 10);
    /// # Ok::<(), backstop_bulkhead::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] with the field `max_concurrent` where it isn't 1 to 1,000,000; nothing changes then.
    pub fn set_max_concurrent(&self, calls: u32) -> Result<(), ConfigError> {
        self.room.set_max_concurrent(check_max_concurrent(calls)?);
        Ok(())
    }
}
