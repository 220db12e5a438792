//! The innermost limit, for one attempt.

mod body;
mod config;
mod cover;
mod future;
mod handle;
mod layer;
mod layer_state;
mod live_limit;
mod ready_wait;
mod service;
mod upload;

pub use config::{TimeoutBuilder, TimeoutConfig};
pub use cover::Cover;
pub use future::TimeoutFuture;
pub use handle::TimeoutHandle;
pub use layer::{HttpStrategies, PlainStrategies, TimeoutLayer};
pub use service::Timeout;
