//! A component, and what its sources say of it.

use std::sync::Arc;

use backstop_core::{Level, Name};
use tokio::time::Instant;

use super::{damper::Damper, slot::Slot};
use crate::{Component, ComponentState};

pub(crate) struct Tracked {
    pub(crate) name: Name,
    pub(crate) is_essential: bool,
    pub(crate) is_local: bool,
    pub(crate) slots: Vec<Slot>,
    /// Whether a source has had a result, good or bad.
    pub(crate) was_heard: bool,
    /// The worst of the slots, at once.
    pub(crate) state: ComponentState,
    pub(crate) since: Instant,
    pub(crate) message: Option<Arc<str>>,
    pub(crate) damper: Damper,
}

impl Tracked {
    pub(crate) fn new(name: Name, component: &Component, slots: Vec<Slot>, now: Instant) -> Self {
        Self {
            name,
            is_essential: component.is_essential,
            is_local: component.is_local,
            slots,
            was_heard: false,
            state: ComponentState::Unknown,
            since: now,
            message: None,
            damper: Damper::new(now),
        }
    }

    /// The level that its state counts as. Nobody knows much while the service starts, and that is no cause for alarm.
    pub(crate) fn counted(&self, has_started: bool) -> Level {
        let is_cause = has_started && self.is_essential;
        self.state.counted(if is_cause { Level::Degraded } else { Level::Healthy })
    }

    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        self.slots.iter().filter_map(Slot::next_deadline).filter(|due| *due > now).min()
    }

    /// Works out what holds at `now`. Returns the state before if it has changed.
    pub(crate) fn settle(&mut self, now: Instant) -> Option<ComponentState> {
        self.slots.retain_mut(|slot| slot.settle(now));
        let worst = self.slots.iter().reduce(|worst, slot| if slot.state > worst.state { slot } else { worst });
        self.was_heard |= self.slots.iter().any(|slot| slot.state != ComponentState::Unknown);
        let (state, message) = match worst {
            Some(slot) if slot.state == ComponentState::Unknown => {
                (slot.state, slot.message.clone().or_else(|| Some("no result yet".into())))
            }
            Some(slot) => (slot.state, slot.message.clone()),
            // Reporters speak up when something is wrong. Once one was heard, silence is good news.
            None if self.was_heard => (ComponentState::Healthy, None),
            None => (ComponentState::Unknown, Some("no result yet".into())),
        };
        self.message = message;
        (state != self.state).then(|| {
            self.since = now;
            std::mem::replace(&mut self.state, state)
        })
    }
}
