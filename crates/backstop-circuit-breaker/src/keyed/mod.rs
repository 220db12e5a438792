//! One circuit for each key.

mod future;
mod handle;
mod layer;
mod map;
mod service;

pub use future::KeyedCircuitBreakerFuture;
pub use handle::KeyedCircuitBreakerHandle;
pub use layer::KeyedCircuitBreakerLayer;
pub(crate) use map::Keyed;
pub use service::KeyedCircuitBreaker;
