//! A component, and what its sources say of it.

use std::sync::Arc;

use backstop_core::{Level, Name};
use tokio::time::Instant;

use super::{
    damper::Damper,
    slot::{Slot, Source},
};
use crate::{Component, ComponentState, ComponentView, HealthConfig, config::ComponentSettings};

pub(crate) struct Tracked {
    pub(crate) settings: ComponentSettings,
    pub(crate) slots: Vec<Slot>,
    /// Whether a source has had a result, good or bad.
    pub(crate) was_heard: bool,
    /// What is shown: the worst of the slots, at once, and the level of the damper. Shared with the views that show it.
    pub(crate) view: Arc<ComponentView>,
    damper: Damper,
    /// When it will change by itself, as of when it was last settled. A heartbeat may have put that off since.
    due: Option<Instant>,
    /// A source has changed since it was last settled.
    pub(super) is_touched: bool,
}

impl Tracked {
    pub(crate) fn new(
        name: Name,
        component: &Component,
        settings: ComponentSettings,
        slots: Vec<Slot>,
        now: Instant,
    ) -> Self {
        let view = ComponentView {
            name,
            state: ComponentState::Unknown,
            level: Level::Healthy,
            since: now,
            is_essential: component.is_essential,
            is_local: component.is_local,
            message: None,
        };
        let (view, damper) = (Arc::new(view), Damper::new(now));
        Self { settings, slots, was_heard: false, view, damper, due: None, is_touched: true }
    }

    pub(super) fn configure(&mut self, settings: ComponentSettings) {
        for slot in &mut self.slots {
            if let (Source::Heartbeat { timeout, .. }, Some(configured)) = (&mut slot.source, settings.heartbeat) {
                *timeout = configured;
            }
        }
        self.settings = settings;
    }

    /// The level that its state counts as. Nobody knows much while the service starts, and that is no cause for alarm.
    pub(super) fn counted(&self, has_started: bool) -> Level {
        let is_cause = has_started && self.view.is_essential;
        self.view.state.counted(if is_cause { Level::Degraded } else { Level::Healthy })
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.is_touched || self.due.is_some_and(|due| due <= now)
    }

    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Works out the state at `now`. Returns the state before if it has changed, and whether anything shown has.
    pub(super) fn settle_state(&mut self, now: Instant) -> (Option<ComponentState>, bool) {
        self.slots.retain_mut(|slot| slot.settle(now));
        let worst = self.slots.iter().reduce(|worst, slot| if slot.state > worst.state { slot } else { worst });
        self.was_heard |= self.slots.iter().any(|slot| slot.state != ComponentState::Unknown);
        let (state, message) = match worst {
            Some(slot) if slot.state == ComponentState::Unknown => {
                (slot.state, slot.message.clone().or_else(|| Some("no result yet".into())))
            }
            Some(slot) => (slot.state, slot.message.clone()),
            // Reporters report what is wrong. After the first report, none means that all is well.
            None if self.was_heard => (ComponentState::Healthy, None),
            None => (ComponentState::Unknown, Some("no result yet".into())),
        };
        let before = self.view.state;
        if state == before && message == self.view.message {
            return (None, false);
        }
        let view = Arc::make_mut(&mut self.view);
        view.message = message;
        if state == before {
            return (None, true);
        }
        (view.state, view.since) = (state, now);
        (Some(before), true)
    }

    /// Works out the level at `now`. Returns the level before if it has changed.
    pub(super) fn settle_level(&mut self, now: Instant, counted: Level, config: &HealthConfig) -> Option<Level> {
        if !self.damper.observe(now, counted, config) {
            return None;
        }
        let before = self.view.level;
        Arc::make_mut(&mut self.view).level = self.damper.level();
        Some(before)
    }

    /// Sets when it is due again, after its state and level were settled. `config` is `None` once levels are frozen.
    pub(super) fn schedule(&mut self, now: Instant, config: Option<&HealthConfig>) {
        let level = config.and_then(|config| self.damper.due(config)).map(|(due, _)| due);
        let due = self.slots.iter().filter_map(Slot::next_deadline).chain(level);
        self.due = due.filter(|due| *due > now).min();
        self.is_touched = false;
    }
}
