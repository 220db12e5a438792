//! A tower layer that stops calling a dependency that fails, and finds out when it is well again.

mod breaker;
mod builder;
mod config;
mod future;
mod handle;
mod layer;
mod service;
mod state;
mod telemetry;

pub use backstop_core::{CircuitState, ConfigError, HttpClassify, HttpReject, Name, Rejection, RejectionKind, name};
pub use builder::CircuitBreakerBuilder;
pub use config::{CircuitBreakerConfig, OnDrop};
pub use future::CircuitBreakerFuture;
pub use handle::{CircuitBreakerHandle, Counts};
pub use layer::CircuitBreakerLayer;
pub use service::CircuitBreaker;
