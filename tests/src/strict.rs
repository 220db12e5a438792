//! A service that can tell whether it was called as a service must be.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    collections::VecDeque,
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use axum::{
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tower::Service;

/// Answers soon, 200 unless told otherwise, and panics when a service is called that wasn't made ready itself.
pub struct Strict<E> {
    is_ready: bool,
    seen: Arc<Seen>,
    error: PhantomData<fn() -> E>,
}

/// What a [`Strict`] service and its clones have seen.
#[derive(Debug, Default)]
pub struct Seen {
    asked: AtomicUsize,
    called: AtomicUsize,
    next: Mutex<VecDeque<StatusCode>>,
}

impl Seen {
    /// How often it was asked whether it is ready.
    pub fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }

    /// How often it was called.
    pub fn called(&self) -> usize {
        self.called.load(Relaxed)
    }
}

impl<E> Strict<E> {
    /// A service that answers so, and 200 after that.
    pub fn new(answers: impl IntoIterator<Item = StatusCode>) -> Self {
        let seen = Seen { next: Mutex::new(answers.into_iter().collect()), ..Seen::default() };
        Self { is_ready: false, seen: Arc::new(seen), error: PhantomData }
    }

    /// What it has seen, and will see.
    #[must_use]
    pub fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }
}

impl<E: 'static> Service<Request> for Strict<E> {
    type Response = Response;
    type Error = E;
    type Future = Pin<Box<dyn Future<Output = Result<Response, E>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.seen.asked.fetch_add(1, Relaxed);
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "another service was made ready than the one that is called");
        self.seen.called.fetch_add(1, Relaxed);
        let status = self.seen.next.lock().unwrap().pop_front().unwrap_or(StatusCode::OK);
        Box::pin(async move {
            // So that callers meet.
            tokio::task::yield_now().await;
            Ok(status.into_response())
        })
    }
}

/// A clone has to be made ready itself.
impl<E> Clone for Strict<E> {
    fn clone(&self) -> Self {
        Self { is_ready: false, seen: Arc::clone(&self.seen), error: PhantomData }
    }
}

impl<E> fmt::Debug for Strict<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strict").field("seen", &self.seen).finish_non_exhaustive()
    }
}
