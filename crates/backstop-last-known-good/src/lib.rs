//! A tower layer that stores good answers, and serves them as stale when the service fails.

mod age;
mod body;
mod cache_control;
mod config;
mod entry;
mod fields;
mod future;
mod handle;
mod key;
mod layer;
mod moka_store;
mod rules;
mod service;
mod shelf;
mod store;
mod telemetry;
mod vary;
mod watch;

pub use backstop_core::{Answer, ConfigError, Freshness, Name, WrapBody, name};

pub use config::{LastKnownGoodBuilder, LastKnownGoodConfig};
pub use future::LastKnownGoodFuture;
pub use handle::{LastKnownGoodHandle, NotStored};
pub use layer::LastKnownGoodLayer;
pub use moka_store::MokaStore;
pub use service::LastKnownGood;
pub use store::{Store, StoreError};
