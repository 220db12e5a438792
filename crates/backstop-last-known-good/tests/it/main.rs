//! What must hold of the layers that store answers.
//!
//! `telemetry` is a binary of its own: while just one subscriber exists, tracing asks only the current thread's
//! subscriber whether a new event is wanted, so a test that doesn't listen would silence one that does.

mod cancellation;
mod config;
mod invalidation;
mod isolation;
mod metrics;
mod revalidate;
mod serving;
mod stacks;
mod stores;
mod storing;
mod support;
mod validation;
mod values;
mod vary;
