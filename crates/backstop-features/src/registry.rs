//! What all clones of [`Features`](crate::Features) share.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_core::{ConfigError, EventLog, Name};
use backstop_health::{Reporter, StartHold};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use crate::{
    FeaturesConfig, StoreError, StoredValue,
    config::{FixedSettings, Settings, StoreTimes},
    erased_store::{ErasedCounts, ErasedFlags},
    feature::id_of,
    flag::{CLOCK_TOLERANCE, Flag, StoredFlag},
    slot::Slot,
    sources::{Needs, Sources},
    store_errors::StoreErrors,
    telemetry,
};

pub(crate) struct Registry {
    /// By the features' numbers.
    slots: Box<[Option<Arc<Slot>>]>,
    /// In the order of declaration, with their names for the store.
    declared: Vec<Arc<Slot>>,
    names: Vec<Name>,
    pub(crate) setup: Setup,
    fixed: FixedSettings,
    pub(crate) instance: Cow<'static, str>,
    /// Locked while settings are followed, so that of two reloads one wins as a whole.
    reloading: Mutex<()>,
    /// Of the declared features.
    needs: Mutex<Arc<Needs>>,
    store_times: Mutex<StoreTimes>,
    /// Counts the flags that this instance has written. A read that began before a write is out of date. Locked while flags are
    /// followed.
    writes: Mutex<u64>,
    pub(crate) has_driver: AtomicBool,
    /// Held by the driver.
    pub(crate) driving: Arc<Semaphore>,
    loaded: watch::Sender<bool>,
    /// The metrics recorder that has the gauges of all states.
    recorder: AtomicUsize,
    start_hold: Mutex<Option<StartHold>>,
    pub(crate) store_errors: StoreErrors,
}

/// What the builder was given, beside the settings.
pub(crate) struct Setup {
    pub(crate) flags: Option<Arc<dyn ErasedFlags>>,
    pub(crate) counts: Option<Arc<dyn ErasedCounts>>,
    pub(crate) sources: Sources,
    /// Shows whether the stores work.
    pub(crate) store_reporter: Option<Reporter>,
}

