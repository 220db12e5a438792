//! What all services of a layer share.

use std::{fmt, time::Duration};

use backstop_core::{ErrorRef, Outcome};
use backstop_kit::{ErrorText, Jitter};

use crate::{Budget, RetryBudget, backoff::Grown, config::Settings, telemetry::LoggedError};

/// What all services of a layer share.
pub(crate) struct LayerState<P> {
    pub(crate) settings: Settings,
    /// `None` if retries aren't bounded.
    pub(crate) budget: Option<RetryBudget>,
    pub(crate) protocol: P,
    error_text: ErrorText,
    jitter: Jitter,
}

impl<P> LayerState<P> {
    pub(crate) fn new(
        settings: Settings,
        budget: Budget,
        seed: Option<u64>,
        protocol: P,
        error_text: ErrorText,
    ) -> Self {
        let budget = match budget {
            Budget::Own => Some(RetryBudget::default()),
            Budget::Shared(budget) => Some(budget),
            Budget::Unlimited => None,
        };
        Self { settings, budget, protocol, error_text, jitter: Jitter::new(seed) }
    }

    /// The error in `result`, for events.
    pub(crate) fn logged<'a, Res, E: 'static>(&'a self, result: &'a Result<Res, E>) -> LoggedError<'a> {
        LoggedError { error: result.as_ref().err().map(ErrorRef::new), text: &self.error_text }
    }

    /// The wait after `attempts` attempts, if the server asks for none.
    pub(crate) fn backoff(&self, attempts: u32, grown: Grown, outcome: &Outcome) -> Duration {
        self.settings.waits.wait(attempts, grown, outcome, &self.jitter)
    }

    /// Without the protocol, which may hold closures.
    pub(crate) fn debug(&self, mut f: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("settings", &self.settings).field("budget", &self.budget).finish_non_exhaustive()
    }
}
