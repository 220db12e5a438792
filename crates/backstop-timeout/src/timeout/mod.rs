//! The innermost limit: of one attempt.

mod body;
mod config;
mod cover;
mod future;
mod layer;
mod readiness;
mod service;

pub use config::{TimeoutBuilder, TimeoutConfig};
pub use cover::{Cover, UntilBodyEnd, UntilFirstFrame, UntilHeaders};
pub use future::TimeoutFuture;
pub use layer::TimeoutLayer;
pub use service::Timeout;