impl Registry {
    pub(crate) fn build(settings: Settings, setup: Setup, start_hold: Option<StartHold>) -> Result<Self, ConfigError> {
        let Settings { fixed, store, features } = settings;
        let needs = setup.sources.needs(&features)?;
        let random = || backstop_kit::random_token().into();
        let instance = fixed.instance.clone().unwrap_or_else(random);
        let base = Instant::now();
        let is_known = setup.flags.is_none();
        let (mut slots, mut declared, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (name, rules) in features {
            let id = id_of(&name) as usize;
            if slots.len() <= id {
                slots.resize(id + 1, None);
            }
            names.push(name.clone());
            let slot = Arc::new(Slot::new(name, rules, base, is_known));
            slots[id] = Some(Arc::clone(&slot));
            declared.push(slot);
        }
        let registry = Self {
            slots: slots.into(),
            declared,
            names,
            setup,
            fixed,
            instance,
            reloading: Mutex::new(()),
            needs: Mutex::new(Arc::new(needs)),
            store_times: Mutex::new(store),
            writes: Mutex::new(0),
            has_driver: AtomicBool::new(false),
            driving: Arc::new(Semaphore::new(1)),
            loaded: watch::Sender::new(is_known),
            recorder: AtomicUsize::new(0),
            start_hold: Mutex::new(start_hold),
            store_errors: StoreErrors::default(),
        };
        registry.ask_sources();
        registry.show_states_to_a_new_recorder();
        Ok(registry)
    }

    /// Checks new settings for this registry. Returns them in the order of declaration, with the components that they need.
    pub(crate) fn check(&self, config: FeaturesConfig) -> Result<(Settings, Needs), ConfigError> {
        let mut settings = config.check()?;
        let FixedSettings { instance, store_component } = &settings.fixed;
        for (field, new, old) in [
            ("instance", instance, &self.fixed.instance),
            ("store_component", store_component, &self.fixed.store_component),
        ] {
            if new != old {
                return Err(ConfigError::new(field, new.clone().unwrap_or("none".into()), "as it was built"));
            }
        }
        let mut rules: HashMap<_, _> = mem::take(&mut settings.features).into_iter().collect();
        let rules_of = |name: &Name| match rules.remove(name) {
            Some(rules) => Ok((name.clone(), rules)),
            None => Err(ConfigError::new("features", name.clone(), "all features that were declared")),
        };
        settings.features = self.names.iter().map(rules_of).collect::<Result<_, _>>()?;
        if let Some(other) = rules.into_keys().next() {
            return Err(ConfigError::new("features", other, "only features that were declared"));
        }
        let needs = self.setup.sources.needs(&settings.features)?;
        Ok((settings, needs))
    }

    /// Follows new settings, which were [checked](Self::check).
    pub(crate) fn reload(&self, (settings, needs): (Settings, Needs)) {
        let _reloading = locked(&self.reloading);
        *locked(&self.store_times) = settings.store;
        *locked(&self.needs) = Arc::new(needs);
        for (slot, (_, rules)) in self.declared.iter().zip(settings.features) {
            slot.set_rules(rules);
        }
        self.ask_sources();
    }

    pub(crate) fn store_times(&self) -> StoreTimes {
        *locked(&self.store_times)
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

    /// Follows the level and the components, and makes the changes that are due.
    pub(crate) fn ask_sources(&self) {
        let level = self.setup.sources.level();
        let needs = Arc::clone(&locked(&self.needs));
        self.declared.iter().zip(needs.ask()).for_each(|(slot, component)| slot.set_surroundings(level, component));
    }

    pub(crate) fn writes(&self) -> u64 {
        *locked(&self.writes)
    }

    /// A flag was written, or may have been. `follow` changes it here.
    pub(crate) fn written<T>(&self, follow: impl FnOnce() -> T) -> T {
        let mut writes = locked(&self.writes);
        *writes += 1;
        follow()
    }

    /// Follows the flags of the store. Flags that disappeared, and values that aren't flags, change nothing. Returns false if
    /// this instance has written a flag since `writes`: then the values may be older.
    ///
    /// # Errors
    /// If there isn't one value for each feature.
    pub(crate) fn follow_flags(&self, values: Vec<StoredValue>, writes: u64) -> Result<bool, StoreError> {
        let writes_now = locked(&self.writes);
        if *writes_now != writes {
            return Ok(false);
        }
        if values.len() != self.declared.len() {
            return Err("it returned another number of flags".into());
        }
        let (mut missing, mut malformed, mut followed) = (Vec::new(), Vec::new(), Vec::new());
        let mut changes = Vec::new();
        for (slot, value) in self.declared.iter().zip(values) {
            let flags = slot.flags();
            let stored = match value {
                StoredValue::Missing => {
                    // One that ends at about this time has simply ended.
                    let remaining = flags.stored.map(|flag| flag.remaining().unwrap_or(Duration::MAX));
                    if remaining.is_some_and(|remaining| remaining > CLOCK_TOLERANCE) {
                        missing.push(slot.name().clone());
                    }
                    changes.extend(slot.set_known());
                    continue;
                }
                StoredValue::Malformed => None,
                StoredValue::Value { bytes, ttl } => Flag::parse(&bytes, ttl).ok(),
            };
            match stored {
                Some(StoredFlag::Set(flag)) => {
                    if flags.stored.is_none_or(|earlier| !earlier.is_same_decision(&flag)) {
                        followed.push((slot, flag.clone(), flags.here.is_some()));
                    }
                    changes.extend(slot.change_flags(|flags| flags.stored = Some(flag)));
                }
                Some(StoredFlag::Removed) => changes.extend(slot.change_flags(|flags| flags.stored = None)),
                None => {
                    malformed.push(slot.name().clone());
                    continue;
                }
            }
            changes.extend(slot.set_known());
        }
        drop(writes_now);
        telemetry::changed(changes);
        followed.iter().for_each(|(slot, flag, is_overridden)| telemetry::flag_followed(slot, flag, *is_overridden));
        self.store_errors.set_flags(missing, malformed);
        if !*self.loaded.borrow() {
            self.loaded.send_replace(true);
            *locked(&self.start_hold) = None;
        }
        Ok(true)
    }

    pub(crate) fn loaded(&self) -> watch::Receiver<bool> {
        self.loaded.subscribe()
    }

    /// A feature that never changes has no other cause to set its gauges.
    pub(crate) fn show_states_to_a_new_recorder(&self) {
        let recorder = backstop_kit::telemetry::recorder_address();
        if self.recorder.swap(recorder, Relaxed) != recorder {
            self.declared.iter().for_each(|slot| slot.show_state());
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
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("features", &self.names).finish_non_exhaustive()
    }
}
