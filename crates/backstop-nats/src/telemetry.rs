//! Events.

/// Once in the life of a queue. Again, it means that the server has lost the queue.
pub(crate) fn created(stream: &str) {
    tracing::info!(target: "backstop::nats", stream, "created a stream");
}
