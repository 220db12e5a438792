//! Tests of the inventory, the audit and the routes for operators.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "servers are tasks of their own, and the helpers of a test may fail it"
)]

mod audit;
mod inventory;
#[cfg(feature = "axum")]
mod routes;
