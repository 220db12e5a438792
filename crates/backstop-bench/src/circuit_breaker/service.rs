//! The service that is guarded.

use std::{
    future::{Ready, ready},
    hint::black_box,
    task::{Context, Poll},
};

use backstop::Rejection;
use tower::Service;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed;

impl From<Rejection> for Failed {
    fn from(_: Rejection) -> Self {
        Self
    }
}

/// Fails `percent` of the calls: the first so many of each hundred.
#[derive(Clone, Copy)]
pub(super) struct Inner {
    pub(super) percent: u64,
}

impl Inner {
    #[inline(never)]
    pub(super) fn answer(self, n: u64) -> Ready<Result<u64, Failed>> {
        ready(if n % 100 < self.percent { Err(Failed) } else { Ok(black_box(n)) })
    }
}

impl Service<u64> for Inner {
    type Response = u64;
    type Error = Failed;
    type Future = Ready<Result<u64, Failed>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, n: u64) -> Self::Future {
        self.answer(n)
    }
}
