//! Methods for tower's `ServiceBuilder`.

use tower::ServiceBuilder;
use tower_layer::Stack;

/// Adds Backstop's layers, with their defaults, to a [`ServiceBuilder`]. Add configured layers with
/// [`layer`](ServiceBuilder::layer).
///
/// Each method is named after its layer. Two aren't, because `ServiceBuilder` has a `retry` and a `timeout` of its own:
/// [`retries`](Self::retries) and [`time_limit`](Self::time_limit).
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
///         .degradation_header()
///         .fallback(name!("ml_service"), instead),
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
    fn degradation_header(self) -> ServiceBuilder<Stack<backstop_degradation_header::DegradationHeaderLayer, L>> {
        self.add(backstop_degradation_header::DegradationHeaderLayer::new())
    }

    /// Answers from `chain` when the inner service, `primary`, fails: `FallbackLayer`.
    #[cfg(feature = "fallback")]
    fn fallback<Req, Res>(
        self,
        primary: backstop_core::Name,
        chain: backstop_fallback::FallbackChain<Req, Res>,
    ) -> ServiceBuilder<Stack<backstop_fallback::FallbackLayer<Req, Res>, L>> {
        self.add(backstop_fallback::FallbackLayer::new(primary, chain))
    }

    /// Protects calls of a client with the standard stack: [`Standard`](crate::Standard).
    #[cfg(all(feature = "bulkhead", feature = "circuit-breaker", feature = "retry", feature = "timeout"))]
    fn standard(self, name: backstop_core::Name) -> ServiceBuilder<Stack<crate::Standard, L>> {
        self.add(crate::Standard::new(name))
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
