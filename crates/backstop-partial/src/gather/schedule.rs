//! Which part is polled when.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use backstop_core::scope;
use backstop_kit::ErrorText;

use super::{set::Slots, wakes::Wakes};
use crate::part::slot::{RunSlot, State};

/// Polls the parts of a page.
///
/// | poll | polls |
/// |---|---|
/// | the first one | all parts, in order; if fewer may run at once, the required ones first |
/// | the second one | all that run, each with a waker of its own from then on |
/// | any other | those that were woken |
///
/// Each part is polled at most once in a poll of the page, and another one is the first each time. So a part that is always
/// ready to go on, or that uses up what tokio allows a task to do in one poll, starves no other.
#[derive(Debug)]
pub(super) struct Schedule {
    /// How many may run at once.
    max_concurrent: usize,
    running: usize,
    /// How many have ended.
    ended: usize,
    polls: usize,
    /// Where the search for the next part that is required, and the next one that isn't, begins.
    next: [usize; 2],
    wakes: Option<Wakes>,
}

impl Schedule {
    pub(super) const fn new(max_concurrent: usize) -> Self {
        Self { max_concurrent, running: 0, ended: 0, polls: 0, next: [0, 0], wakes: None }
    }

    /// Ready when all parts have ended, or a required one has failed.
    pub(super) fn poll(
        &mut self,
        mut slots: Pin<&mut dyn Slots>,
        cx: &mut Context<'_>,
        errors: &ErrorText,
    ) -> Poll<()> {
        let parts = slots.count();
        let mut has_failed = false;
        if self.polls > 0 {
            let first = self.polls;
            self.wakes.get_or_insert_with(|| Wakes::new(parts, cx.waker())).begin_poll(cx.waker());
            for i in (0..parts).map(|i| (i + first) % parts) {
                let is_woken = self.wakes.as_ref().is_none_or(|wakes| wakes.is_woken(i));
                if is_woken
                    && let Some(slot) = slots.as_mut().get(i).filter(|slot| slot.status().state == State::Running)
                {
                    has_failed |= self.poll_part(slot, i, cx, errors);
                }
            }
        }
        if self.polls == 0 && parts <= self.max_concurrent {
            slots.as_mut().for_each(0, &mut |i, slot| {
                if !has_failed {
                    self.running += 1;
                    has_failed = self.poll_part(slot, i, cx, errors);
                }
            });
        }
        while !has_failed && self.running < self.max_concurrent && self.running + self.ended < parts {
            let Some(i) = self.next_waiting(slots.as_mut(), parts) else { break };
            let Some(mut slot) = slots.as_mut().get(i) else { break };
            // A page whose time is up when it begins still polls as many parts as may run at once.
            if self.polls > 0 && scope::passed().is_some() {
                slot.as_mut().status_mut().fail_unstarted();
                has_failed |= slot.is_required();
                self.ended += 1;
            } else {
                self.running += 1;
                has_failed |= self.poll_part(slot, i, cx, errors);
            }
        }
        self.polls = self.polls.wrapping_add(1);
        if has_failed || self.ended == parts { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Polls a part. Returns whether the page fails with it.
    fn poll_part(
        &mut self,
        slot: Pin<&mut dyn RunSlot>,
        index: usize,
        cx: &mut Context<'_>,
        errors: &ErrorText,
    ) -> bool {
        let polled = match self.wakes.as_ref().and_then(|wakes| wakes.waker(index)) {
            Some(waker) => slot.poll(&mut Context::from_waker(waker), errors),
            None => slot.poll(cx, errors),
        };
        let Poll::Ready(fails_page) = polled else { return false };
        self.running -= 1;
        self.ended += 1;
        fails_page
    }

    /// The next part that waits for its turn: the required ones come first.
    fn next_waiting(&mut self, mut slots: Pin<&mut dyn Slots>, parts: usize) -> Option<usize> {
        for (next, is_required) in self.next.iter_mut().zip([true, false]) {
            while *next < parts {
                let i = *next;
                *next += 1;
                if slots.as_mut().get(i)?.is_required() == is_required {
                    return Some(i);
                }
            }
        }
        None
    }
}
