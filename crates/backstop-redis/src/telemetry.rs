//! Events.

/// The server can't be written. Logged once, until it is a primary again.
pub(crate) fn is_replica() {
    tracing::warn!(target: "backstop::redis", "the server is a replica; it isn't used until it is a primary");
}

pub(crate) fn is_primary_again() {
    tracing::info!(target: "backstop::redis", "the server is a primary again");
}

/// A user without the right to ask, or a proxy that doesn't know the command. Logged once.
pub(crate) fn role_unknown(error: &str) {
    tracing::warn!(
        target: "backstop::redis", error,
        "the server doesn't say whether it is a primary; a demotion shows only when something is written"
    );
}
