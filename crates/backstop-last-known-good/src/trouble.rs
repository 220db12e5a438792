//! How a store lets us down, and how long we wait for it.

use std::{fmt, future::poll_fn, pin::Pin, task::Poll, time::Duration};

use backstop_core::Deadline;
use backstop_kit::Timer;
use tokio::time::Instant;

use crate::StoreError;

/// How a store let us down.
pub(crate) enum Trouble {
    Failed(StoreError),
    TooSlow,
    /// The request that it was asked for ends.
    NoTime,
    Garbage,
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::TooSlow => f.write_str("it took too long"),
            Self::NoTime => f.write_str("the request's deadline has passed"),
            Self::Garbage => f.write_str("it gave back what isn't ours, or of another version"),
        }
    }
}

/// Waits so long, and no longer than to the deadline of who has an answer already. A store that is ready at once makes no
/// timer.
pub(crate) async fn bounded<T>(
    limit: Duration,
    deadline: Option<Deadline>,
    // Pinned where it is: a future that is given away is there twice.
    mut asking: Pin<&mut impl Future<Output = Result<T, Trouble>>>,
) -> Result<T, Trouble> {
    let mut timer = Timer::new();
    let mut until = None;
    poll_fn(|cx| {
        if let Poll::Ready(result) = asking.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        let now = Instant::now();
        let ends = deadline.map(|deadline| deadline.instant());
        let until = *until.get_or_insert_with(|| ends.map_or(now + limit, |ends| ends.min(now + limit)));
        // Whoever set the deadline has a timer of their own, which may have woken us a little before this one would.
        if now < until && timer.poll_until(until, cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(Err(if ends == Some(until) { Trouble::NoTime } else { Trouble::TooSlow }))
    })
    .await
}
