//! Graceful degradation for HTTP and gRPC services, as tower layers
pub use backstop_core::*;
pub use backstop_circuit_breaker::*;
pub use backstop_degradation_header::*;
pub use backstop_fallback::*;
pub use backstop_retry::*;
pub use backstop_timeout::*;
