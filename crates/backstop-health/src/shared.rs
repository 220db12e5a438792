//! What all handles of one [`Health`](crate::Health) share.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use backstop_core::{ConfigError, EventLog, Level, Name};
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::Instant,
};

use crate::{
    Component, ComponentState, HealthConfig, HealthView, Readiness,
    config::ComponentSettings,
    drain::{DrainSignal, DrainState},
    engine::{Change, Engine, Slot, Source, Tracked},
    sample::{Reading, Sampled, SampledSource},
    shared_view::OtherInstances,
    state::{level_bits, level_from_bits},
    telemetry::{self, Metrics},
};

/// How often circuits and backlogs are read.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// After this time without [`run`](crate::Health::run), circuits and backlogs are read by the one who asks for the view.
const DRIVER_LOST_AFTER: Duration = Duration::from_secs(1);

pub(crate) struct Shared {
    pub(crate) components: Box<[ComponentCell]>,
    pub(crate) began: Instant,
    pub(crate) drain: watch::Sender<DrainState>,
    pub(crate) drain_signal: Arc<DrainSignal>,
    pub(crate) levels: watch::Sender<Level>,
    pub(crate) readiness: watch::Sender<Readiness>,
    pub(crate) wake: Arc<Notify>,
    pub(crate) others: ArcSwap<OtherInstances>,
    pub(crate) log: OnceLock<EventLog>,
    level: AtomicU8,
    view: ArcSwap<HealthView>,
    sampled: Box<[Sampled]>,
    /// Held while circuits and backlogs are read.
    reading_turn: Semaphore,
    /// When circuits and backlogs were last read, in nanoseconds since `began`.
    last_sampled: AtomicU64,
    metrics: Metrics,
    /// The recorder that knows all gauges.
    recorder: AtomicUsize,
    state: Mutex<State>,
}

/// What never changes of a component, and what is read without a lock.
pub(crate) struct ComponentCell {
    pub(crate) name: Name,
    pub(crate) declared: ComponentSettings,
    pub(crate) is_essential: bool,
    pub(crate) heartbeat: Option<Arc<AtomicU64>>,
    /// Held by the component's active probe, so that there is only one.
    pub(crate) probe_turn: Arc<Semaphore>,
    /// What a failing probe makes of it.
    failed: ComponentState,
    state: AtomicU8,
    level: AtomicU8,
}

/// A component to be tracked.
pub(crate) struct NewComponent {
    pub(crate) name: Name,
    pub(crate) component: Component,
    pub(crate) declared: ComponentSettings,
    pub(crate) settings: ComponentSettings,
}

struct State {
    engine: Engine,
    /// Changes that are not yet logged and counted, in order.
    changes: VecDeque<Change>,
    /// A thread publishes changes, and will go on until `changes` is empty.
    is_publishing: bool,
    /// Until when the driver sleeps.
    driver_sleeps_until: Option<Instant>,
}

