//! The latest transitions, for readers that want each one.

use std::collections::VecDeque;

use super::Transition;

/// The number of transitions that are kept.
pub(super) const KEPT: usize = 64;

/// Created when it is first needed.
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
        // The numbers have no gaps.
        let newer = usize::try_from(latest.saturating_sub(seq)).unwrap_or(usize::MAX);
        self.0.get(self.0.len().saturating_sub(newer)).copied()
    }
}
