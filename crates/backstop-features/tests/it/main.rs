//! What must hold of features.

mod common;
mod config;
mod driver;
mod errors;
mod fleet;
mod fleet_window;
mod layer;
mod metrics;
mod model;
mod operators;
mod states;
mod stores;
mod wedge;
