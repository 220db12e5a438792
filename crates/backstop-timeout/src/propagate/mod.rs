//! On the way out: the next service learns how much time is left.

mod config;
mod future;
mod layer;
mod service;

pub use config::{PropagateDeadlineBuilder, PropagateDeadlineConfig};
pub use future::PropagateDeadlineFuture;
pub use layer::PropagateDeadlineLayer;
pub use service::PropagateDeadline;
