//! Events. None has anything of a payload.

use crate::{Failure, JobId};

const TARGET: &str = "backstop::deferred";

pub(crate) fn failed_for_good(queue: &str, id: JobId, failure: Failure, error: Option<&str>) {
    tracing::warn!(target: TARGET, queue, %id, ?failure, error, "a job goes to the dead letters");
}

#[cfg(feature = "http")]
pub(crate) fn not_known(queue: &str, error: &str) {
    tracing::debug!(target: TARGET, queue, error, "it isn't known whether a job was accepted");
}

pub(crate) fn not_claimed(queue: &str, id: JobId, error: &str) {
    tracing::debug!(target: TARGET, queue, %id, error, "a job can't be claimed: the store failed");
}

pub(crate) fn attempt_failed(queue: &str, id: JobId, attempt: u32, error: Option<&str>) {
    tracing::debug!(target: TARGET, queue, %id, attempt, error, "an attempt failed");
}

pub(crate) fn refused(queue: &str, id: JobId, error: Option<&str>) {
    tracing::debug!(target: TARGET, queue, %id, error, "an attempt was refused, and doesn't count");
}

pub(crate) fn claim_lost(queue: &str, id: JobId) {
    tracing::warn!(target: TARGET, queue, %id, "a claim was lost: another worker has the job");
}

pub(crate) fn dead_letters_full(queue: &str) {
    tracing::warn!(target: TARGET, queue, "there are too many dead letters; no job is taken");
}

pub(crate) fn store_failed(queue: &str, error: &str) {
    tracing::warn!(target: TARGET, queue, error, "the store doesn't work; no job is taken");
}

pub(crate) fn works_again(queue: &str) {
    tracing::info!(target: TARGET, queue, "jobs are taken again");
}
