//! One circuit for each key.

mod future;
mod handle;
mod layer;
mod map;
mod service;
mod shards;

pub use future::KeyedCircuitBreakerFuture;
pub use handle::KeyedCircuitBreakerHandle;
pub use layer::KeyedCircuitBreakerLayer;
pub(crate) use map::{Keyed, OfKey};
pub use service::KeyedCircuitBreaker;
