//! The health of a service: a level that doesn't flap, readiness that doesn't follow dependencies, and a drain that refuses nobody.
//!
//! # Readiness
//!
//! Readiness never follows a dependency. An instance isn't ready while it starts, while it drains, and while a component
//! that is [local](Component::local) to it is critical.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod component;
mod config;
mod drain;
mod engine;
#[cfg(feature = "tonic")]
mod grpc;
mod health;
mod heartbeat;
mod inspect;
mod operator;
mod probe;
mod reporter;
#[cfg(feature = "axum")]
mod routes;
mod sample;
mod shared;
mod shared_view;
mod state;
mod subscription;
mod telemetry;
mod view;

pub use backstop_core::{ConfigError, Level, Name, name};

pub use component::Component;
pub use config::{HealthBuilder, HealthConfig};
pub use drain::{Drain, DrainFuture, DrainLayer, DrainService};
#[cfg(feature = "tonic")]
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
pub use grpc::{GrpcHealth, GrpcHealthWatch};
pub use health::{ComponentHandle, Health, StartHold};
pub use heartbeat::Heartbeat;
pub use operator::Operator;
pub use probe::{ActiveProbe, ProbeConfig};
pub use reporter::Reporter;
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub use routes::{HealthRoutes, X_SERVICE_LEVEL};
pub use shared_view::{InstanceView, MemoryViewStore, StoreError, ViewStore};
pub use state::{ComponentState, Readiness};
pub use subscription::LevelSubscription;
#[cfg(feature = "metrics")]
pub use telemetry::describe_metrics;
pub use view::{ComponentView, HealthView, PinView};

/// The name of the whole service among the components, in metrics and events.
pub(crate) const SERVICE: &str = "service";
