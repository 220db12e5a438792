//! Serves stored answers by `stale-while-revalidate`, and refreshes them in the background (RFC 5861 §3).

mod config;
mod future;
mod layer;
mod refreshes;
mod service;
mod shared;

pub use config::StaleWhileRevalidateBuilder;
pub use future::StaleWhileRevalidateFuture;
pub use layer::StaleWhileRevalidateLayer;
pub use service::StaleWhileRevalidate;
pub use shared::Refresh;
