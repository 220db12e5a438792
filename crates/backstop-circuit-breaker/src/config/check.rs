//! Checks a configuration.

use std::{num::NonZero, sync::OnceLock, thread, time::Duration};

use backstop_core::{ConfigError, Name};

use super::{
    CircuitBreakerConfig, DEFAULT_MAX_CONCURRENT_PROBES, DEFAULT_ON_DROP, DEFAULT_PROBE_LEASE,
    DEFAULT_RETRY_AFTER_JITTER, DEFAULT_SUCCESS_THRESHOLD, DEFAULT_WAIT,
    choices::{OnDrop, SlowCalls, Wait, Window},
    recovery::Recovery,
};
use crate::{
    CircuitMode,
    state::{self, MAX_CALLS, RampRule, Share, SlowRate, Trip, WaitRule, WindowSize, nanos},
};

const DEFAULT_CONSECUTIVE_FAILURES: u32 = 5;
const DEFAULT_WINDOW_CALLS: u32 = 100;
const DEFAULT_MIN_CALLS: u32 = 20;
const DEFAULT_GROWING_JITTER: f64 = 0.1;

const MAX_STRIPES: usize = 8;

const SHORTEST_WINDOW: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
const CALLS: &str = "1 to 65536";

impl Settings {
    /// For one circuit of many, which are small and rarely called by many threads at once.
    pub(crate) const fn keyed(mut self) -> Self {
        self.circuit.stripes = 1;
        self
    }
}

/// A valid configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) circuit: state::Settings,
    pub(crate) on_drop: OnDrop,
    pub(crate) slow_after: Option<state::Nanos>,
    pub(crate) respects: Option<Duration>,
    pub(crate) retry_after_jitter: f64,
    pub(crate) recovery: Recovery,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            circuit: state::Settings {
                mode: CircuitMode::Enforcing,
                trip: Trip::Consecutive { failures: DEFAULT_CONSECUTIVE_FAILURES },
                slow: None,
                window: WindowSize::Calls(DEFAULT_WINDOW_CALLS),
                wait: WaitRule::fixed(nanos(DEFAULT_WAIT)),
                success_threshold: DEFAULT_SUCCESS_THRESHOLD,
                max_concurrent_probes: DEFAULT_MAX_CONCURRENT_PROBES,
                probe_lease: nanos(DEFAULT_PROBE_LEASE),
                ramp: RampRule::NONE,
                stripes: stripes(),
            },
            on_drop: DEFAULT_ON_DROP,
            slow_after: None,
            respects: None,
            retry_after_jitter: DEFAULT_RETRY_AFTER_JITTER,
            recovery: Recovery::at_once(),
        }
    }
}

impl CircuitBreakerConfig {
    pub(crate) fn check(self) -> Result<(Name, Settings), ConfigError> {
        let (window, min_calls) = self.looks_back()?;
        let circuit = state::Settings {
            mode: if self.observe_only { CircuitMode::Observing } else { CircuitMode::Enforcing },
            trip: self.trip(min_calls)?,
            slow: self.slow_rate(min_calls)?,
            window,
            wait: self.wait_rule()?,
            success_threshold: ConfigError::check_range(
                "success_threshold",
                self.success_threshold,
                1..=MAX_CALLS,
                CALLS,
            )?,
            max_concurrent_probes: ConfigError::check_range(
                "max_concurrent_probes",
                self.max_concurrent_probes,
                1..=1000,
                "1 to 1000",
            )?,
            probe_lease: time("probe_lease", self.probe_lease)?,
            ramp: self.recovery.check()?,
            stripes: stripes(),
        };
        if let OnDrop::FailureAfter(limit) = self.on_drop {
            time("on_drop", limit)?;
        }
        let slow_after = self.slow_calls.map(|slow| nanos(slow.threshold));
        if let Some(longest) = self.respect_retry_after {
            time("respect_retry_after", longest)?;
        }
        let retry_after_jitter =
            ConfigError::check_range("retry_after_jitter", self.retry_after_jitter, 0.0..=1.0, "0 to 1")?;
        let Self { on_drop, respect_retry_after: respects, recovery, .. } = self;
        Ok((Name::new(self.name)?, Settings { circuit, on_drop, slow_after, respects, retry_after_jitter, recovery }))
    }

