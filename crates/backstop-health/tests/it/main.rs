//! What must hold of health.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "probes and drivers are tasks of their own, and the helpers of a test may fail it"
)]

mod common;
mod config;
mod damping;
mod drain;
#[cfg(feature = "axum")]
mod drain_sockets;
#[cfg(feature = "tonic")]
mod grpc;
mod many_threads;
mod model;
mod probes;
mod reports;
#[cfg(feature = "axum")]
mod routes;
mod shared_view;
mod sources;
mod telemetry;
