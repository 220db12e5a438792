//! What must hold of the fallback layer and its chains.
//!
//! `allocations` is a binary of its own, since it counts what its process allocates.

mod caching;
mod cancellation;
mod commit;
mod common;
mod drills;
mod drills_model;
mod events;
mod execute;
mod exhaustion;
mod forced;
mod handlers;
mod inspect;
mod layer;
mod metrics;
mod panics;
mod prove;
mod proven;
mod reload;
mod requests;
mod script;
mod shares;
mod side_effects;
mod storms;
mod uploads;
