//! What the facade adds: the standard stack, guards for functions, and methods for `ServiceBuilder`.
#![cfg(all(
    feature = "axum",
    feature = "bulkhead",
    feature = "circuit-breaker",
    feature = "degradation-header",
    feature = "fallback",
    feature = "retry",
    feature = "timeout"
))]

mod floods;
mod guard;
mod guard_nesting;
#[cfg(feature = "admin")]
mod inventory;
#[cfg(all(feature = "last-known-good", feature = "metrics"))]
mod metrics;
#[cfg(all(feature = "last-known-good", feature = "metrics"))]
mod prometheus;
mod recovery_simulation;
mod reload_storm;
mod stacks;
mod standard;
#[cfg(feature = "toml")]
mod toml_file;
#[cfg(feature = "toml")]
mod toml_fuzz;
