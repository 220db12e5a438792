//! The stack that protects calls to another service.

use backstop_bulkhead::{Bulkhead, BulkheadHandle, BulkheadLayer, UntilBodyEnd, UntilHeaders};
use backstop_circuit_breaker::{CircuitBreaker, CircuitBreakerHandle, CircuitBreakerLayer};
use backstop_core::Name;
use backstop_kit::{Client, HttpReject, client};
use backstop_retry::{Retry, RetryLayer};
use backstop_timeout::{Timeout, TimeoutLayer};
use tower_layer::Layer;

/// Retry → circuit breaker → bulkhead → timeout, each with its defaults, under one name.
///
/// | layer | by default |
/// |---|---|
/// | [`RetryLayer`] | 3 attempts within 60 s, if repeating is safe |
/// | [`CircuitBreakerLayer`] | opens after 5 failures in a row, for 60 s |
/// | [`BulkheadLayer`] | 100 attempts run, 100 more wait for 1 s; a response body may take 60 s, see [below](#who-reads-the-bodies) |
/// | [`TimeoutLayer`] | 1 s an attempt |
/// | [`client`] | a refused connection, or a similar error, proves that a request wasn't processed |
///
/// Put it only around a client, which does nothing but send the request: see [`client`]. Around hyper's client, [map
/// its response body](crate#around-a-client).
///
/// # Who reads the bodies
///
/// The bulkhead counts a call until its response body was read, for up to 60 s. That fits a service that reads its
/// dependency's responses itself. At an edge or in a proxy, the body is passed on to a client, which sets the pace: 100
/// clients that don't read block all others, which get 503s, until their 60 s have passed. In that case, for responses
/// that stream for longer, and for response bodies that can't be [aborted](backstop_kit::AbortBody), use
/// [`until_headers`](Standard::until_headers): a call then counts until its response head arrives. The server's own
/// limits on connections and time then bound slow readers.
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

/// The layer that [`standard`] makes. `O` says how long a call counts in the bulkhead.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct Standard<O = UntilBodyEnd> {
    retry: RetryLayer,
    circuit_breaker: CircuitBreakerLayer,
    bulkhead: BulkheadLayer<HttpReject, O>,
    timeout: TimeoutLayer,
}

impl<O> Standard<O> {
    /// Makes the bulkhead count each call until its response head arrives, instead of until its body was read.
    ///
    /// For an edge or a proxy, where slow clients set the pace, and for streams: see
    /// [above](standard#who-reads-the-bodies).
    ///
    /// ```
    /// use backstop::{name, standard};
    ///
    /// let upstream = standard(name!("upstream")).until_headers();
    /// # let _ = upstream;
    /// ```
    pub fn until_headers(self) -> Standard<UntilHeaders> {
        let Self { retry, circuit_breaker, bulkhead, timeout } = self;
        Standard { retry, circuit_breaker, bulkhead: bulkhead.until_headers(), timeout }
    }

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

impl<S, O> Layer<S> for Standard<O> {
    type Service = Retry<CircuitBreaker<Bulkhead<Timeout<Client<S>>, HttpReject, O>>>;

    fn layer(&self, inner: S) -> Self::Service {
        self.retry.layer(self.circuit_breaker.layer(self.bulkhead.layer(self.timeout.layer(client(inner)))))
    }
}
