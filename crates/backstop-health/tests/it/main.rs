//! What must hold of health.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "probes and drivers are tasks of their own, and the helpers of a test may fail it"
)]

mod common;
mod damping;
mod probes;
mod reports;
mod shared_view;
mod sources;
