//! What all services of a layer share.

use std::{fmt, sync::Arc, time::Duration};

use backstop_core::{Deadline, ErrorRef, Outcome, Scope, SetBy};
use backstop_kit::{ErrorText, Jitter, Judge, Protocol, Registration, telemetry::Series};

use crate::{
    StopReason,
    backoff::Grown,
    config::Settings,
    metrics,
    reloadable_settings::ReloadableSettings,
    request_state::is_refusal,
    telemetry::{self, LoggedError},
};

/// What all services of a layer share.
pub(crate) struct LayerState<P> {
    /// Also held by handles and functions, which don't need `P`.
    pub(crate) retry: Arc<RetryState>,
    pub(crate) protocol: P,
}

/// What all services and handles of a layer share.
pub(crate) struct RetryState {
    pub(crate) live: ReloadableSettings,
    error_text: ErrorText,
    jitter: Jitter,
    pub(crate) requests: Series,
    _registration: Registration,
}

impl<P> LayerState<P> {
    pub(crate) fn new(live: ReloadableSettings, seed: Option<u64>, protocol: P, error_text: ErrorText) -> Self {
        Self { retry: Arc::new(RetryState::new(live, seed, error_text)), protocol }
    }

    /// The error in `result`, for events.
    pub(crate) fn logged<'a, Res, E: 'static>(&'a self, result: &'a Result<Res, E>) -> LoggedError<'a>
    where
        P: Protocol,
        P::Judge: Judge<Res>,
    {
        let error = match result {
            Ok(answer) => self.protocol.judge().error(answer),
            Err(error) => Some(ErrorRef::new(error)),
        };
        self.retry.logged(error)
    }
}

impl RetryState {
    fn new(live: ReloadableSettings, seed: Option<u64>, error_text: ErrorText) -> Self {
        let registration = Registration::new("retry", live.name().clone());
        let requests = metrics::requests(live.name());
        Self { live, error_text, jitter: Jitter::new(seed), requests, _registration: registration }
    }

    /// An error for events.
    pub(crate) const fn logged<'a>(&'a self, error: Option<ErrorRef<'a>>) -> LoggedError<'a> {
        LoggedError { error, text: &self.error_text }
    }

    /// Logs that this attempt failed, and isn't worth repeating.
    #[cold]
    pub(crate) fn log_not_worth_repeating(&self, attempt: u32, outcome: &Outcome, error: LoggedError<'_>) {
        let stop = if is_refusal(outcome) { StopReason::Refused } else { StopReason::NotTransient };
        telemetry::stopped(self.live.name(), attempt, stop, error);
    }

    /// When all attempts end, after the first one has failed in `scope`.
    pub(crate) fn deadline_after_first(&self, settings: &Settings, scope: &mut Scope) -> Deadline {
        let total = settings.total;
        let deadline = scope.begin().unwrap_or_else(|| Deadline::after(total, SetBy::Us));
        if is_total_and_passed(deadline) {
            telemetry::first_attempt_outlasted_total(self.live.name(), total);
        }
        deadline
    }

    /// The wait after `attempts` attempts, if the server asks for none.
    pub(crate) fn backoff(&self, settings: &Settings, attempts: u32, grown: Grown, outcome: &Outcome) -> Duration {
        settings.waits.wait(attempts, grown, outcome, &self.jitter)
    }

    pub(crate) fn debug(&self, mut f: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("settings", &self.live).finish_non_exhaustive()
    }
}

/// Whether the total has passed, and not the caller's deadline.
pub(crate) fn is_total_and_passed(deadline: Deadline) -> bool {
    deadline.set_by() == SetBy::Us && deadline.has_passed()
}
