//! What must hold of the bulkhead.

#![cfg(not(backstop_loom))]

mod bodies;
mod cancellation;
mod config;
mod functions;
mod line;
mod metrics;
mod model;
mod resizing;
mod stacks;
mod stress;
mod support;
mod telemetry;
