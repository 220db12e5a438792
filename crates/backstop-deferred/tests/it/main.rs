//! What must hold of deferred jobs.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "workers are tasks, and the helpers of a test may fail it"
)]

mod cancellation;
mod common;
mod config;
#[cfg(feature = "contract")]
mod contract;
#[cfg(feature = "redb")]
mod crash;
mod dead_letters;
mod defer;
mod gate;
mod handle;
#[cfg(all(feature = "axum", feature = "fallback"))]
mod http;
mod idempotency;
#[cfg(feature = "metrics")]
mod metrics;
mod outage;
#[cfg(all(feature = "contract", feature = "redb"))]
mod redb_store;
mod rolling_update;
mod sealed;
mod store_outage;
mod work;
mod zombie;
