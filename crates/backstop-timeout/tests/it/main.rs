//! What must hold of deadlines and timeouts.
//!
//! `allocations` is a binary of its own, since it counts what its process allocates.

mod cancellation;
mod cover;
mod deadline;
mod deadline_cancellation;
mod deadline_readiness;
mod functions;
mod limit;
mod metrics;
mod propagate;
mod readiness;
mod reload;
mod scripted;
mod stacks;
mod telemetry;
mod uploads;
