//! The bracket that protects a call to another service.

use backstop_bulkhead::{Bulkhead, BulkheadHandle, BulkheadLayer};
use backstop_circuit_breaker::{CircuitBreaker, CircuitBreakerHandle, CircuitBreakerLayer};
use backstop_core::Name;
use backstop_retry::{Retry, RetryLayer};
use backstop_timeout::{Timeout, TimeoutLayer};
use tower_layer::Layer;

/// Retry → circuit breaker → bulkhead → timeout, each with its defaults, under one name.
///
/// | layer | by default |
/// |---|---|
/// | [`RetryLayer`] | 3 attempts within 60 s, where repeating is safe |
/// | [`CircuitBreakerLayer`] | opens after 5 failures in a row, for 60 s |
/// | [`BulkheadLayer`] | 100 attempts run, 100 more wait for 1 s; a response body may take 60 s |
/// | [`TimeoutLayer`] | 1 s an attempt |
///
/// For answers that are streamed for longer, and for response bodies that can't be [broken off](backstop_core::AbortBody),
/// put the layers together by hand, with a bulkhead that is told `until_headers`.
///
/// ```
/// use backstop::{name, standard};
/// use tower::ServiceBuilder;
/// # use {std::convert::Infallible, axum::{body::Body, http::{Request, Response}}, tower::{ServiceExt, service_fn}};
///
/// # #[cfg(feature = "axum")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let client = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
/// let ml_service = standard(name!("ml_service"));
/// let circuit = ml_service.circuit();
/// let client = ServiceBuilder::new().layer(ml_service).service(client);
/// # client.oneshot(Request::new(Body::empty())).await.unwrap();
/// # let _ = circuit;
/// # }
/// # #[cfg(not(feature = "axum"))]
/// # fn main() {}
/// ```
pub fn standard(name: Name) -> Standard {
    Standard {
        retry: RetryLayer::new(name.clone()),
        circuit_breaker: CircuitBreakerLayer::new(name.clone()),
        bulkhead: BulkheadLayer::new(name.clone()),
        timeout: TimeoutLayer::new(name),
    }
}

/// What [`standard`] makes.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct Standard {
    retry: RetryLayer,
    circuit_breaker: CircuitBreakerLayer,
    bulkhead: BulkheadLayer,
    timeout: TimeoutLayer,
}

impl Standard {
    /// The circuit's handle.
    #[must_use]
    pub fn circuit(&self) -> CircuitBreakerHandle {
        self.circuit_breaker.handle()
    }

    /// The bulkhead's handle.
    #[must_use]
    pub fn bulkhead(&self) -> BulkheadHandle {
        self.bulkhead.handle()
    }
}

impl<S> Layer<S> for Standard {
    type Service = Retry<CircuitBreaker<Bulkhead<Timeout<S>>>>;

    fn layer(&self, inner: S) -> Self::Service {
        self.retry.layer(self.circuit_breaker.layer(self.bulkhead.layer(self.timeout.layer(inner))))
    }
}
