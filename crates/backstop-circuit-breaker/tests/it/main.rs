//! What must hold of the circuit breaker.

#![cfg(not(backstop_loom))]

mod bodies;
mod call_metrics;
mod cancellation;
mod config;
mod error_text;
mod functions;
mod judging;
mod keyed;
mod listeners;
mod metrics;
mod model;
mod observing;
mod presets;
mod prober;
mod ramp;
mod readiness;
mod reload;
mod shares;
mod slow_calls;
mod stacks;
mod states;
mod strangers;
mod stress;
mod telemetry;
mod unread_bodies;
mod uploads;
mod waits;
