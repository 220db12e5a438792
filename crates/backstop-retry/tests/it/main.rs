//! What must hold of retries.
//!
//! Two binaries are their own. `allocations` counts what its process allocates. `events` listens to tracing, which asks
//! only the current thread's subscriber whether a new event is wanted while just one exists: a test that doesn't listen
//! would silence one that does.

mod attempt_count;
mod backoffs;
mod bodies;
mod budget;
mod cancellation;
mod closures;
mod decisions;
mod judges;
mod last_answer;
mod metrics;
mod overrides;
mod report;
mod slow_answers;
mod stack;
mod storm;
mod support;
mod time;