impl Shared {
    pub(crate) fn new(config: HealthConfig, parts: impl Iterator<Item = NewComponent>) -> Self {
        let began = Instant::now();
        let (mut components, mut tracked, mut sampled) = (Vec::new(), Vec::new(), Vec::new());
        for (index, NewComponent { name, component, declared, settings }) in parts.enumerate() {
            let failed = ComponentState::from(component.failed_level());
            let mut slots = Vec::new();
            let mut heartbeat = None;
            if let Some(timeout) = settings.heartbeat {
                let last = Arc::<AtomicU64>::default();
                slots.push(Slot::new(Source::Heartbeat { timeout, began, last: Arc::clone(&last) }));
                heartbeat = Some(last);
            }
            for circuit in &component.circuits {
                sampled.push(Sampled::new(index, slots.len(), SampledSource::Circuit(Arc::clone(circuit))));
                let name = circuit.name().clone();
                slots.push(Slot::new(Source::Circuit { name, failed, idle_since: None }));
            }
            for backlog in &component.backlogs {
                sampled.push(Sampled::new(index, slots.len(), SampledSource::Backlog(backlog.clone())));
                slots.push(Slot::new(Source::Sampled));
            }
            let (state, level) = (AtomicU8::new(ComponentState::Unknown as u8), AtomicU8::new(0));
            let is_essential = component.is_essential;
            let probe_turn = Arc::new(Semaphore::new(1));
            let name = name.clone();
            tracked.push(Tracked::new(name.clone(), &component, settings, slots, began));
            components.push(ComponentCell {
                name,
                declared,
                is_essential,
                heartbeat,
                probe_turn,
                failed,
                state,
                level,
            });
        }
        let metrics = Metrics::new(components.iter().map(|known| known.name.clone()));
        let engine = Engine::new(config, tracked, began);
        let shared = Self {
            components: components.into(),
            began,
            drain: watch::Sender::default(),
            drain_signal: Arc::default(),
            levels: watch::Sender::new(Level::Healthy),
            readiness: watch::Sender::new(Readiness::Starting),
            wake: Arc::default(),
            others: ArcSwap::default(),
            log: OnceLock::new(),
            level: AtomicU8::new(level_bits(Level::Healthy)),
            view: ArcSwap::from_pointee(HealthView::of(&engine)),
            sampled: sampled.into(),
            reading_turn: Semaphore::new(1),
            last_sampled: AtomicU64::new(0),
            metrics,
            recorder: AtomicUsize::new(0),
            state: Mutex::new(State {
                engine,
                changes: VecDeque::new(),
                is_publishing: false,
                driver_sleeps_until: None,
            }),
        };
        // So that what can be known at once is known before the first request.
        shared.sample();
        shared
    }

    #[inline]
    pub(crate) fn level(&self) -> Level {
        level_from_bits(self.level.load(Ordering::Acquire))
    }

    pub(crate) fn component_index(&self, name: &str) -> Option<usize> {
        self.components.iter().position(|known| known.name == *name)
    }

    pub(crate) fn find(&self, name: &str) -> Result<usize, ConfigError> {
        self.component_index(name)
            .ok_or_else(|| ConfigError::new("component", name.to_owned(), "the name of a component that was declared"))
    }

    pub(crate) fn failed(&self, component: usize) -> ComponentState {
        self.components[component].failed
    }

    /// Reads circuits and backlogs, and works out what follows.
    pub(crate) fn sample(&self) {
        let readings = self.read();
        self.apply(self.lock(), readings);
        self.publish();
    }

    /// Their code runs without our lock, on one thread at a time. If it hangs, other threads go on without readings.
    fn read(&self) -> Vec<Reading> {
        let Ok(_turn) = self.reading_turn.try_acquire() else { return Vec::new() };
        self.sampled.iter().map(Sampled::read).collect()
    }

    fn apply(&self, state: MutexGuard<'_, State>, readings: Vec<Reading>) {
        self.last_sampled.store(self.nanos(Instant::now()), Ordering::Release);
        self.update_locked(state, |engine| {
            let now = engine.now();
            for (sampled, reading) in self.sampled.iter().zip(readings) {
                let tracked = engine.touch(sampled.component);
                reading.apply(now, &mut tracked.slots[sampled.slot], tracked.settings.backlog);
            }
            engine.touch_heartbeats();
        });
    }

    /// One round of the driver. Returns when the next one is due.
    pub(crate) fn drive(&self) -> Instant {
        self.sample();
        self.show_all_gauges_to_a_new_recorder();
        let mut state = self.lock();
        let next = state.engine.now() + SAMPLE_EVERY;
        let next = state.engine.next_deadline().map_or(next, |deadline| deadline.min(next));
        state.driver_sleeps_until = Some(next);
        drop(state);
        self.publish();
        next
    }

