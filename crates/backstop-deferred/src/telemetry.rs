//! Events. None has anything of a payload.

use backstop_core::Name;

use crate::{Failure, JobId, attempt::Ended, counted::Halt};

const TARGET: &str = "backstop::deferred";

/// An attempt has ended.
pub(crate) fn ended(queue: &Name, id: JobId, attempt: u32, ended: &Ended) {
    match ended {
        Ended::Succeeded => tracing::debug!(target: TARGET, %queue, %id, attempt, "a job is done"),
        Ended::Failed(error) => tracing::debug!(target: TARGET, %queue, %id, attempt, error, "an attempt failed"),
        Ended::FailedForGood(failure, error) => failed_for_good(queue, id, *failure, error.as_deref()),
        Ended::Refused(error) => {
            tracing::debug!(target: TARGET, %queue, %id, error, "an attempt was refused, and doesn't count");
        }
        Ended::Stopped => tracing::debug!(target: TARGET, %queue, %id, "a job was returned, because its worker stops"),
        Ended::Lost => tracing::warn!(target: TARGET, %queue, %id, "a claim was lost: another worker may run the job"),
    }
}

pub(crate) fn failed_for_good(queue: &Name, id: JobId, failure: Failure, error: Option<&str>) {
    tracing::warn!(target: TARGET, %queue, %id, ?failure, error, "a job goes to the dead letters");
}

#[cfg(feature = "http")]
pub(crate) fn not_known(queue: &str, error: &str) {
    tracing::debug!(target: TARGET, queue, error, "it isn't known whether a job was accepted");
}

pub(crate) fn not_claimed(queue: &Name, id: JobId, error: &str) {
    tracing::debug!(target: TARGET, %queue, %id, error, "a job can't be claimed: the store failed");
}

pub(crate) fn left_alone(queue: &Name, id: JobId) {
    tracing::debug!(target: TARGET, %queue, %id, "a job of an unknown kind or version is left to other workers");
}

pub(crate) fn not_removed(queue: &Name, id: JobId, error: &str) {
    tracing::debug!(target: TARGET, %queue, %id, error, "a job that is kept no longer can't be removed: the store failed");
}

/// Workers stopped taking jobs, or take them again.
pub(crate) fn halted(queue: &Name, halt: Option<Halt>, error: Option<&str>) {
    match halt {
        Some(Halt::DeadLettersFull) => {
            tracing::warn!(target: TARGET, %queue, "there are too many dead letters; no job is taken");
        }
        Some(Halt::StoreFailed) => {
            tracing::warn!(target: TARGET, %queue, error, "the store doesn't work; no job is taken");
        }
        None | Some(Halt::NotCounted) => tracing::info!(target: TARGET, %queue, "jobs are taken again"),
    }
}
