//! What must hold of the circuit breaker.
//!
//! `telemetry` is a binary of its own: while just one subscriber exists, tracing asks only the current thread's
//! subscriber whether a new event is wanted, so a test that doesn't listen would silence one that does.

#![cfg(not(backstop_loom))]

mod bodies;
mod cancellation;
mod config;
mod judging;
mod keyed;
mod listeners;
mod metrics;
mod model;
mod presets;
mod prober;
mod readiness;
mod reload;
mod shares;
mod slow_calls;
mod stacks;
mod states;
mod strangers;
mod stress;
mod unread_bodies;
mod uploads;
mod waits;
