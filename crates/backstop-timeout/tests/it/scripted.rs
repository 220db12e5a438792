//! A body that does as it is told.

#![allow(dead_code, clippy::unwrap_used, reason = "not each test needs all of it, and a helper of a test may fail it")]

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use backstop_core::scope::{self, EndedBy};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Data(&'static str),
    /// Pending for so long.
    Wait(Duration),
    Hang,
    Fail(&'static str),
    Trailers(&'static str),
}

pub(crate) struct Scripted {
    acts: VecDeque<Act>,
    sleep: Option<Pin<Box<Sleep>>>,
    drops: Drops,
}

/// Whose limit it was, of each body that was dropped before its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drops(Arc<Mutex<Vec<Option<EndedBy>>>>);

impl Drops {
    pub(crate) fn take(&self) -> Vec<Option<EndedBy>> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Scripted {
    pub(crate) fn new(acts: impl IntoIterator<Item = Act>) -> Self {
        Self { acts: acts.into_iter().collect(), sleep: None, drops: Drops::default() }
    }

    pub(crate) fn noting(mut self, drops: &Drops) -> Self {
        self.drops = drops.clone();
        self
    }

    pub(crate) fn axum(self) -> Body {
        Body::new(self)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        if !self.acts.is_empty() {
            self.drops.0.lock().unwrap().push(scope::ended_by());
        }
    }
}

impl http_body::Body for Scripted {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        loop {
            match self.acts.front().cloned() {
                Some(Act::Hang) => return Poll::Pending,
                Some(Act::Wait(time)) => {
                    let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(time)));
                    ready!(sleep.as_mut().poll(cx));
                    self.sleep = None;
                    self.acts.pop_front();
                }
                act => {
                    self.acts.pop_front();
                    return Poll::Ready(act.map(|act| match act {
                        Act::Data(data) => Ok(Frame::data(Bytes::from_static(data.as_bytes()))),
                        Act::Trailers(value) => {
                            let name = http::HeaderName::from_static("x-checksum");
                            let value = http::HeaderValue::from_static(value);
                            Ok(Frame::trailers(HeaderMap::from_iter([(name, value)])))
                        }
                        Act::Fail(error) => Err(error),
                        Act::Hang | Act::Wait(_) => unreachable!("handled above"),
                    }));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.acts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(
            self.acts.iter().map(|act| if let Act::Data(data) = act { data.len() as u64 } else { 0 }).sum(),
        )
    }
}
