//! What must hold of the bulkhead.
//!
//! `telemetry` is a binary of its own: while just one subscriber exists, tracing asks only the current thread's
//! subscriber whether a new event is wanted, so a test that doesn't listen would silence one that does.

#![cfg(not(backstop_loom))]

mod bodies;
mod cancellation;
mod config;
mod line;
mod metrics;
mod model;
mod resizing;
mod stacks;
mod stress;
mod support;
