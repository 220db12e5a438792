//! The bracket that protects a call to another service.

use backstop_circuit_breaker::{CircuitBreaker, CircuitBreakerHandle, CircuitBreakerLayer};
use backstop_core::Name;
use backstop_retry::{Retry, RetryLayer};
use backstop_timeout::{Timeout, TimeoutLayer};
use tower_layer::Layer;

/// Retry → circuit breaker → timeout, each with its defaults, under one name.
///
/// | layer | by default |
/// |---|---|
/// | [`RetryLayer`] | 3 attempts within 60 s, where repeating is safe |
/// | [`CircuitBreakerLayer`] | opens after 5 failures in a row, for 60 s |
/// | [`TimeoutLayer`] | 1 s an attempt |
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
        timeout: TimeoutLayer::new(name),
    }
}

/// What [`standard`] makes.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct Standard {
    retry: RetryLayer,
    circuit_breaker: CircuitBreakerLayer,
    timeout: TimeoutLayer,
}

impl Standard {
    /// The circuit's handle.
    #[must_use]
    pub fn circuit(&self) -> CircuitBreakerHandle {
        self.circuit_breaker.handle()
    }
}

impl<S> Layer<S> for Standard {
    type Service = Retry<CircuitBreaker<Timeout<S>>>;

    fn layer(&self, inner: S) -> Self::Service {
        self.retry.layer(self.circuit_breaker.layer(self.timeout.layer(inner)))
    }
}
