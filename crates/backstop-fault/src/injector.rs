//! What all services and handles of a layer share: decides which calls are hit.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Waker,
};

use backstop_core::{ConfigError, EventLog, Name, Outcome, Reason, Rejection, RejectionDetail, scope};
use backstop_kit::{Jitter, Registration, check_operator};
use tokio::time::Instant;

use crate::{
    Ended, Fault, FaultConfig, FaultKind, FaultRun, FaultStatus, Refusal, RunId,
    conditions::{Blocked, Conditions},
    config::Settings,
    engine::{End, Engine, Hit},
    metrics::Metrics,
    run::RequestView,
    telemetry,
};

/// The reason of a rejection that was injected.
pub const FAULT_INJECTED: Reason = Reason::new("fault-injected");

/// Aligned, so that what every call reads shares no cache line with what runs change.
#[repr(align(64))]
pub(crate) struct Injector {
    /// Whether a run may run. All that a call reads while none does.
    is_running: AtomicBool,
    name: Name,
    /// What the layer was built with: reloads don't go beyond it.
    built: Settings,
    conditions: Conditions,
    state: Mutex<State>,
    metrics: Metrics,
    pub(crate) log: OnceLock<EventLog>,
    _registration: Registration,
}

struct State {
    engine: Engine,
    settings: Settings,
}

impl Injector {
    pub(crate) fn new(name: Name, settings: Settings, conditions: Conditions) -> Self {
        if settings.armed {
            scope::allow_injected_faults();
        }
        Self {
            is_running: AtomicBool::new(false),
            metrics: Metrics::new(&name),
            _registration: Registration::new(telemetry::KIND, name.clone()),
            built: settings.clone(),
            conditions,
            state: Mutex::new(State { engine: Engine::new(), settings }),
            log: OnceLock::new(),
            name,
        }
    }

    pub(crate) const fn name(&self) -> &Name {
        &self.name
    }

