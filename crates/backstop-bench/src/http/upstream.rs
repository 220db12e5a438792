//! The service that answers.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    mem,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use axum::body::Body;
use http::{Request, Response, StatusCode};
use tower::Service;

/// Answers at once, and keeps the request for the next call: making one costs more than what is measured.
pub(crate) struct Upstream<B: 'static> {
    // A reference costs the layers that clone their service nothing.
    kept: &'static Mutex<Kept<B>>,
}

struct Kept<B> {
    request: Option<Request<B>>,
    answer: fn() -> Response<B>,
}

impl<B: Default> Upstream<B> {
    /// Answers with a 200 that has no body.
    pub(crate) fn new(request: Request<B>) -> Self {
        Self::answering(request, ok)
    }
}

impl<B> Upstream<B> {
    pub(crate) fn answering(request: Request<B>, answer: fn() -> Response<B>) -> Self {
        Self { kept: Box::leak(Box::new(Mutex::new(Kept { request: Some(request), answer }))) }
    }

    /// The request, if it has come back.
    pub(crate) fn take(self) -> Option<Request<B>> {
        self.lock().request.take()
    }

    /// What it answers from now on.
    pub(crate) fn answer_with(self, answer: fn() -> Response<B>) {
        self.lock().answer = answer;
    }

    fn lock(self) -> MutexGuard<'static, Kept<B>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers when it is asked again.
#[derive(Clone, Copy)]
pub(crate) struct Late(pub(crate) Upstream<Body>);

impl Service<Request<Body>> for Late {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = LateAnswer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> LateAnswer {
        LateAnswer { answer: self.0.call(request), is_asked: false }
    }
}

pub(crate) struct LateAnswer {
    answer: Ready<Result<Response<Body>, Infallible>>,
    is_asked: bool,
}

impl Future for LateAnswer {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if mem::replace(&mut self.is_asked, true) { Pin::new(&mut self.answer).poll(cx) } else { Poll::Pending }
    }
}

/// A 200.
pub(crate) fn ok<B: Default>() -> Response<B> {
    Response::new(B::default())
}

/// A 503.
pub(crate) fn unavailable<B: Default>() -> Response<B> {
    let mut response = ok();
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

impl<B> Clone for Upstream<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Upstream<B> {}

impl<B> Service<Request<B>> for Upstream<B> {
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Ready<Result<Response<B>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut kept = self.lock();
        kept.request = Some(request);
        // Known only now, so that it isn't inlined away.
        ready(Ok((kept.answer)()))
    }
}
