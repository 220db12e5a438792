//! What must hold of deadlines and timeouts.
//!
//! Two binaries are their own. `allocations` counts what its process allocates. `telemetry` listens to tracing, which asks
//! only the current thread's subscriber whether a new event is wanted while just one exists: a test that doesn't listen
//! would silence one that does.

mod cancellation;
mod cover;
mod deadline;
mod deadline_cancellation;
mod deadline_readiness;
mod limit;
mod metrics;
mod propagate;
mod readiness;
mod scripted;
mod stacks;
mod uploads;
