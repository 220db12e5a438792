//! The rules of health, without clocks, locks or input and output: what is known at an instant, and what follows from it.
//!
//! [`Engine::advance`] goes through time from one deadline to the next. So the result is the same however rarely it
//! is called. Each step settles only the components that were [touched](Engine::touch) or are due, and then what depends on
//! all of them. With 50 components, a report takes 0.7 µs. It took 16 µs when each step settled all of them.

mod damper;
mod slot;
mod tracked;

use std::{mem, sync::Arc, time::Duration};

use backstop_core::{Level, Name};
use tokio::time::Instant;

pub(crate) use slot::{CircuitReading, Slot, Source};
pub(crate) use tracked::Tracked;

use self::damper::Damper;
use crate::{ComponentState, HealthConfig, Readiness, config::ComponentSettings, operator::Operator};

/// A change to be logged, counted and sent to subscribers.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// The service's level, and the component that is worst.
    Level {
        from: Level,
        to: Level,
        worst: Option<(Name, Option<Arc<str>>)>,
    },
    /// The level that a component counts as, after damping.
    ComponentLevel {
        component: usize,
        from: Level,
        to: Level,
        message: Option<Arc<str>>,
    },
    /// What is known of a component, at once.
    State {
        component: usize,
        from: ComponentState,
        to: ComponentState,
        message: Option<Arc<str>>,
    },
    Readiness {
        from: Readiness,
        to: Readiness,
    },
    PinExpired {
        level: Level,
    },
}

/// A level that an operator has set.
#[derive(Clone, Debug)]
pub(crate) struct Pin {
    pub(crate) level: Level,
    pub(crate) until: Instant,
    pub(crate) operator: Operator,
}

pub(crate) struct Engine {
    pub(crate) config: HealthConfig,
    components: Vec<Tracked>,
    /// When everything was last settled. It never goes back.
    now: Instant,
    began: Instant,
    damper: Damper,
    /// What must still happen before starting is over.
    pub(crate) start_holds: u32,
    has_started: bool,
    /// The time to start has passed. Another setting doesn't bring it back.
    start_is_over: bool,
    pub(crate) drain_since: Option<Instant>,
    pin: Option<Pin>,
    level: Level,
    readiness: Readiness,
    changes: Vec<Change>,
    /// Something that is shown has changed.
    is_dirty: bool,
}

impl Engine {
    pub(crate) fn new(config: HealthConfig, components: Vec<Tracked>, now: Instant) -> Self {
        Self {
            config,
            components,
            now,
            began: now,
            damper: Damper::new(now),
            start_holds: 0,
            has_started: false,
            start_is_over: false,
            drain_since: None,
            pin: None,
            level: Level::Healthy,
            readiness: Readiness::Starting,
            changes: Vec::new(),
            is_dirty: true,
        }
    }

    pub(crate) const fn level(&self) -> Level {
        self.level
    }

    pub(crate) const fn readiness(&self) -> Readiness {
        self.readiness
    }

    pub(crate) const fn now(&self) -> Instant {
        self.now
    }

    pub(crate) const fn pin(&self) -> Option<&Pin> {
        self.pin.as_ref()
    }

    pub(crate) fn components(&self) -> &[Tracked] {
        &self.components
    }

    /// A component whose sources change.
    pub(crate) fn touch(&mut self, component: usize) -> &mut Tracked {
        let tracked = &mut self.components[component];
        tracked.is_touched = true;
        tracked
    }

    fn touch_all(&mut self) {
        self.components.iter_mut().for_each(|tracked| tracked.is_touched = true);
    }

    /// Touches the components with a heartbeat. A beat stores a number, and touches nothing.
    pub(crate) fn touch_heartbeats(&mut self) {
        for tracked in &mut self.components {
            tracked.is_touched |= tracked.slots.iter().any(|slot| matches!(slot.source, Source::Heartbeat { .. }));
        }
    }

    pub(crate) fn reload(&mut self, config: HealthConfig, settings: Vec<ComponentSettings>) {
        self.config = config;
        for (tracked, settings) in self.components.iter_mut().zip(settings) {
            tracked.configure(settings);
        }
        self.touch_all();
    }

    pub(crate) fn begin_drain(&mut self) {
        self.drain_since = Some(self.now);
        self.touch_all();
    }

    /// The worst of all components, at once.
    pub(crate) fn status(&self) -> Level {
        let counted = self.components.iter().map(|tracked| tracked.counted(self.has_started));
        counted.max().unwrap_or_default()
    }

    /// Sets or removes the pin. Returns the one before.
    pub(crate) fn set_pin(&mut self, pin: Option<Pin>) -> Option<Pin> {
        self.is_dirty = true;
        mem::replace(&mut self.pin, pin)
    }

