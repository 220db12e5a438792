//! Runs a future until another one ends.

use std::{future::poll_fn, pin::pin, task::Poll};

/// Runs `work` until `end` ends. `None` if it was cut off.
pub(crate) async fn until<W: Future>(work: W, end: impl Future) -> Option<W::Output> {
    let (mut work, mut end) = (pin!(work), pin!(end));
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => end.as_mut().poll(cx).map(|_| None),
    })
    .await
}
