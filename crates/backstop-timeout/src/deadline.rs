//! The outermost limit, for a whole request, at the edge.

mod config;
mod future;
mod handle;
mod layer;
mod layer_state;
mod service;
mod trusted;

pub use config::{DeadlineBuilder, DeadlineConfig};
pub use future::DeadlineFuture;
pub use handle::DeadlineHandle;
pub use layer::DeadlineLayer;
pub use service::DeadlineService;
