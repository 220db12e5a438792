//! The innermost limit: of one attempt.

mod body;
mod config;
mod cover;
mod future;
mod layer;
mod readiness;
mod service;
mod upload;

pub use config::{TimeoutBuilder, TimeoutConfig};
pub use cover::Cover;
pub use future::TimeoutFuture;
pub use layer::{HttpStrategies, PlainStrategies, TimeoutLayer};
pub use service::Timeout;
