//! One circuit for each key.

mod breaker_map;
mod function;
mod future;
mod handle;
mod layer;
mod prober;
mod service;
mod shards;

pub(crate) use breaker_map::KeyedBreaker;
pub use function::KeyedCircuitBreakerFunctions;
pub use future::KeyedCircuitBreakerFuture;
pub use handle::KeyedCircuitBreakerHandle;
pub use layer::KeyedCircuitBreakerLayer;
pub use service::KeyedCircuitBreaker;
