//! What the tests share.

#![allow(unreachable_pub, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use backstop_core::{Name, Reason, Rejection, SetBy, name};
use backstop_kit::{Elapsed, Progress, proof::Entered};
use backstop_test::{Scripted, ScriptedFuture};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::time::{Sleep, sleep};
use tower::Service;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// An upstream that answers as a test tells it.
pub type Upstream<E = Infallible> = Scripted<Request<Body>, Response<Body>, E>;

/// Never passes a request on, whatever it answers, and proves that.
pub struct Refusing<E>(pub Upstream<E>);

impl<E> Clone for Refusing<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: Send + 'static> Service<Request<Body>> for Refusing<E> {
    type Response = Response<Body>;
    type Error = E;
    type Future = ScriptedFuture<Response<Body>, E>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (entered, answering) = (Entered::now(), self.0.call(request));
        Box::pin(async move {
            let answer = answering.await;
            entered.prove();
            answer
        })
    }
}

pub fn get() -> Request<Body> {
    Request::new(Body::empty())
}

pub fn with_method(method: Method) -> Request<Body> {
    let mut request = get();
    *request.method_mut() = method;
    request
}

pub fn response(status: u16) -> Response<Body> {
    with_body(status, Body::empty())
}

pub fn with_body(status: u16, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

pub fn with_header(status: u16, name: &'static str, value: &str) -> Response<Body> {
    let mut response = response(status);
    response.headers_mut().insert(name, value.parse().unwrap());
    response
}

/// A Trailers-Only answer.
pub fn grpc(code: &str, pushback: Option<&str>) -> Response<Body> {
    let mut response = with_header(200, "content-type", "application/grpc");
    response.headers_mut().insert("grpc-status", code.parse().unwrap());
    if let Some(pushback) = pushback {
        response.headers_mut().insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
    }
    response
}

/// As a time limit of ours answers that has ended a call.
pub fn timed_out() -> Response<Body> {
    rejected(elapsed(SetBy::Us, Progress::Called))
}

/// As a circuit breaker that is open, or another layer, answers.
pub fn rejected(rejection: Rejection) -> Response<Body> {
    let mut refusal = response(503);
    refusal.extensions_mut().insert(rejection);
    refusal
}

/// What a time limit says that has ended a call.
pub fn elapsed(set_by: SetBy, progress: Progress) -> Rejection {
    Elapsed::new(set_by, progress).rejection(name!("inner"))
}

pub fn bulkhead_full() -> Rejection {
    Rejection::refused(name!("inner"), Reason::BULKHEAD_FULL)
}

pub fn circuit_open() -> Response<Body> {
    rejected(Rejection::refused(name!("inner"), Reason::CIRCUIT_OPEN))
}

pub async fn text(body: Body) -> String {
    String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap()
}

pub fn ml() -> Name {
    name!("ml")
}

pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A body of chunks whose length isn't declared, and which may stay open after them.
pub struct Chunks {
    chunks: VecDeque<&'static str>,
    then: Then,
}

/// What follows the chunks of a body.
#[derive(Clone, Copy)]
pub enum Then {
    End,
    Hang,
}

impl Chunks {
    pub fn new(chunks: impl IntoIterator<Item = &'static str>, then: Then) -> Self {
        Self { chunks: chunks.into_iter().collect(), then }
    }

    pub fn body(chunks: impl IntoIterator<Item = &'static str>, then: Then) -> Body {
        Body::new(Self::new(chunks, then))
    }
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match (self.chunks.pop_front(), self.then) {
            (Some(chunk), _) => Poll::Ready(Some(Ok(Frame::data(chunk.into())))),
            (None, Then::End) => Poll::Ready(None),
            (None, Then::Hang) => Poll::Pending,
        }
    }
}

/// A body that gives a chunk every so often, and doesn't end.
pub struct Drips {
    every: Duration,
    next: Pin<Box<Sleep>>,
}

impl Drips {
    pub fn body(every: Duration) -> Body {
        Body::new(Self { every, next: Box::pin(sleep(every)) })
    }
}

impl http_body::Body for Drips {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::ready!(self.next.as_mut().poll(cx));
        self.next = Box::pin(sleep(self.every));
        Poll::Ready(Some(Ok(Frame::data("drip ".into()))))
    }
}
