//! Store failures, and the time limit of store operations.

use std::{fmt, future::poll_fn, pin::Pin, task::Poll, time::Duration};

use backstop_core::Deadline;
use backstop_kit::Timer;
use tokio::time::Instant;

use crate::StoreError;

/// A store failure.
pub(crate) enum StoreFailure {
    Failed(StoreError),
    TimedOut,
    /// Too many answers are being stored.
    Busy,
    /// The request's deadline passed.
    DeadlinePassed,
    /// The bytes aren't an entry of this version.
    Malformed,
}

impl From<StoreError> for StoreFailure {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl fmt::Display for StoreFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::TimedOut => f.write_str("it took too long"),
            Self::Busy => f.write_str("too many answers are being stored"),
            Self::DeadlinePassed => f.write_str("the request's deadline has passed"),
            Self::Malformed => f.write_str("it gave back what isn't ours, or of another version"),
        }
    }
}

/// Waits for a store operation, up to `limit` and `deadline`. An operation that is ready at once creates no timer.
pub(crate) async fn bounded<T>(
    limit: Duration,
    deadline: Option<Deadline>,
    // Pinned by the caller, since passing the future by value would copy it.
    mut operation: Pin<&mut impl Future<Output = Result<T, StoreFailure>>>,
) -> Result<T, StoreFailure> {
    let mut timer = Timer::new();
    let mut until = None;
    poll_fn(|cx| {
        if let Poll::Ready(result) = operation.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        let now = Instant::now();
        let deadline = deadline.map(|deadline| deadline.instant());
        let until = *until.get_or_insert_with(|| deadline.map_or(now + limit, |deadline| deadline.min(now + limit)));
        // The deadline has a timer of its own, which may wake this task a little earlier than this one.
        if now < until && timer.poll_until(until, cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(Err(if deadline == Some(until) { StoreFailure::DeadlinePassed } else { StoreFailure::TimedOut }))
    })
    .await
}
