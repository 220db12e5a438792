//! What the layer tells an operator. Nothing of a request is in it.

use std::{fmt::Display, time::Duration};

use backstop_core::Name;

use crate::NotStored;

const TARGET: &str = "backstop::last_known_good";

pub(crate) fn stored(name: &Name, body_bytes: usize) {
    tracing::debug!(target: TARGET, %name, body_bytes, "an answer was stored");
    recorder::result(name, "stored");
}

/// The service says that what is stored is still good.
pub(crate) fn updated(name: &Name, body_bytes: usize) {
    tracing::debug!(target: TARGET, %name, body_bytes, "what was stored is updated");
    recorder::result(name, "updated");
}

/// `reason` is one of those that the crate's docs list.
pub(crate) fn not_stored(name: &Name, reason: &'static str) {
    tracing::debug!(target: TARGET, %name, reason, "an answer isn't stored");
    recorder::result(name, reason);
}

/// Whatever was stored, there is nothing any more.
pub(crate) fn removed(name: &Name, reason: &'static str) {
    tracing::debug!(target: TARGET, %name, reason, "what was stored is removed");
    recorder::result(name, reason);
}

/// A stored answer is given in place of the primary's.
pub(crate) fn served(name: &Name, age: Duration) {
    tracing::debug!(target: TARGET, %name, age = age.as_secs(), "a stored answer is served");
    recorder::served(name);
}

pub(crate) fn not_served(name: &Name, reason: NotStored) {
    tracing::debug!(target: TARGET, %name, %reason, "no stored answer is served");
}

/// A request is about its connection, and goes to the service without a look at what is stored.
pub(crate) fn passed_by(name: &Name) {
    tracing::debug!(target: TARGET, %name, reason = %"upgrade", "a request passes by what is stored");
}

/// The store has not failed for a while.
pub(crate) fn store_works(name: &Name) {
    tracing::info!(target: TARGET, %name, "the store works again");
}

/// The store failed, which counts as a miss. The first failure of an outage is a warning.
pub(crate) fn store_failed(name: &Name, operation: &'static str, trouble: &impl Display, begins_outage: bool) {
    if begins_outage {
        tracing::warn!(target: TARGET, %name, operation, %trouble, "the store fails");
    } else {
        tracing::debug!(target: TARGET, %name, operation, %trouble, "the store failed");
    }
    if operation != "get" {
        recorder::result(name, "store-failed");
    }
}

#[cfg(not(feature = "metrics"))]
mod recorder {
    pub(super) const fn served(_: &super::Name) {}

    pub(super) const fn result(_: &super::Name, _: &'static str) {}
}

/// Counts through the facade `metrics`. The handle is taken when it is used, so that a recorder that is installed later
/// counts from then on.
#[cfg(feature = "metrics")]
mod recorder {
    pub(super) fn served(name: &super::Name) {
        metrics::counter!("stale_served_total", "name" => name.to_string()).increment(1);
    }

    pub(super) fn result(name: &super::Name, result: &'static str) {
        metrics::counter!("stale_store_total", "name" => name.to_string(), "result" => result).increment(1);
    }
}
