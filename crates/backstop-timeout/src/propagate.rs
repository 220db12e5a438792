//! Sends the time that is left to the next service.

mod config;
mod future;
mod handle;
mod layer;
mod propagation;
mod service;

pub use config::{PropagateDeadlineBuilder, PropagateDeadlineConfig};
pub use future::PropagateDeadlineFuture;
pub use handle::PropagateDeadlineHandle;
pub use layer::PropagateDeadlineLayer;
pub use service::PropagateDeadline;
