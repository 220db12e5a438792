//! Watches the level.

use std::fmt;

use backstop_core::Level;
use tokio::sync::watch;

/// Watches the service's level: see [`Health::subscribe`](crate::Health::subscribe).
///
/// It shows the latest level only: a reader that reads it rarely may miss a short one.
#[derive(Clone)]
pub struct LevelSubscription {
    levels: watch::Receiver<Level>,
}

impl LevelSubscription {
    pub(crate) const fn new(levels: watch::Receiver<Level>) -> Self {
        Self { levels }
    }

    /// The latest level. Marks it as seen.
    pub fn level(&mut self) -> Level {
        *self.levels.borrow_and_update()
    }

    /// Whether there is a level that wasn't seen yet.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.levels.has_changed().unwrap_or(false)
    }

    /// Waits for a level that wasn't seen yet. `None` if the [`Health`](crate::Health) doesn't exist any more.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Option<Level> {
        self.levels.changed().await.ok()?;
        Some(self.level())
    }

    /// Waits until `predicate` holds of the level. `None` if the [`Health`](crate::Health) doesn't exist any more.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing.
    pub async fn wait_for(&mut self, mut predicate: impl FnMut(Level) -> bool) -> Option<Level> {
        // The predicate runs without the lock of the watch: it may ask or report health, which may send a level.
        loop {
            let level = self.level();
            if predicate(level) {
                return Some(level);
            }
            self.levels.changed().await.ok()?;
        }
    }
}

impl fmt::Debug for LevelSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LevelSubscription").field("level", &*self.levels.borrow()).finish()
    }
}
