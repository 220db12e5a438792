//! Methods for tower's `ServiceBuilder`.

use tower::ServiceBuilder;
use tower_layer::Stack;

/// Adds Backstop's layers, with their defaults, to a [`ServiceBuilder`]. Add configured layers with
/// [`layer`](ServiceBuilder::layer).
///
/// This trait is sealed: only `ServiceBuilder` implements it.
///
/// ```
/// # #[cfg(all(feature = "axum", feature = "degradation-header", feature = "fallback"))]
/// # fn main() -> Result<(), backstop::ConfigError> {
/// use axum::{Router, body::Body, extract::Request, response::Response, routing::get};
/// use backstop::{FallbackChain, Provider, ServiceBuilderExt, name};
/// use tower::ServiceBuilder;
///
/// let instead: FallbackChain<Request, Response> = FallbackChain::builder("recommendations")
///     .provider(Provider::handler(name!("bestsellers"), || async { "the usual" }))
///     .build()?;
///
/// let app: Router = Router::new().route("/", get(|| async { "just for you" })).layer(
///     ServiceBuilder::new()
///         .degradation_headers()
///         .fall_back(name!("ml_service"), instead),
/// );
/// # let _ = app;
/// # Ok(())
/// # }
/// # #[cfg(not(all(feature = "axum", feature = "degradation-header", feature = "fallback")))]
/// # fn main() {}
/// ```
pub trait ServiceBuilderExt<L>: sealed::AddLayer<L> {
    /// Labels degraded responses: `DegradationHeaderLayer`.
    #[cfg(feature = "degradation-header")]
    fn degradation_headers(self) -> ServiceBuilder<Stack<backstop_degradation_header::DegradationHeaderLayer, L>> {
        self.add(backstop_degradation_header::DegradationHeaderLayer::new())
    }

    /// Answers from `chain` when the inner service, `primary`, fails: `FallbackLayer`.
    #[cfg(feature = "fallback")]
    fn fall_back<Req, Res>(
        self,
        primary: backstop_core::Name,
        chain: backstop_fallback::FallbackChain<Req, Res>,
    ) -> ServiceBuilder<Stack<backstop_fallback::FallbackLayer<Req, Res>, L>> {
        self.add(backstop_fallback::FallbackLayer::new(primary, chain))
    }

    /// Repeats failed requests where that is safe: `RetryLayer`.
    #[cfg(feature = "retry")]
    fn retries(self, name: backstop_core::Name) -> ServiceBuilder<Stack<backstop_retry::RetryLayer, L>> {
        self.add(backstop_retry::RetryLayer::new(name))
    }

    /// Stops calling a service that fails: `CircuitBreakerLayer`.
    #[cfg(feature = "circuit-breaker")]
    fn circuit_breaker(
        self,
        name: backstop_core::Name,
    ) -> ServiceBuilder<Stack<backstop_circuit_breaker::CircuitBreakerLayer, L>> {
        self.add(backstop_circuit_breaker::CircuitBreakerLayer::new(name))
    }

    /// Limits how many calls run at once, to 100, and how many wait: `BulkheadLayer`.
    #[cfg(feature = "bulkhead")]
    fn bulkhead(self, name: backstop_core::Name) -> ServiceBuilder<Stack<backstop_bulkhead::BulkheadLayer, L>> {
        self.add(backstop_bulkhead::BulkheadLayer::new(name))
    }

    /// Limits each request to 15 s, or to a shorter `grpc-timeout`: `DeadlineLayer`.
    #[cfg(feature = "timeout")]
    fn deadline(self, name: backstop_core::Name) -> ServiceBuilder<Stack<backstop_timeout::DeadlineLayer, L>> {
        self.add(backstop_timeout::DeadlineLayer::new(name))
    }

    /// Ends calls that take longer than 1 s: `TimeoutLayer`.
    #[cfg(feature = "timeout")]
    fn time_limit(self, name: backstop_core::Name) -> ServiceBuilder<Stack<backstop_timeout::TimeoutLayer, L>> {
        self.add(backstop_timeout::TimeoutLayer::new(name))
    }
}

impl<L> ServiceBuilderExt<L> for ServiceBuilder<L> {}

mod sealed {
    use super::{ServiceBuilder, Stack};

    #[expect(unnameable_types, reason = "sealed")]
    pub trait AddLayer<L>: Sized {
        fn add<T>(self, layer: T) -> ServiceBuilder<Stack<T, L>>;
    }

    impl<L> AddLayer<L> for ServiceBuilder<L> {
        fn add<T>(self, layer: T) -> ServiceBuilder<Stack<T, L>> {
            self.layer(layer)
        }
    }
}
