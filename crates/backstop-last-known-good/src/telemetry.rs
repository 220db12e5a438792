//! Events. They contain nothing of a request.

use std::{fmt::Display, time::Duration};

use backstop_core::{EventLog, Name, OperationRequest};
use backstop_kit::{operation_fields, telemetry::millis};

use crate::{NotStored, metrics};

const TARGET: &str = "backstop::last_known_good";

pub(crate) fn stored(name: &Name, body_bytes: usize) {
    tracing::debug!(target: TARGET, %name, body_bytes, "an answer was stored");
    metrics::result(name, "stored");
}

/// The service validated the stored answer.
pub(crate) fn updated(name: &Name, body_bytes: usize) {
    tracing::debug!(target: TARGET, %name, body_bytes, "what was stored is updated");
    metrics::result(name, "updated");
}

/// `reason` is one of those listed in the crate docs.
pub(crate) fn not_stored(name: &Name, reason: &'static str) {
    tracing::debug!(target: TARGET, %name, reason, "an answer isn't stored");
    metrics::result(name, reason);
}

/// A stored answer was removed, if there was one.
pub(crate) fn removed(name: &Name, reason: &'static str) {
    tracing::debug!(target: TARGET, %name, reason, "what was stored is removed");
    metrics::result(name, reason);
}

/// An operator removes everything.
pub(crate) fn cleared(name: &Name, kind: &'static str, request: &OperationRequest, log: Option<&EventLog>) {
    let (who, reason) = (request.who(), request.reason());
    tracing::info!(target: TARGET, %name, who, reason, "an operator removes everything that is stored");
    if let Some(log) = log {
        log.push(name.clone(), kind, operation_fields(request));
    }
}

/// A stored answer is served instead of the primary's.
pub(crate) fn served(name: &Name, age: Duration) {
    tracing::debug!(target: TARGET, %name, age_ms = millis(age), "a stored answer is served");
    metrics::served(name);
}

pub(crate) fn not_served(name: &Name, reason: NotStored) {
    tracing::debug!(target: TARGET, %name, %reason, "no stored answer is served");
    metrics::not_served(name, reason);
}

/// The request is an upgrade, and bypasses the store.
pub(crate) fn bypassed(name: &Name) {
    tracing::debug!(target: TARGET, %name, reason = %"upgrade", "a request passes by what is stored");
}

/// The store outage ended.
pub(crate) fn store_works(name: &Name) {
    tracing::info!(target: TARGET, %name, "the store works again");
}

/// The store failed. The first failure of an outage is a warning.
pub(crate) fn store_failed(name: &Name, operation: &'static str, failure: &impl Display, begins_outage: bool) {
    if begins_outage {
        tracing::warn!(target: TARGET, %name, operation, error = %failure, "the store fails");
    } else {
        tracing::debug!(target: TARGET, %name, operation, error = %failure, "the store failed");
    }
    metrics::store_failed(name, operation);
    if operation != "get" {
        metrics::result(name, "store-failed");
    }
}
