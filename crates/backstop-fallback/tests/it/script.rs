//! A body that does what it is told.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use backstop_core::scope::{self, EndedBy};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::common::BoxError;

#[derive(Clone, Copy)]
pub(crate) enum Act {
    Data(&'static str),
    /// Trailers with this `grpc-status`.
    Trailers(&'static str),
    /// Waits so many milliseconds.
    Wait(u64),
    Hang,
    Break,
}

/// Whose time limit dropped each of some bodies.
pub(crate) type Ends = Arc<Mutex<Vec<Option<EndedBy>>>>;

/// Plays its acts and then ends.
pub(crate) struct Script {
    acts: VecDeque<Act>,
    waiting: Option<Pin<Box<Sleep>>>,
    ends: Ends,
}

impl Script {
    pub(crate) fn new(acts: &[Act], ends: &Ends) -> Self {
        Self { acts: acts.iter().copied().collect(), waiting: None, ends: Arc::clone(ends) }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            return Poll::Ready(match self.acts.pop_front() {
                None => None,
                Some(Act::Data(data)) => Some(Ok(Frame::data(data.into()))),
                Some(Act::Trailers(status)) => {
                    let status = (HeaderName::from_static("grpc-status"), status.parse().unwrap());
                    Some(Ok(Frame::trailers(HeaderMap::from_iter([status]))))
                }
                Some(Act::Wait(millis)) => {
                    self.waiting = Some(Box::pin(sleep(Duration::from_millis(millis))));
                    continue;
                }
                Some(Act::Hang) => {
                    self.acts.push_front(Act::Hang);
                    return Poll::Pending;
                }
                Some(Act::Break) => Some(Err("the connection was reset".into())),
            });
        }
    }

    fn size_hint(&self) -> SizeHint {
        let data = self.acts.iter().map(|act| if let Act::Data(data) = act { data.len() as u64 } else { 0 });
        SizeHint::with_exact(data.sum())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.ends.lock().unwrap().push(scope::ended_by());
    }
}
