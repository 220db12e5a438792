//! Metrics of the layer, with the feature `metrics`.
//!
//! Handles are looked up on each use, so that a recorder that is installed later counts from then on. A call that succeeds
//! looks up none. The state is shown with each transition, and when a layer is applied under a recorder that hasn't been
//! shown it. axum applies a layer per connection, so that must cost next to nothing.

use backstop_core::Name;

use crate::CircuitState;

use crate::{failure::Failure, state::Nanos};

#[cfg(not(feature = "metrics"))]
mod recorder {
    use std::time::Duration;

    use super::{CircuitState, Failure, Name, Nanos};

    pub(crate) const fn failed(_: &Name, _: Failure<'_>) {}
    pub(crate) const fn refused(_: &Name) {}
    pub(crate) const fn unguarded(_: &Name) {}
    pub(crate) const fn entered(_: &Name, _: CircuitState) {}
    pub(crate) fn show_state(_: &Name, _: impl Fn() -> (CircuitState, Option<Nanos>), _: impl Fn(Nanos) -> Duration) {}

    #[derive(Debug, Default)]
    pub(crate) struct LastRecorder(());

    impl LastRecorder {
        pub(crate) const fn is_another(&self) -> bool {
            false
        }
    }
}

#[cfg(feature = "metrics")]
mod recorder {
    use std::{
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
        time::Duration,
    };

    use super::{CircuitState, Failure, Name, Nanos};

    #[expect(clippy::disallowed_types, reason = "dashboards compare it with the time of day")]
    fn since_1970() -> Duration {
        use std::time::SystemTime;

        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    const STATES: [CircuitState; 4] =
        [CircuitState::Closed, CircuitState::Open, CircuitState::HalfOpen, CircuitState::Isolated];

    pub(crate) fn failed(name: &Name, failure: Failure<'_>) {
        metrics::counter!("circuit_breaker_failures_total", "name" => name.to_string(), "reason" => failure.label())
            .increment(1);
    }

    pub(crate) fn refused(name: &Name) {
        metrics::counter!("circuit_breaker_rejections_total", "name" => name.to_string()).increment(1);
    }

    pub(crate) fn unguarded(name: &Name) {
        metrics::counter!("circuit_breaker_unguarded_total", "name" => name.to_string()).increment(1);
    }

    pub(crate) fn entered(name: &Name, to: CircuitState) {
        metrics::counter!("circuit_breaker_transitions_total", "name" => name.to_string(), "to" => to.as_str())
            .increment(1);
    }

    /// The recorder seen last.
    #[derive(Debug, Default)]
    pub(crate) struct LastRecorder(AtomicUsize);

    impl LastRecorder {
        /// Whether another recorder is installed now.
        pub(crate) fn is_another(&self) -> bool {
            let recorder = metrics::with_recorder(|recorder| std::ptr::from_ref(recorder).addr());
            self.0.load(Relaxed) != recorder && self.0.swap(recorder, Relaxed) != recorder
        }
    }

    /// Sets the gauge of the state to 1 and those of the others to 0.
    ///
    /// That a wait has passed is no transition. So when it will is a gauge of its own: a Unix time in seconds, and 0 unless
    /// the circuit is open.
    ///
    /// Two threads may do this at once, for two transitions. Each looks again when it is done, and whoever finds the
    /// circuit in another state than it has shown shows that: so the last to write has shown what is.
    pub(crate) fn show_state(
        name: &Name,
        now: impl Fn() -> (CircuitState, Option<Nanos>),
        left: impl Fn(Nanos) -> Duration,
    ) {
        let gauge = |state: CircuitState| metrics::gauge!("circuit_breaker_state", "name" => name.to_string(), "state" => state.as_str());
        loop {
            let shown = now();
            let (state, open_until) = shown;
            // First the zeros, so that no two are ever at 1.
            STATES.iter().filter(|other| **other != state).for_each(|other| gauge(*other).set(0.0));
            gauge(state).set(1.0);
            let due = open_until.map_or(0.0, |until| (since_1970() + left(until)).as_secs_f64());
            metrics::gauge!("circuit_breaker_probe_due_timestamp_seconds", "name" => name.to_string()).set(due);
            if now() == shown {
                return;
            }
        }
    }
}

pub(crate) use recorder::{LastRecorder, entered, failed, refused, show_state, unguarded};
