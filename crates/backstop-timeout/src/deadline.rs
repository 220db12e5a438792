//! The outermost limit, for a whole request, at the edge.

mod config;
mod future;
mod layer;
mod service;
mod trusted;

pub use config::{DeadlineBuilder, DeadlineConfig};
pub use future::DeadlineFuture;
pub use layer::DeadlineLayer;
pub use service::DeadlineService;
