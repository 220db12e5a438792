//! What must hold of features.

mod common;
mod errors;
mod fleet;
mod layer;
mod looks;
mod metrics;
mod model;
mod operators;
mod stores;
mod wedge;