    /// Whether a call must [ask](Self::decide) if it is hit.
    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        self.is_running.load(Relaxed)
    }

    /// Decides whether a call is hit. Asks for the conditions only if it is, or once a second.
    #[cold]
    pub(crate) fn decide(&self, request: Option<&RequestView<'_>>) -> Option<Hit> {
        let (drawn, is_ask_due) = self.update_unless(None, |State { engine, settings }, now| {
            if settings.may_hit(request) {
                (engine.draw(request, settings.max_share), engine.is_ask_due(now))
            } else {
                (None, false)
            }
        });
        if drawn.is_none() && !is_ask_due {
            return None;
        }
        let hit = self.update(|State { engine, settings }, now| engine.hit(drawn?, settings.max_held, now))?;
        if hit.held.is_some() {
            self.injected(hit.run.fault.kind());
        }
        Some(hit)
    }

    /// A call that was hit is to fail now. Returns false if its run has ended.
    pub(crate) fn apply(&self, run: &Arc<FaultRun>) -> bool {
        let is_active = self.update(|state, _| state.engine.apply(run));
        if is_active {
            self.injected(run.fault.kind());
        }
        is_active
    }

    fn injected(&self, kind: FaultKind) {
        telemetry::injected(&self.name, kind);
        self.metrics.injected(kind);
    }

    /// Until when the call in this place is held by its run.
    pub(crate) fn poll_held(&self, index: usize, waker: &Waker) -> Option<Instant> {
        // Cloned and dropped under no lock: either may run code of the executor.
        let mut waker = Some(waker.clone());
        self.update(|state, _| state.engine.poll_held(index, &mut waker))
    }

    pub(crate) fn release(&self, index: usize) {
        // The guard is dropped first.
        let released = self.state().engine.release(index);
        drop(released);
    }

    pub(crate) fn start(&self, run: FaultRun) -> Result<RunId, Refusal> {
        if !self.built.armed {
            return Err(Refusal::NotArmed);
        }
        if run.fault == Fault::Panic && cfg!(panic = "abort") {
            return Err(Refusal::PanicAborts);
        }
        // A run whose time has come ends first.
        self.update(|_, _| ());
        let seed = run.seed.unwrap_or_else(|| Jitter::new(None).number(0..u64::MAX));
        let counts = self.conditions.begin();
        let started = telemetry::Started::of(&run, seed);
        let id = self.update_unless(None, |State { engine, settings }, now| {
            run.check(settings)?;
            if let Some(active) = &engine.run {
                return Err(Refusal::Running(active.id));
            }
            match counts {
                Ok(counts) => Ok(engine.start(run, seed, counts, now)),
                Err(Blocked::Level(level)) => Err(Refusal::Level(level)),
                Err(Blocked::Draining) => Err(Refusal::Draining),
                Err(Blocked::Condition(name)) => Err(Refusal::Condition(name)),
                Err(Blocked::Panicked) => Err(Refusal::Panicked),
            }
        })?;
        started.log(&self.name, id, self.log.get());
        Ok(id)
    }

    pub(crate) fn heartbeat(&self, id: RunId) -> bool {
        self.update(|state, now| state.engine.heartbeat(id, now))
    }

    pub(crate) fn stop(&self, who: &str, reason: &str) -> Result<Option<RunId>, ConfigError> {
        check_operator(who, reason)?;
        // Asks no closure: nothing may keep a run from being stopped.
        let end = self.update_unless(None, |state, now| state.engine.end(now, Ended::Stopped));
        let Some(run) = end.map(End::wake) else { return Ok(None) };
        telemetry::stopped(&self.name, run.id, who, reason, self.log.get());
        telemetry::ended(&self.name, &run, self.log.get());
        Ok(Some(run.id))
    }

    pub(crate) fn status(&self) -> FaultStatus {
        self.update(|state, now| telemetry::status(&state.engine, self.built.armed, now))
    }

    pub(crate) fn settings(&self) -> Settings {
        self.state().settings.clone()
    }

    pub(crate) fn check(&self, config: FaultConfig) -> Result<Settings, ConfigError> {
        let (name, settings) = config.check()?;
        if name != self.name {
            return Err(ConfigError::new("name", name.as_str().to_owned(), self.name.as_str().to_owned()));
        }
        self.built.check_reload(&settings)?;
        Ok(settings)
    }

    pub(crate) fn reload(&self, settings: Settings) {
        let end = self.update(|state, now| {
            let is_too_much = state.engine.run.as_ref().is_some_and(|active| active.run.share > settings.max_share);
            state.settings = settings;
            if is_too_much { state.engine.end(now, Ended::Reloaded) } else { None }
        });
        if let Some(end) = end {
            self.ended(end);
        }
    }

    /// What a call that fails is answered with.
    pub(crate) fn rejection(&self) -> Rejection {
        Rejection::new(self.name.clone(), FAULT_INJECTED, Outcome::failure().transient()).with_static_detail(&Injected)
    }

    fn update<R>(&self, f: impl FnOnce(&mut State, Instant) -> R) -> R {
        self.update_unless(self.blocked(), f)
    }

    /// Asks whether the run that runs must end.
    fn blocked(&self) -> Option<(RunId, Blocked)> {
        if !self.is_running() {
            return None;
        }
        let active = self.state().engine.run.as_ref().map(|active| (active.id, Arc::clone(&active.counts)));
        let (id, counts) = active?;
        Some((id, self.conditions.blocked(&counts)?))
    }

    /// Ends the run if its time has come, then changes the state. Logs under no lock: a subscriber may be slow.
    fn update_unless<R>(&self, blocked: Option<(RunId, Blocked)>, f: impl FnOnce(&mut State, Instant) -> R) -> R {
        let now = Instant::now();
        let mut state = self.state();
        let end = state.engine.refresh(now, blocked);
        let result = f(&mut state, now);
        self.is_running.store(state.engine.run.is_some(), Relaxed);
        drop(state);
        if let Some(end) = end {
            self.ended(end);
        }
        result
    }

    fn ended(&self, end: End) {
        telemetry::ended(&self.name, &end.wake(), self.log.get());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The detail of a rejection that was injected.
#[derive(Debug)]
struct Injected;

impl RejectionDetail for Injected {
    fn describe(&self, by: &Name, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a fault was injected by {by}")
    }
}

impl fmt::Debug for Injector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Injector")
            .field("name", &self.name)
            .field("is_running", &self.is_running())
            .finish_non_exhaustive()
    }
}