    fn wait_rule(&self) -> Result<WaitRule, ConfigError> {
        let (first, max, jitter) = match self.wait {
            Wait::Fixed(wait) => (wait, wait, 0.0),
            Wait::Growing { first, max } => (first, max, DEFAULT_GROWING_JITTER),
        };
        let (nanos, max_nanos) = (time("wait", first)?, time("wait", max)?);
        if max < first {
            return Err(ConfigError::new("wait", format!("{:?}", self.wait), "a max of at least first"));
        }
        let jitter = ConfigError::check_range("wait_jitter", self.wait_jitter.unwrap_or(jitter), 0.0..=1.0, "0 to 1")?;
        Ok(WaitRule { first: nanos, max: max_nanos, jitter, seed: self.seed })
    }

    /// The window, and how many calls must be in it.
    fn looks_back(&self) -> Result<(WindowSize, u32), ConfigError> {
        if self.failure_rate.is_none() && self.slow_calls.is_none() {
            let allowed = "only beside failure_rate or slow_calls";
            if let Some(window) = self.window {
                return Err(ConfigError::new("window", format!("{window:?}"), allowed));
            }
            if let Some(min_calls) = self.min_calls {
                return Err(ConfigError::new("min_calls", min_calls.to_string(), allowed));
            }
        }
        let (window, most, allowed) = match self.window.unwrap_or(Window::Calls(DEFAULT_WINDOW_CALLS)) {
            Window::Calls(calls) => {
                let calls = ConfigError::check_range("window", calls, 1..=MAX_CALLS, CALLS)?;
                (WindowSize::Calls(calls), calls, "1 to window")
            }
            Window::Time(time) => {
                let time = ConfigError::check_range("window", time, SHORTEST_WINDOW..=LONGEST, "1 s to 24 h")?;
                (WindowSize::Time(nanos(time)), MAX_CALLS, CALLS)
            }
        };
        let min_calls = self.min_calls.unwrap_or(DEFAULT_MIN_CALLS.min(most));
        Ok((window, ConfigError::check_range("min_calls", min_calls, 1..=most, allowed)?))
    }

    fn trip(&self, min_calls: u32) -> Result<Trip, ConfigError> {
        match (self.failure_rate, self.consecutive_failures) {
            (Some(rate), None) => Ok(Trip::FailureRate { share: share("failure_rate", rate)?, min_calls }),
            (rate, failures) => {
                let failures = failures.unwrap_or(DEFAULT_CONSECUTIVE_FAILURES);
                let failures = ConfigError::check_range("consecutive_failures", failures, 1..=MAX_CALLS, CALLS)?;
                let Some(rate) = rate else { return Ok(Trip::Consecutive { failures }) };
                Ok(Trip::Either { failures, share: share("failure_rate", rate)?, min_calls })
            }
        }
    }

    fn slow_rate(&self, min_calls: u32) -> Result<Option<SlowRate>, ConfigError> {
        let Some(SlowCalls { threshold, share: of_calls }) = self.slow_calls else {
            return Ok(None);
        };
        time("slow_calls", threshold)?;
        Ok(Some(SlowRate { share: share("slow_calls", of_calls)?, min_calls }))
    }
}

/// One per thread that can run at once, up to a kilobyte in all.
fn stripes() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| thread::available_parallelism().map_or(1, NonZero::get).min(MAX_STRIPES))
}

fn share(field: &'static str, share: f64) -> Result<Share, ConfigError> {
    // False for NaN as well. `check_range` would show a tiny share as 1e-7.
    if (Share::SMALLEST..=1.0).contains(&share) {
        Ok(Share::new(share))
    } else {
        Err(ConfigError::new(field, share.to_string(), "0.000001 to 1"))
    }
}

pub(crate) fn check_max_keys(keys: u32) -> Result<u32, ConfigError> {
    ConfigError::check_range("max_keys", keys, 1..=1 << 24, "1 to 16777216")
}

fn time(field: &'static str, time: Duration) -> Result<state::Nanos, ConfigError> {
    ConfigError::check_range(field, time, SHORTEST..=LONGEST, "1 ms to 24 h").map(nanos)
}
