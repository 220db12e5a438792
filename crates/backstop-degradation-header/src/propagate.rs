//! Reads an upstream's own labels, and reports them here.

mod config;
mod future;
mod layer;
mod service;
mod upstream;

pub use config::{PropagateDegradationBuilder, PropagateDegradationConfig};
pub use future::PropagateDegradationFuture;
pub use layer::PropagateDegradationLayer;
pub use service::PropagateDegradation;
pub use upstream::UPSTREAM_DEGRADED;
