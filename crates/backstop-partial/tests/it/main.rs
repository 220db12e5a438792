//! What must hold of partial answers.
//!
//! `allocations` is a binary of its own, since it counts what its process allocates.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

mod cancellation;
mod common;
mod concurrency;
mod config;
mod events;
mod fairness;
mod handlers;
mod labels;
mod load;
mod metrics;
mod model;
mod page;
mod panics;
mod parts;
mod required;
#[cfg(feature = "axum")]
mod sockets;
mod sources;
mod time;
