//! A rate limit: calls take tokens from a bucket, and are refused while it is empty.
//!
//! | the bucket | `poll_ready` | `call` |
//! |---|---|---|
//! | has a token | asks the inner service | takes a token, and calls the inner service |
//! | is empty | is ready, without asking the inner service | refuses, with the time until there is a token |

use std::task::{Context, Poll};
use std::{mem, pin::Pin, sync::Arc};

use backstop_core::{ConfigError, Name, Reason, Rejection, grpc::GrpcCode};
use backstop_kit::proof::{Entered, pass_through};
use backstop_kit::{EagerCall, HttpReject, Readiness, Reject, RejectAsError, polled_again};
use http::StatusCode;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use bucket::Bucket;
pub use bucket::RateLimitHandle;

mod bucket;

/// The reason of a refusal.
pub const RATE_LIMITED: Reason = Reason::new("rate-limited");

/// Limits the rate of calls. All clones, and all services of the layer, share one bucket.
#[derive(Clone)]
pub struct RateLimitLayer<R = HttpReject> {
    bucket: Arc<Bucket>,
    reject: R,
}

impl RateLimitLayer {
    /// At most `rate` calls a second, and `burst` at once after a pause: each 1 to 1,000,000.
    ///
    /// # Errors
    /// For a number outside that range.
    pub fn per_second(name: Name, rate: u32, burst: u32) -> Result<Self, ConfigError> {
        Ok(Self { bucket: Arc::new(Bucket::new(name, rate, burst)?), reject: HttpReject::default() })
    }
}

impl<R> RateLimitLayer<R> {
    /// Refuses with the service's error, where that implements `From<Rejection>`.
    pub fn reject_as_error(self) -> RateLimitLayer<RejectAsError> {
        RateLimitLayer { bucket: self.bucket, reject: RejectAsError::new() }
    }

    /// Shows the bucket to operators.
    pub fn handle(&self) -> RateLimitHandle {
        RateLimitHandle(Arc::clone(&self.bucket))
    }
}

impl<S, R: Clone> Layer<S> for RateLimitLayer<R> {
    type Service = RateLimit<S, R>;

    fn layer(&self, inner: S) -> RateLimit<S, R> {
        RateLimit { inner, readiness: Readiness::NotReady, limit: self.clone() }
    }
}

/// The service that [`RateLimitLayer`] makes.
pub struct RateLimit<S, R = HttpReject> {
    inner: S,
    readiness: Readiness,
    limit: RateLimitLayer<R>,
}

/// A clone isn't ready.
impl<S: Clone, R: Clone> Clone for RateLimit<S, R> {
    fn clone(&self) -> Self {
        self.limit.layer(self.inner.clone())
    }
}

impl<S, R, Req> Service<Req> for RateLimit<S, R>
where
    S: Service<Req> + Clone,
    R: Reject<Req, S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RateLimitFuture<S, Req>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.limit.bucket.available() == 0 {
            self.readiness = Readiness::NotReady;
            return Poll::Ready(Ok(()));
        }
        let polled = self.inner.poll_ready(cx);
        self.readiness = Readiness::from(&polled);
        polled
    }

    fn call(&mut self, request: Req) -> Self::Future {
        if let Err(wait) = self.limit.bucket.take() {
            let RateLimitLayer { bucket, reject } = &self.limit;
            let rejection = Rejection::refused(bucket.name().clone(), RATE_LIMITED)
                .with_status(StatusCode::TOO_MANY_REQUESTS, GrpcCode::RESOURCE_EXHAUSTED)
                .with_retry_after(Some(wait));
            let answer = Some(reject.reject(reject.context(&request), rejection));
            return RateLimitFuture::Refused { answer, entered: Entered::now() };
        }
        let readiness = mem::take(&mut self.readiness);
        RateLimitFuture::Called { call: pass_through(|| EagerCall::begin(&mut self.inner, readiness, request)) }
    }
}

pin_project! {
    /// The future of [`RateLimit`].
    #[project = State]
    pub enum RateLimitFuture<S, Req> where S: Service<Req> {
        #[doc(hidden)]
        Called { #[pin] call: EagerCall<S, Req> },
        // `None` once the answer was given.
        #[doc(hidden)]
        Refused { answer: Option<Result<S::Response, S::Error>>, entered: Entered },
    }
}

impl<S: Service<Req>, Req> Future for RateLimitFuture<S, Req> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            State::Called { call } => call.poll(cx),
            State::Refused { answer, entered } => {
                entered.prove();
                Poll::Ready(answer.take().unwrap_or_else(|| polled_again("RateLimitFuture")))
            }
        }
    }
}
