//! What must hold of the fallback layer and its chains.
//!
//! Two binaries are their own. `allocations` counts what its process allocates. `events` listens to tracing, which asks
//! only the current thread's subscriber whether a new event is wanted while just one exists: a test that doesn't listen
//! would silence one that does.

mod caching;
mod cancellation;
mod commit;
mod common;
mod execute;
mod exhaustion;
mod forced;
mod handlers;
mod layer;
mod metrics;
mod requests;
mod script;
mod shares;
mod side_effects;
mod storms;
mod uploads;
