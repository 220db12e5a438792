//! The effects of actions that somebody must end.

use std::time::Duration;

use tokio::time::Instant;

/// An effect, and the operation that ends it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Effect {
    /// The place of the component in the inventory.
    pub(super) target: usize,
    /// The operation that ends it.
    pub(super) end: &'static str,
    /// The operation that caused it, and who asked for that.
    pub(super) operation: &'static str,
    pub(super) who: String,
    pub(super) until: Instant,
}

/// At most one for each component and ending operation.
#[derive(Default)]
pub(super) struct Effects(Vec<Effect>);

impl Effects {
    /// Replaces an earlier effect, and returns that.
    pub(super) fn insert(&mut self, effect: Effect) -> Option<Effect> {
        let earlier = self.remove(effect.target, effect.end);
        self.0.push(effect);
        earlier
    }

    pub(super) fn remove(&mut self, target: usize, end: &str) -> Option<Effect> {
        let index = self.0.iter().position(|effect| effect.target == target && effect.end == end)?;
        Some(self.0.swap_remove(index))
    }

    /// Whether it is there, and not replaced.
    pub(super) fn has(&self, effect: &Effect) -> bool {
        self.0.contains(effect)
    }

    /// The time until the next effect is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().map(|effect| effect.until).min()
    }

    /// The effects that are due. They are tried again after `again`, unless they are removed before.
    pub(super) fn due(&mut self, now: Instant, again: Duration) -> Vec<Effect> {
        let due = self.0.iter_mut().filter(|effect| effect.until <= now);
        due.map(|effect| {
            effect.until = now + again;
            effect.clone()
        })
        .collect()
    }
}