    pub(crate) fn take_changes(&mut self) -> (Vec<Change>, bool) {
        (mem::take(&mut self.changes), mem::take(&mut self.is_dirty))
    }

    /// Goes on to `now`, through every deadline before.
    pub(crate) fn advance(&mut self, now: Instant) {
        while let Some(deadline) = self.next_deadline().filter(|deadline| *deadline <= now) {
            self.now = deadline;
            self.settle();
        }
        self.now = self.now.max(now);
    }

    /// When something will change by itself, if nothing happens before.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let start = (!self.start_is_over).then(|| self.began + self.config.start_within);
        let components = self.components.iter().filter_map(Tracked::due).min();
        let level = self.drain_since.is_none().then(|| {
            let damper = self.damper.due(&self.config).map(|(due, _)| due);
            let pin = self.pin.as_ref().map(|pin| pin.until);
            damper.into_iter().chain(pin).min()
        });
        [start, components, level.flatten()].into_iter().flatten().filter(|due| *due > self.now).min()
    }

    /// Works out what holds now.
    pub(crate) fn settle(&mut self) {
        let now = self.now;
        for (component, tracked) in self.components.iter_mut().enumerate().filter(|(_, tracked)| tracked.is_due(now)) {
            tracked.is_touched = true;
            let (changed, is_dirty) = tracked.settle_state(now);
            self.is_dirty |= is_dirty;
            if let Some(from) = changed {
                let (to, message) = (tracked.view.state, tracked.view.message.clone());
                self.changes.push(Change::State { component, from, to, message });
            }
        }
        self.settle_start();
        // A draining service keeps its level: what ends during the drain is no news.
        if self.drain_since.is_none() {
            self.settle_levels();
        }
        let levels_by = self.drain_since.is_none().then_some(&self.config);
        for tracked in self.components.iter_mut().filter(|tracked| tracked.is_touched) {
            tracked.schedule(now, levels_by);
        }
        let to = self.current_readiness();
        if to != self.readiness {
            let from = mem::replace(&mut self.readiness, to);
            self.changes.push(Change::Readiness { from, to });
            self.is_dirty = true;
        }
    }

    fn settle_start(&mut self) {
        if self.start_is_over && self.has_started {
            return;
        }
        self.start_is_over |= self.now >= self.began + self.config.start_within;
        let all_heard = || self.components.iter().all(|tracked| !tracked.view.is_essential || tracked.was_heard);
        // A hold that comes late counts as well, as long as the service may be starting.
        let has_started = self.start_is_over || (self.start_holds == 0 && (self.has_started || all_heard()));
        if has_started != self.has_started {
            self.has_started = has_started;
            self.is_dirty = true;
            // What is unknown counts otherwise now.
            self.touch_all();
        }
    }

    fn settle_levels(&mut self) {
        let now = self.now;
        let mut worst: Option<(Level, usize)> = None;
        for (component, tracked) in self.components.iter_mut().enumerate() {
            let counted = tracked.counted(self.has_started);
            if tracked.is_touched
                && let Some(from) = tracked.settle_level(now, counted, &self.config)
            {
                let (to, message) = (tracked.view.level, tracked.view.message.clone());
                self.changes.push(Change::ComponentLevel { component, from, to, message });
                self.is_dirty = true;
            }
            if tracked.view.is_essential && worst.is_none_or(|(level, _)| counted > level) {
                worst = Some((counted, component));
            }
        }
        self.damper.observe(now, worst.map(|(level, _)| level).unwrap_or_default(), &self.config);
        if let Some(Pin { level, .. }) = self.pin.take_if(|pin| pin.until <= now) {
            self.changes.push(Change::PinExpired { level });
            self.is_dirty = true;
        }
        let to = self.pin.as_ref().map_or(self.damper.level(), |pin| pin.level);
        if to != self.level {
            let from = mem::replace(&mut self.level, to);
            let worst = worst.filter(|(level, _)| *level > Level::Healthy).map(|(_, component)| {
                let view = &self.components[component].view;
                (view.name.clone(), view.message.clone())
            });
            self.changes.push(Change::Level { from, to, worst });
            self.is_dirty = true;
        }
    }

    fn current_readiness(&self) -> Readiness {
        if self.drain_since.is_some() {
            return Readiness::Draining;
        }
        if !self.has_started {
            return Readiness::Starting;
        }
        // After damping, so that an instance doesn't come and go.
        let local_critical = |tracked: &Tracked| tracked.view.is_local && tracked.view.level == Level::Critical;
        if self.components.iter().any(local_critical) { Readiness::LocalCritical } else { Readiness::Ready }
    }
}

/// How long the state is unknown after a bad report has expired.
pub(crate) const UNKNOWN_FOR: Duration = Duration::from_secs(5);
/// After this time without calls, an open circuit says nothing about its dependency.
pub(crate) const IDLE_CIRCUIT: Duration = Duration::from_secs(60);
