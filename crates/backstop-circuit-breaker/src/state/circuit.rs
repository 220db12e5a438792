//! The circuit and its observer.

use std::{borrow::Cow, fmt, sync::Arc};

use crate::CircuitMode;

use super::{
    CircuitState, Nanos, Settings, Transition,
    call::Refused,
    packed_state::{Generation, PackedState, Phase},
    ramp::Ramp,
    recovery_state::Recovery,
    shared_settings::SharedSettings,
    sync::{AtomicU64, Mutex, MutexGuard, OnceLock, Ordering, PoisonError, Swap},
    transition_state::{Current, TransitionState},
    windows::{self, Windows},
};

/// Supplies a circuit's settings and observes its transitions.
pub(crate) trait Observer: Sized {
    /// Kept with the circuit.
    type Listeners: Default + fmt::Debug;

    fn settings(&self) -> &SharedSettings;

    /// Called once for each transition, outside of any lock. `error` returns the text of the error that opened the circuit.
    fn transition(&self, transition: &Transition, error: ErrorOf<'_>, circuit: &Circuit<Self>);

    /// Called for each call that an observing circuit would have refused, outside of any lock.
    fn would_have_refused(&self, refused: Refused, circuit: &Circuit<Self>);
}

/// Returns the text of a call's error. Called only if the call opens the circuit.
pub(crate) type ErrorOf<'a> = &'a dyn Fn() -> Option<Cow<'static, str>>;

/// A circuit.
#[derive(Debug)]
pub(crate) struct Circuit<O: Observer> {
    /// A [`PackedState`].
    pub(super) word: AtomicU64,
    transition_state: OnceLock<Box<TransitionState<O::Listeners>>>,
    /// The windows that it was created with, if any.
    windows: Option<Box<Windows>>,
    pub(super) observer: O,
}

impl<O: Observer> Circuit<O> {
    pub(crate) fn new(settings: &Settings, observer: O) -> Self {
        let windows = Windows::new(settings, Generation::FIRST);
        let word = windows.first_word(Phase::Closed, Generation::FIRST).with_mode(settings.mode);
        let circuit = Self {
            word: AtomicU64::new(word.bits()),
            transition_state: OnceLock::new(),
            windows: (!windows.are_none()).then(|| Box::new(windows)),
            observer,
        };
        if cfg!(backstop_loom) {
            // The standard library guarantees that it is created once, so the model checker needn't check that.
            circuit.transition_state();
        }
        circuit
    }

    pub(crate) const fn observer(&self) -> &O {
        &self.observer
    }

    pub(super) fn load(&self) -> PackedState {
        // Acquire: a deadline that is read later isn't from before this word.
        PackedState::from_bits(self.word.load(Ordering::Acquire))
    }

    pub(super) fn replace(&self, current: PackedState, next: PackedState) -> Result<(), PackedState> {
        // Release, like every write of the word: the failure that opens the circuit thereby publishes the zero deadline.
        self.word
            .compare_exchange_weak(current.bits(), next.bits(), Ordering::AcqRel, Ordering::Acquire)
            .map(drop)
            .map_err(PackedState::from_bits)
    }

    pub(super) fn report(&self, transition: Option<Transition>, error: ErrorOf<'_>) {
        if let Some(transition) = &transition {
            self.observer.transition(transition, error, self);
        }
    }

    pub(super) fn transition_state(&self) -> &TransitionState<O::Listeners> {
        self.transition_state.get_or_init(|| {
            Box::new(TransitionState {
                deadline: AtomicU64::new(0),
                ramp: Ramp::new(),
                recovery: Mutex::new(Recovery::new(self.observer.settings().seed())),
                replaced: OnceLock::new(),
                listeners: O::Listeners::default(),
            })
        })
    }

    pub(super) fn ramp(&self) -> &Ramp {
        &self.transition_state().ramp
    }

    pub(crate) fn listeners(&self) -> &O::Listeners {
        &self.transition_state().listeners
    }

    pub(super) fn deadline(&self) -> Nanos {
        // Relaxed: ordered by the word, or by the lock.
        self.transition_state.get().map_or(0, |state| state.deadline.load(Ordering::Relaxed))
    }

    pub(super) fn set_deadline(&self, deadline: Nanos) {
        self.transition_state().deadline.store(deadline, Ordering::Relaxed);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Recovery> {
        // No code under the lock panics, so the state is never half changed.
        self.transition_state().recovery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`lock`](Self::lock). `None` if there was no transition yet.
    pub(super) fn lock_if_made(&self) -> Option<MutexGuard<'_, Recovery>> {
        self.transition_state.get().map(|state| state.recovery.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[inline]
    pub(super) fn windows(&self) -> Current<'_> {
        match self.transition_state.get().and_then(|state| state.replaced.get()) {
            None => Current::First(self.windows.as_deref().unwrap_or(&windows::NONE)),
            Some(replaced) => Current::Replaced(replaced.load()),
        }
    }

    /// Called under the lock, so that two replacements don't overlap.
    pub(super) fn replace_windows(&self, windows: Windows) {
        let (replaced, windows) = (&self.transition_state().replaced, Arc::new(windows));
        match replaced.get() {
            Some(replaced) => replaced.store(windows),
            None => _ = replaced.get_or_init(|| Swap::new(windows)),
        }
    }
}

/// A refusal by a circuit whose state isn't closed: `until` is when its wait, or the step of its ramp, ends. What an operator
/// forces isn't only observed.
pub(super) fn refused(word: PackedState, until: Nanos, now: Nanos) -> Refused {
    let wait = if matches!(word.phase(), Phase::Open | Phase::Ramp) { until.saturating_sub(now) } else { 0 };
    let mode = if word.phase() == Phase::Forced { CircuitMode::Enforcing } else { word.mode() };
    Refused { state: state(word.phase()), mode, wait }
}

/// The state as everything else sees it: that of an observing circuit is closed, unless an operator forces it.
pub(super) fn shown_state(word: PackedState) -> CircuitState {
    match (word.mode(), word.phase()) {
        (CircuitMode::Enforcing, phase) | (_, phase @ Phase::Forced) => state(phase),
        (CircuitMode::Observing, _) => CircuitState::Closed,
    }
}

pub(super) const fn state(phase: Phase) -> CircuitState {
    match phase {
        Phase::Closed => CircuitState::Closed,
        Phase::Open => CircuitState::Open,
        Phase::Probing | Phase::Saturated => CircuitState::HalfOpen,
        Phase::Forced => CircuitState::Isolated,
        Phase::Ramp => CircuitState::Recovering,
    }
}
