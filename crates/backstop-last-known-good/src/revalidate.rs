//! Serves stored answers by `stale-while-revalidate`, and refreshes them in the background (RFC 5861 §3).

mod config;
mod future;
mod handle;
mod layer;
mod layer_state;
mod service;

pub use config::{StaleWhileRevalidateBuilder, StaleWhileRevalidateConfig};
pub use future::StaleWhileRevalidateFuture;
pub use handle::StaleWhileRevalidateHandle;
pub use layer::StaleWhileRevalidateLayer;
pub use layer_state::Refresh;
pub use service::StaleWhileRevalidate;
