//! Whose turn it is to be drilled, and the drill that runs.
//!
//! | stage | on | goes to |
//! |---|---|---|
//! | idle | a drill begins | parked |
//! | parked | its run polls it | polled |
//! | polled | it is pending | parked |
//! | polled | it has ended | idle |
//! | parked | it is interrupted | idle: whoever interrupts drops the call |
//! | polled | it is interrupted | interrupted |
//! | interrupted | the poll returns | idle: the run drops the call |
//!
//! A call is polled and dropped under no lock.

use std::{
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use backstop_core::{ConfigError, scope};
use tokio::time::Instant;

use super::DrillCall;
use crate::{control::Control, prove::Asked};

/// The drills of a chain.
#[derive(Debug, Default)]
pub(crate) struct Drills {
    /// Whether a drill may be due: all that a request looks at while none is. No other memory depends on it.
    is_due: AtomicBool,
    /// Whether one runs: all that a live call of a provider looks at while none does.
    is_running: AtomicBool,
    /// What the code says about the time between two drills; not set while nothing drills the chain.
    every: OnceLock<Duration>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    turns: usize,
    /// When the last drill began.
    last: Option<Instant>,
    stage: Stage,
    /// Of the run whose call is parked.
    waker: Option<Waker>,
}

#[derive(Default)]
enum Stage {
    #[default]
    Idle,
    Parked(DrillCall),
    Polled,
    Interrupted,
}

impl Drills {
    /// Begins to drill the chain.
    pub(super) fn begin(&self, every: Duration) -> Result<(), ConfigError> {
        if self.every.set(every).is_err() {
            return Err(ConfigError::new("drill", "a second one", "one drill in a chain"));
        }
        self.is_due.store(true, Relaxed);
        Ok(())
    }

    /// The time between two drills, unless a reload says otherwise. `None` while nothing drills the chain.
    pub(crate) fn every(&self) -> Option<Duration> {
        self.every.get().copied()
    }

    /// Whether a drill may be due.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.is_due.load(Relaxed)
    }

    /// The next turn, if it is due and nobody else has it.
    pub(super) fn take_turn(control: &Arc<Control>, every: Duration) -> Option<Turn> {
        let this = &control.drills;
        this.is_due.swap(false, Relaxed).then_some(())?;
        let turn = Turn { control: Arc::downgrade(control), is_over: false };
        let mut state = this.state();
        // A run that was dropped early has given its turn back early.
        let is_due = state.last.is_none_or(|last| last.elapsed() >= every);
        if is_due {
            state.turns = state.turns.wrapping_add(1);
        }
        drop(state);
        is_due.then_some(turn)
    }

    /// How many turns there were.
    pub(super) fn turns(&self) -> usize {
        self.state().turns
    }

    /// Parks a call that is to be polled.
    pub(super) fn park(&self, call: DrillCall) {
        self.is_running.store(true, Relaxed);
        self.state().stage = Stage::Parked(call);
    }

    /// Polls the call that runs. `None` if it was interrupted.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Asked>> {
        let waker = cx.waker().clone();
        let mut state = self.state();
        let earlier = state.waker.replace(waker);
        let taken = mem::replace(&mut state.stage, Stage::Polled);
        drop(state);
        drop(earlier);
        let Stage::Parked(mut call) = taken else {
            self.idle();
            return Poll::Ready(None);
        };
        let polled = call.poll(cx);
        let mut state = self.state();
        if polled.is_pending() && matches!(state.stage, Stage::Polled) {
            state.stage = Stage::Parked(call);
            return Poll::Pending;
        }
        drop(state);
        drop(call);
        self.idle();
        match polled {
            Poll::Ready(asked) => Poll::Ready(Some(asked)),
            Poll::Pending => Poll::Ready(None),
        }
    }

    fn idle(&self) {
        let mut state = self.state();
        state.stage = Stage::Idle;
        let waker = state.waker.take();
        self.is_running.store(false, Relaxed);
        drop(state);
        drop(waker);
    }

    /// Drops the call that runs, because a live one takes precedence. A call that is being polled right now is dropped afterwards.
    #[inline]
    pub(crate) fn interrupt(&self) {
        if self.is_running.load(Relaxed) && !scope::is_shadow() {
            self.stop();
        }
    }

    #[cold]
    pub(super) fn stop(&self) {
        let mut state = self.state();
        let (stage, waker) = match mem::take(&mut state.stage) {
            stage @ Stage::Parked(_) => (stage, state.waker.take()),
            Stage::Polled | Stage::Interrupted => {
                state.stage = Stage::Interrupted;
                return;
            }
            Stage::Idle => return,
        };
        self.is_running.store(false, Relaxed);
        drop(state);
        drop(stage);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to drill the chain. While it is held, no other drill is due.
pub(super) struct Turn {
    // A run that waits must not keep the chain alive.
    control: Weak<Control>,
    is_over: bool,
}

impl Turn {
    pub(super) fn control(&self) -> Option<Arc<Control>> {
        self.control.upgrade()
    }

    /// The drill begins, or is skipped, now: the next one is due only some time after that.
    pub(super) fn begin(&self) -> Instant {
        let now = Instant::now();
        if let Some(control) = self.control() {
            control.drills.state().last = Some(now);
        }
        now
    }

    /// Ends all drills of the chain.
    pub(super) fn end_drills(mut self) {
        self.is_over = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(control) = self.control() {
            // The executor may have dropped the run.
            control.drills.stop();
            control.drills.is_due.store(!self.is_over, Relaxed);
        }
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Parked(_) => "parked",
            Self::Polled => "polled",
            Self::Interrupted => "interrupted",
        })
    }
}
