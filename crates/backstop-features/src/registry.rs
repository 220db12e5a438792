//! What all clones of [`Features`](crate::Features) share.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_core::{ConfigError, EventLog, Level, Name};
use backstop_health::{Reporter, StartHold};
use backstop_kit::Jitter;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use crate::{
    Declaration, StoreError, StoredValue,
    auto_degrade::AutoDegrade,
    erased_store::{ErasedCounts, ErasedFlags},
    feature::id_of,
    flag::{CLOCK_TOLERANCE, Flag, StoredFlag},
    slot::Slot,
    telemetry,
};

pub(crate) struct Registry {
    /// By the features' numbers.
    slots: Box<[Option<Arc<Slot>>]>,
    /// In the order of declaration, with their names for the store.
    declared: Vec<Arc<Slot>>,
    names: Vec<Name>,
    pub(crate) setup: Setup,
    pub(crate) jitter: Jitter,
    /// Counts the flags that this instance has written. A read that began before a write is out of date.
    pub(crate) writes: AtomicU64,
    pub(crate) has_driver: AtomicBool,
    /// Held by the driver that reports counts: two would report each call twice.
    pub(crate) reporting: Semaphore,
    loaded: watch::Sender<bool>,
    start_hold: Mutex<Option<StartHold>>,
    store: Mutex<StoreErrors>,
}

/// What the builder was given, beside the declarations.
pub(crate) struct Setup {
    pub(crate) flags: Option<Arc<dyn ErasedFlags>>,
    pub(crate) counts: Option<Arc<dyn ErasedCounts>>,
    pub(crate) instance: String,
    pub(crate) store_timeout: Duration,
    pub(crate) sources: Sources,
    /// Shows whether the stores work.
    pub(crate) store_reporter: Option<Reporter>,
    /// Keeps the service starting until the flags were read.
    pub(crate) start_hold: Option<StartHold>,
}

/// Where the level and the states of components come from.
#[derive(Clone, Default)]
pub(crate) struct Sources {
    pub(crate) level: Option<LevelSource>,
    pub(crate) component: Option<ComponentSource>,
}

type LevelSource = Arc<dyn Fn() -> Level + Send + Sync>;
type ComponentSource = Arc<dyn Fn(&Name) -> Option<Level> + Send + Sync>;

impl Sources {
    pub(crate) fn are_none(&self) -> bool {
        self.level.is_none() && self.component.is_none()
    }
}

/// What a store is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Flags,
    Counts,
}

/// What is wrong with the store, as text.
#[derive(Debug, Default)]
struct StoreErrors {
    flags: Option<String>,
    counts: Option<String>,
    /// Features whose flag disappeared, and features whose flag is malformed.
    missing: Vec<Name>,
    malformed: Vec<Name>,
}