    /// Changes what is known, and works out what follows.
    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut Engine) -> R) -> R {
        let result = self.update_unpublished(change);
        self.publish();
        result
    }

    /// The same, for a caller that has more to do before it [publishes](Self::publish).
    pub(crate) fn update_unpublished<R>(&self, change: impl FnOnce(&mut Engine) -> R) -> R {
        self.update_locked(self.lock(), change)
    }

    /// What is set, or known, as of the last change.
    pub(crate) fn read_engine<R>(&self, read: impl FnOnce(&Engine) -> R) -> R {
        let result = read(&self.lock().engine);
        self.publish();
        result
    }

    /// Reads circuits and backlogs if the driver doesn't. Doesn't wait for the lock.
    pub(crate) fn catch_up(&self) {
        let (last, now) = (self.last_sampled.load(Ordering::Acquire), self.nanos(Instant::now()));
        if now.saturating_sub(last) < DRIVER_LOST_AFTER.as_nanos() as u64 {
            return;
        }
        // One of the callers that find it due reads, and the others go on.
        if self.last_sampled.compare_exchange(last, now, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return;
        }
        let readings = self.read();
        // A thread that holds the lock works it out.
        let Some(state) = self.try_lock() else { return };
        self.apply(state, readings);
        self.publish_if_free();
    }

    pub(crate) fn view(&self) -> Arc<HealthView> {
        self.catch_up();
        self.view.load_full()
    }

    pub(crate) fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    fn update_locked<R>(&self, mut state: MutexGuard<'_, State>, change: impl FnOnce(&mut Engine) -> R) -> R {
        let engine = &mut state.engine;
        engine.advance(Instant::now());
        let result = change(engine);
        engine.settle();
        let next = engine.next_deadline();

        let (changes, is_dirty) = engine.take_changes();
        if is_dirty {
            self.level.store(level_bits(engine.level()), Ordering::Release);
            for (known, tracked) in self.components.iter().zip(engine.components()) {
                known.state.store(tracked.view.state as u8, Ordering::Release);
                known.level.store(level_bits(tracked.view.level), Ordering::Release);
            }
            self.view.store(Arc::new(HealthView::of(engine)));
        }
        state.changes.extend(changes);
        let wakes_driver = state.driver_sleeps_until.zip(next).is_some_and(|(until, next)| next < until);
        drop(state);
        if wakes_driver {
            self.wake.notify_one();
        }
        if is_dirty {
            self.send();
        }
        result
    }

    /// Sends the latest level and readiness, before anything is logged: a subscriber of the log may panic or hang.
    fn send(&self) {
        // The view is loaded under the channel's lock, so that the last one who sends sends the latest.
        self.levels.send_if_modified(|level| set(level, self.view.load().level()));
        self.readiness.send_if_modified(|readiness| set(readiness, self.view.load().readiness()));
    }

    /// Logs and counts all changes, in order, on one thread at a time, and outside of the lock.
    pub(crate) fn publish(&self) {
        self.publish_while(|| Some(self.lock()));
    }

    /// The same, unless another thread holds the lock: each thread that held it publishes afterwards.
    fn publish_if_free(&self) {
        self.publish_while(|| self.try_lock());
    }

    fn publish_while<'a>(&'a self, lock: impl Fn() -> Option<MutexGuard<'a, State>>) {
        while let Some(mut state) = lock() {
            if state.is_publishing || state.changes.is_empty() {
                return;
            }
            state.is_publishing = true;
            let changes = mem::take(&mut state.changes);
            drop(state);
            let publishing = Publishing(self);
            changes.iter().for_each(|change| telemetry::changed(self, &self.metrics, change));
            drop(publishing);
        }
    }

    pub(crate) fn show_all_gauges_to_a_new_recorder(&self) {
        let recorder = backstop_kit::telemetry::recorder_address();
        if self.recorder.swap(recorder, Ordering::Relaxed) != recorder {
            let view = self.view.load();
            self.metrics.show(view.level(), view.readiness(), view.components().map(crate::ComponentView::state));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(state)) => Some(state.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl ComponentCell {
    #[inline]
    pub(crate) fn state(&self) -> ComponentState {
        ComponentState::from_bits(self.state.load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn level(&self) -> Level {
        level_from_bits(self.level.load(Ordering::Acquire))
    }
}

/// Returns whether the value is another one now.
fn set<T: PartialEq>(value: &mut T, to: T) -> bool {
    mem::replace(value, to) != *value
}

/// Lets the next thread publish, also if a subscriber of the log panics.
struct Publishing<'a>(&'a Shared);

impl Drop for Publishing<'_> {
    fn drop(&mut self) {
        self.0.lock().is_publishing = false;
    }
}
