//! Methods for tower's `ServiceBuilder`.

use tower::ServiceBuilder;
#[cfg(any(
    feature = "bulkhead",
    feature = "circuit-breaker",
    feature = "degradation-header",
    feature = "fallback",
    feature = "retry",
    feature = "timeout"
))]
use tower_layer::Stack;

/// Adds Backstop's layers, with their defaults, to a [`ServiceBuilder`]. Others go in by
/// [`layer`](ServiceBuilder::layer).
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
pub trait ServiceBuilderExt<L>: Sized {
    /// Labels degraded answers: `DegradationHeaderLayer`.
    #[cfg(feature = "degradation-header")]
    fn degradation_headers(self) -> ServiceBuilder<Stack<backstop_degradation_header::DegradationHeaderLayer, L>>;

    /// Answers from `chain` when the service further in, `primary`, fails: `FallbackLayer`.
    #[cfg(feature = "fallback")]
    fn fall_back<Req, Res>(
        self,
        primary: backstop_core::Name,
        chain: backstop_fallback::FallbackChain<Req, Res>,
    ) -> ServiceBuilder<Stack<backstop_fallback::FallbackLayer<Req, Res>, L>>;

    /// Repeats failed requests where that is safe: `RetryLayer`.
    #[cfg(feature = "retry")]
    fn retries(self, name: backstop_core::Name) -> ServiceBuilder<Stack<backstop_retry::RetryLayer, L>>;

    /// Stops calling what fails: `CircuitBreakerLayer`.
    #[cfg(feature = "circuit-breaker")]
    fn circuit_breaker(
        self,
        name: backstop_core::Name,
    ) -> ServiceBuilder<Stack<backstop_circuit_breaker::CircuitBreakerLayer, L>>;

    /// Bounds how many calls run, to 100, and how many wait: `BulkheadLayer`.
    #[cfg(feature = "bulkhead")]
    fn bulkhead(self, name: backstop_core::Name) -> ServiceBuilder<Stack<backstop_bulkhead::BulkheadLayer, L>>;

    /// Gives requests 15 s, or what their gRPC callers wait: `DeadlineLayer`.
    #[cfg(feature = "timeout")]
    fn deadline(self, name: backstop_core::Name) -> ServiceBuilder<Stack<backstop_timeout::DeadlineLayer, L>>;

    /// Ends calls that take longer than 1 s: `TimeoutLayer`.
    #[cfg(feature = "timeout")]
    fn time_limit(self, name: backstop_core::Name) -> ServiceBuilder<Stack<backstop_timeout::TimeoutLayer, L>>;
}

impl<L> ServiceBuilderExt<L> for ServiceBuilder<L> {
    #[cfg(feature = "degradation-header")]
    fn degradation_headers(self) -> ServiceBuilder<Stack<backstop_degradation_header::DegradationHeaderLayer, L>> {
        self.layer(backstop_degradation_header::DegradationHeaderLayer::new())
    }

    #[cfg(feature = "fallback")]
    fn fall_back<Req, Res>(
        self,
        primary: backstop_core::Name,
        chain: backstop_fallback::FallbackChain<Req, Res>,
    ) -> ServiceBuilder<Stack<backstop_fallback::FallbackLayer<Req, Res>, L>> {
        self.layer(backstop_fallback::FallbackLayer::new(primary, chain))
    }

    #[cfg(feature = "retry")]
    fn retries(self, name: backstop_core::Name) -> ServiceBuilder<Stack<backstop_retry::RetryLayer, L>> {
        self.layer(backstop_retry::RetryLayer::new(name))
    }

    #[cfg(feature = "circuit-breaker")]
    fn circuit_breaker(
        self,
        name: backstop_core::Name,
    ) -> ServiceBuilder<Stack<backstop_circuit_breaker::CircuitBreakerLayer, L>> {
        self.layer(backstop_circuit_breaker::CircuitBreakerLayer::new(name))
    }

    #[cfg(feature = "bulkhead")]
    fn bulkhead(self, name: backstop_core::Name) -> ServiceBuilder<Stack<backstop_bulkhead::BulkheadLayer, L>> {
        self.layer(backstop_bulkhead::BulkheadLayer::new(name))
    }

    #[cfg(feature = "timeout")]
    fn deadline(self, name: backstop_core::Name) -> ServiceBuilder<Stack<backstop_timeout::DeadlineLayer, L>> {
        self.layer(backstop_timeout::DeadlineLayer::new(name))
    }

    #[cfg(feature = "timeout")]
    fn time_limit(self, name: backstop_core::Name) -> ServiceBuilder<Stack<backstop_timeout::TimeoutLayer, L>> {
        self.layer(backstop_timeout::TimeoutLayer::new(name))
    }
}
