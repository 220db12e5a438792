//! Metrics of the layer, with the feature `metrics`.
//!
//! Series are looked up in the recorder on each use, so that a recorder that is installed later counts from then on. Those of
//! healthy calls are made once, so that a call allocates nothing. The state is shown with each transition, and when a layer
//! is applied under a recorder that hasn't been shown it. axum applies a layer per connection, so that must cost next to
//! nothing.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use backstop_core::{Name, Verdict};
use backstop_kit::telemetry::{self, Metric, Series};

use crate::{CircuitState, failure::Failure, state::Nanos};

const CALLS: Metric = Metric::counter("calls_total", "Calls that the circuit breaker admitted, by outcome");
const DURATION: Metric = Metric::histogram(
    "call_duration_seconds",
    "Time from when an admitted call was first pending to its end; 0 if it was ready at once",
);
const FAILURES: Metric =
    Metric::counter("circuit_breaker_failures_total", "Calls that counted against the service, by reason");
const TRANSITIONS: Metric =
    Metric::counter("circuit_breaker_transitions_total", "Transitions of circuits, by the state entered");
const REJECTIONS: Metric = Metric::counter("circuit_breaker_rejections_total", "Calls that a circuit refused");
const WOULD_REJECT: Metric = Metric::counter(
    "circuit_breaker_would_reject_total",
    "Calls that a circuit would have refused, had it not only observed",
);
const UNGUARDED: Metric = Metric::counter(
    "circuit_breaker_unguarded_total",
    "Calls without a circuit, because there were as many keys as allowed",
);
const STATE: Metric = Metric::gauge("circuit_breaker_state", "1 for the state of the circuit, 0 for the other states");
const PROBE_DUE: Metric = Metric::gauge(
    "circuit_breaker_probe_due_timestamp_seconds",
    "Unix time at which the wait of an open circuit ends; 0 if it isn't open",
);

/// Gives the installed recorder the description and the unit of each metric of this crate.
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    [CALLS, DURATION, FAILURES, TRANSITIONS, REJECTIONS, WOULD_REJECT, UNGUARDED, STATE, PROBE_DUE]
        .iter()
        .for_each(Metric::describe);
}

/// What calls use.
#[derive(Debug)]
pub(crate) struct CallMetrics {
    success: Ended,
    failure: Ended,
    neutral: Ended,
    rejections: Series,
    would_reject: Series,
    unguarded: Series,
}

/// Calls with one outcome.
#[derive(Debug)]
struct Ended {
    calls: Series,
    duration: Series,
}

impl CallMetrics {
    pub(crate) fn new(name: &Name) -> Self {
        let of_layer = |metric| Series::new(metric, [("name", name.into())]);
        let ended = |outcome: &'static str| {
            let labels = || [("name", name.into()), ("outcome", outcome.into())];
            Ended { calls: Series::new(&CALLS, labels()), duration: Series::new(&DURATION, labels()) }
        };
        Self {
            success: ended("success"),
            failure: ended("failure"),
            neutral: ended("neutral"),
            rejections: of_layer(&REJECTIONS),
            would_reject: of_layer(&WOULD_REJECT),
            unguarded: of_layer(&UNGUARDED),
        }
    }

    /// An admitted call ended.
    pub(crate) fn ended(&self, verdict: Verdict, duration: Duration) {
        let Ended { calls, duration: durations } = match verdict {
            Verdict::Success => &self.success,
            Verdict::Failure => &self.failure,
            _ => &self.neutral,
        };
        calls.increment();
        durations.record(duration);
    }

    pub(crate) fn refused(&self) {
        self.rejections.increment();
    }

    pub(crate) fn would_refuse(&self) {
        self.would_reject.increment();
    }

    pub(crate) fn unguarded(&self) {
        self.unguarded.increment();
    }
}

pub(crate) fn failed(name: &Name, failure: Failure<'_>) {
    Series::new(&FAILURES, [("name", name.into()), ("reason", failure.label().into())]).increment();
}

pub(crate) fn entered(name: &Name, to: CircuitState) {
    Series::new(&TRANSITIONS, [("name", name.into()), ("to", to.as_str().into())]).increment();
}

const STATES: [CircuitState; 5] = [
    CircuitState::Closed,
    CircuitState::Open,
    CircuitState::HalfOpen,
    CircuitState::Isolated,
    CircuitState::Recovering,
];

/// Sets the gauge of the state to 1 and those of the others to 0.
///
/// The end of a wait isn't a transition, so it has its own gauge: the Unix time in seconds at which the wait ends, 0 unless
/// the circuit is open.
///
/// Two threads may do this at once, for two transitions. Each reads the state again after it wrote, and writes again if the
/// state has changed, so that the last write shows the current state.
pub(crate) fn show_state(
    name: &Name,
    now: impl Fn() -> (CircuitState, Option<Nanos>),
    left: impl Fn(Nanos) -> Duration,
) {
    if !telemetry::ENABLED {
        return;
    }
    let gauge = |state: CircuitState| Series::new(&STATE, [("name", name.into()), ("state", state.as_str().into())]);
    let probe_due = Series::new(&PROBE_DUE, [("name", name.into())]);
    loop {
        let shown = now();
        let (state, open_until) = shown;
        // First the zeros, so that no two are ever at 1.
        STATES.iter().filter(|other| **other != state).for_each(|other| gauge(*other).set(0.0));
        gauge(state).set(1.0);
        probe_due.set(open_until.map_or(0.0, |until| (since_1970() + left(until)).as_secs_f64()));
        if now() == shown {
            return;
        }
    }
}

#[expect(clippy::disallowed_types, reason = "dashboards compare it with the time of day")]
fn since_1970() -> Duration {
    use std::time::SystemTime;

    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// The recorder seen last: its address, 0 for none.
#[derive(Debug, Default)]
pub(crate) struct LastRecorder(AtomicUsize);

impl LastRecorder {
    /// Whether another recorder is installed now.
    pub(crate) fn is_another(&self) -> bool {
        let recorder = telemetry::recorder_address();
        telemetry::ENABLED && self.0.load(Relaxed) != recorder && self.0.swap(recorder, Relaxed) != recorder
    }
}
