//! Events. None has anything of a payload.

use backstop_core::Name;

use crate::{Failure, JobId, attempt::Ended, counted::Halt, queue::Queue};

const TARGET: &str = "backstop::deferred";

/// An attempt has ended.
pub(crate) fn ended(of: &Queue, id: JobId, attempt: u32, ended: &Ended) {
    let queue = &of.name;
    match ended {
        Ended::Succeeded => tracing::debug!(target: TARGET, %queue, %id, attempt, "a job is done"),
        Ended::Failed(error) => tracing::debug!(target: TARGET, %queue, %id, attempt, error, "an attempt failed"),
        Ended::FailedForGood(failure, error) => failed_for_good(of, id, *failure, error.as_deref()),
        Ended::Refused(error) => {
            tracing::debug!(target: TARGET, %queue, %id, error, "an attempt was refused, and doesn't count");
        }
        Ended::Stopped => tracing::debug!(target: TARGET, %queue, %id, "a job was returned, because its worker stops"),
        Ended::Panicked => {
            tracing::warn!(target: TARGET, %queue, %id, attempt, "an attempt panicked, which counts as a crash");
        }
        Ended::Lost => match of.lost_claim_warnings.due() {
            Some(unsaid) => tracing::warn!(target: TARGET, %queue, %id, unsaid, "{CLAIM_LOST}"),
            None => tracing::debug!(target: TARGET, %queue, %id, "{CLAIM_LOST}"),
        },
    }
}

const CLAIM_LOST: &str = "a claim was lost: another worker may run the job";
const DEAD_LETTER: &str = "a job goes to the dead letters";

pub(crate) fn failed_for_good(of: &Queue, id: JobId, failure: Failure, error: Option<&str>) {
    let (queue, failure) = (&of.name, failure.as_str());
    match of.dead_letter_warnings.due() {
        Some(unsaid) => tracing::warn!(target: TARGET, %queue, %id, failure, error, unsaid, "{DEAD_LETTER}"),
        None => tracing::debug!(target: TARGET, %queue, %id, failure, error, "{DEAD_LETTER}"),
    }
}

/// A worker was dropped while it ran, by a panic or because its task was aborted.
pub(crate) fn dropped(queue: &Name) {
    tracing::warn!(target: TARGET, %queue, "a worker was dropped while it ran: it takes no more jobs");
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

/// No job is accepted, at most once a minute.
pub(crate) fn too_many_done(of: &Queue) {
    if let Some(unsaid) = of.too_many_done_warnings.due() {
        tracing::warn!(target: TARGET, queue = %of.name, unsaid, "too many jobs that are done are kept: no job is accepted");
    }
}

/// An operator has asked for it.
pub(crate) fn operated(queue: &Name, operation: &str, who: &str, reason: &str, jobs: usize) {
    tracing::info!(target: TARGET, %queue, operation, who, reason, jobs, "an operator changed dead letters");
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
        None | Some(Halt::NotCounted | Halt::NoWorker) => {
            tracing::info!(target: TARGET, %queue, "jobs are taken again");
        }
    }
}
