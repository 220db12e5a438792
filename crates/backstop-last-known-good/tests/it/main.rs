//! What must hold of the layers that store answers.

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
mod telemetry;
mod tiers;
mod validation;
mod values;
mod vary;
