//! The outermost limit: of a request as a whole, at the edge.

mod config;
mod future;
mod layer;
mod service;

pub use config::{DeadlineBuilder, DeadlineConfig};
pub use future::DeadlineFuture;
pub use layer::DeadlineLayer;
pub use service::DeadlineService;
