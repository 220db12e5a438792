//! Metrics, with the feature `metrics`.

use std::time::Duration;

use backstop_core::Name;
use backstop_kit::telemetry::{Metric, Series};

use crate::{DeferError, Failure, NotAccepted, Receipt, attempt::Ended, store::Totals};

const ACCEPTED: Metric =
    Metric::counter("deferred_jobs_total", "Jobs that were to be accepted, by what became of that");
const ATTEMPTS: Metric = Metric::counter("deferred_attempts_total", "Attempts at jobs, by how they ended");
const CLAIMS_LOST: Metric =
    Metric::counter("deferred_claims_lost_total", "Attempts whose claim ran out or was taken over");
const DEAD_LETTERS: Metric = Metric::counter("deferred_dead_letters_total", "Jobs that became dead letters, by why");
const COMPLETION: Metric =
    Metric::histogram("deferred_completion_seconds", "Time from accepting a job until it was done");
const JOBS: Metric = Metric::gauge("deferred_jobs", "Jobs in the store, by state");
const OLDEST: Metric =
    Metric::gauge("deferred_oldest_seconds", "Time for which the job has been due that waits longest");

/// Gives the installed recorder the description and the unit of each metric of this crate.
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    [ACCEPTED, ATTEMPTS, CLAIMS_LOST, DEAD_LETTERS, COMPLETION, JOBS, OLDEST].iter().for_each(Metric::describe);
}

/// The series of a queue.
pub(crate) struct Metrics {
    accepted: [Series; 6],
    attempts: [Series; 7],
    claims_lost: Series,
    dead_letters: [Series; 5],
    completion: Series,
    jobs: [Series; 4],
    oldest: Series,
}

impl Metrics {
    pub(crate) fn new(name: &Name) -> Self {
        let series = |metric| Series::new(metric, [("queue", name.into())]);
        let by_result = |metric| {
            move |result: &'static str| Series::new(metric, [("queue", name.into()), ("result", result.into())])
        };
        let by_failure = |failure: Failure| {
            Series::new(&DEAD_LETTERS, [("queue", name.into()), ("failure", failure.as_str().into())])
        };
        let by_state = |state: &'static str| Series::new(&JOBS, [("queue", name.into()), ("state", state.into())]);
        Self {
            accepted: ["accepted", "duplicate", "full", "key-reused", "invalid", "unknown"].map(by_result(&ACCEPTED)),
            attempts: ["succeeded", "failed", "failed-for-good", "refused", "stopped", "lost", "panicked"]
                .map(by_result(&ATTEMPTS)),
            claims_lost: series(&CLAIMS_LOST),
            dead_letters: Failure::ALL.map(by_failure),
            completion: series(&COMPLETION),
            jobs: ["queued", "running", "dead", "done"].map(by_state),
            oldest: series(&OLDEST),
        }
    }

    /// What became of a job that was to be accepted. A shadow counts nowhere.
    pub(crate) fn deferred(&self, result: &Result<Receipt, DeferError>) {
        let index = match result {
            Ok(Receipt { is_new: true, .. }) => 0,
            Ok(Receipt { is_new: false, .. }) => 1,
            Err(DeferError::NotAccepted(NotAccepted::Full { .. })) => 2,
            Err(DeferError::NotAccepted(NotAccepted::KeyReused)) => 3,
            Err(DeferError::NotAccepted(NotAccepted::TooLong { .. } | NotAccepted::Invalid(_))) => 4,
            Err(DeferError::NotAccepted(NotAccepted::Shadow)) => return,
            Err(DeferError::Unknown(_)) => 5,
        };
        self.accepted[index].increment();
    }

    /// An attempt has ended.
    pub(crate) fn ended(&self, ended: &Ended) {
        let index = match ended {
            Ended::Succeeded => 0,
            Ended::Failed(_) => 1,
            Ended::FailedForGood(..) => 2,
            Ended::Refused(_) => 3,
            Ended::Stopped => 4,
            Ended::Lost => {
                self.claims_lost.increment();
                5
            }
            Ended::Panicked => 6,
        };
        self.attempts[index].increment();
    }

    /// A job is done.
    pub(crate) fn completed(&self, after: Duration) {
        self.completion.record(after);
    }

    /// A job went to the dead letters.
    pub(crate) fn buried(&self, failure: Failure) {
        self.dead_letters[failure as usize].increment();
    }

    /// What was counted: queued, running, dead, done.
    pub(crate) fn show(&self, totals: &[Totals], oldest: Option<Duration>) {
        for (series, totals) in self.jobs.iter().zip(totals) {
            series.set(totals.records as f64);
        }
        self.oldest.set(oldest.unwrap_or_default().as_secs_f64());
    }
}
