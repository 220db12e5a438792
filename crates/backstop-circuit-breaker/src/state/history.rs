//! The latest transitions, kept for those who read them one by one.

use std::collections::VecDeque;

use super::Transition;

/// How many are kept.
pub(super) const KEPT: usize = 64;

/// Kept only once somebody has asked for it.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Transition>);

impl History {
    pub(super) fn push(&mut self, transition: Transition) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(transition);
    }

    pub(super) fn after(&self, seq: u64) -> Option<Transition> {
        let latest = self.0.back()?.seq;
        // They are numbered without gaps.
        let newer = usize::try_from(latest.saturating_sub(seq)).unwrap_or(usize::MAX);
        self.0.get(self.0.len().saturating_sub(newer)).copied()
    }
}
