//! What must hold of retries.
//!
//! `allocations` is a binary of its own, since it counts what its process allocates.

mod attempt_count;
mod backoffs;
mod bodies;
mod budget;
mod cancellation;
mod closures;
mod decisions;
mod events;
mod functions;
mod judges;
mod last_answer;
mod metrics;
mod overrides;
mod reload;
mod report;
mod slow_answers;
mod spans;
mod stack;
mod storm;
mod support;
mod time;