impl Registry {
    pub(crate) fn build(declarations: Vec<Declaration>, mut setup: Setup) -> Result<Self, ConfigError> {
        let base = Instant::now();
        let is_known = setup.flags.is_none();
        let start_hold = setup.start_hold.take();
        let (mut slots, mut declared, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for declaration in declarations {
            let auto = declaration.on_errors.map(|rules| rules.check().map(AutoDegrade::new)).transpose()?;
            let id = id_of(&declaration.name) as usize;
            if slots.len() <= id {
                slots.resize(id + 1, None);
            }
            names.push(declaration.name.clone());
            let slot = Arc::new(Slot::new(declaration, auto, base, is_known));
            slots[id] = Some(Arc::clone(&slot));
            declared.push(slot);
        }
        let registry = Self {
            slots: slots.into(),
            declared,
            names,
            setup,
            jitter: Jitter::new(None),
            writes: AtomicU64::new(0),
            has_driver: AtomicBool::new(false),
            reporting: Semaphore::new(1),
            loaded: watch::Sender::new(is_known),
            start_hold: Mutex::new(start_hold),
            store: Mutex::default(),
        };
        registry.ask_sources();
        Ok(registry)
    }

    /// The slot of a feature, by its number.
    #[inline]
    pub(crate) fn slot(&self, id: u32) -> Option<&Arc<Slot>> {
        self.slots.get(id as usize)?.as_ref()
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Slot>> {
        self.declared.iter().find(|slot| *slot.name() == *name)
    }

    pub(crate) fn declared(&self) -> &[Arc<Slot>] {
        &self.declared
    }

    pub(crate) fn names(&self) -> &[Name] {
        &self.names
    }

    /// Follows the level and the components, and lets time pass.
    pub(crate) fn ask_sources(&self) {
        if let Some(level) = &self.setup.sources.level {
            let level = level();
            self.declared.iter().for_each(|slot| slot.set_level(level));
        }
        if let Some(component) = &self.setup.sources.component {
            for slot in &self.declared {
                let needs = &slot.declaration().needs;
                if !needs.is_empty() {
                    slot.set_component(worst(needs.iter().map(|name| component(name))));
                }
            }
        }
        self.declared.iter().for_each(|slot| slot.advance());
    }

    /// Takes over what the store has. Flags that disappeared, and values that aren't flags, change nothing.
    pub(crate) fn take_over(&self, values: Vec<StoredValue>) {
        if values.len() != self.declared.len() {
            return self.store_failed(Use::Flags, &StoreError::from("it returned another number of flags"));
        }
        let (mut missing, mut malformed) = (Vec::new(), Vec::new());
        for (slot, value) in self.declared.iter().zip(values) {
            let stored = match value {
                StoredValue::Missing => {
                    let flag = slot.flag();
                    // One that ends at about this time has simply ended.
                    let remaining = flag.as_ref().map(|flag| flag.remaining().unwrap_or(Duration::MAX));
                    if remaining.is_some_and(|remaining| remaining > CLOCK_TOLERANCE) {
                        missing.push(slot.name().clone());
                    }
                    slot.set_known();
                    continue;
                }
                StoredValue::Malformed => None,
                StoredValue::Value { bytes, ttl } => Flag::parse(&bytes, ttl).ok(),
            };
            match stored {
                Some(StoredFlag::Set(flag)) => {
                    if slot.flag().is_none_or(|known| !known.is_same_decision(&flag)) {
                        telemetry::flag_followed(slot.name(), &flag);
                    }
                    slot.set_flag(Some(flag));
                }
                Some(StoredFlag::Removed) => slot.set_flag(None),
                None => {
                    malformed.push(slot.name().clone());
                    continue;
                }
            }
            slot.set_known();
        }
        let mut store = self.store();
        if store.missing != missing && !missing.is_empty() {
            telemetry::flags_disappeared(&missing);
        }
        if store.malformed != malformed && !malformed.is_empty() {
            telemetry::flags_malformed(&malformed);
        }
        (store.missing, store.malformed) = (missing, malformed);
        drop(store);
        if !*self.loaded.borrow() {
            self.loaded.send_replace(true);
            *self.start_hold.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    pub(crate) fn loaded(&self) -> watch::Receiver<bool> {
        self.loaded.subscribe()
    }

    pub(crate) fn store_failed(&self, used_for: Use, error: &StoreError) {
        let text = backstop_kit::log_text(&error.to_string());
        let mut store = self.store();
        if store.failure(used_for).replace(text.clone()).is_none() {
            telemetry::store_failed(used_for, &text);
        }
    }

    pub(crate) fn is_failing(&self, used_for: Use) -> bool {
        self.store().failure(used_for).is_some()
    }

    pub(crate) fn store_works(&self, used_for: Use) {
        let mut store = self.store();
        if store.failure(used_for).take().is_some() {
            telemetry::store_works(used_for);
        }
    }

    /// What is wrong with the store.
    pub(crate) fn store_error(&self) -> Option<String> {
        let store = self.store();
        if let Some(error) = store.flags.as_ref().or(store.counts.as_ref()) {
            return Some(error.clone());
        }
        match (store.missing.len(), store.malformed.len()) {
            (0, 0) => None,
            (missing, 0) => Some(format!("{missing} flags disappeared before their time")),
            (0, malformed) => Some(format!("{malformed} values aren't flags")),
            (missing, malformed) => Some(format!("{missing} flags disappeared, and {malformed} values aren't flags")),
        }
    }

    pub(crate) fn report_to(&self, log: &EventLog) {
        self.declared.iter().for_each(|slot| slot.report_to(log));
    }

    /// Nobody follows the level and the store, and a feature has just failed.
    #[cold]
    pub(crate) fn warn_if_not_driven(&self) {
        let Setup { flags, counts, sources, .. } = &self.setup;
        let is_needed = flags.is_some() || counts.is_some() || !sources.are_none();
        if is_needed && !self.has_driver.swap(true, Relaxed) {
            telemetry::not_driven();
        }
    }

    fn store(&self) -> MutexGuard<'_, StoreErrors> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoreErrors {
    const fn failure(&mut self, used_for: Use) -> &mut Option<String> {
        match used_for {
            Use::Flags => &mut self.flags,
            Use::Counts => &mut self.counts,
        }
    }
}

/// The worst of some states. An unknown one is better than a bad one, and worse than a good one.
fn worst(states: impl Iterator<Item = Option<Level>>) -> Option<Level> {
    let rank = |state: &Option<Level>| match state {
        Some(Level::Healthy) => 0,
        None => 1,
        Some(Level::Degraded) => 2,
        Some(_) => 3,
    };
    states.max_by_key(rank).unwrap_or(Some(Level::Healthy))
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("features", &self.names).finish_non_exhaustive()
    }
}
