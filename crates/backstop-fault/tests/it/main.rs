//! What must hold of injected faults.

mod config;
mod held;
mod kinds;
mod metrics;
mod model;
mod operate;
mod rails;
mod seeds;
mod stress;
mod support;
mod telemetry;
