//! Backstop's reference app: a recommendation service that degrades gracefully.
//!
//! It depends on two services: `ml`, which knows what a user likes, and `catalog`, which knows what is popular. When they fail,
//! the app still answers, with less, and says so in `X-Fallback-Source` and `X-Data-Freshness`. Orders also need the services
//! `payment` and `mail`; when these fail, the work is queued.
//!
//! To copy from it, read the files in this order:
//!
//! | file | shows |
//! |---|---|
//! | `recommender.rs` | the chain of sources, their order, and their time limit |
//! | `sources.rs` | the sources: a call to a service, or a remembered answer of the same user |
//! | `rates.rs` | the other style: a chain in a handler, with a guard around each client |
//! | `dashboard.rs` | a page of several parts: which one it needs, what replaces the others, and what is `null` |
//! | `orders.rs` | an order that is charged, else queued, and never charged twice; an e-mail that is queued |
//! | `jobs.rs` | the queues: what is stored, and what their workers do |
//! | `dependency.rs` | the layers around each call to another service, and the reasons for their order |
//! | `app.rs` | the layers around all handlers, and the handlers |
//! | `inventory.rs` | what protects each dependency, which a test audits |
//! | `health.rs` | what is essential, and why an open circuit makes the app degraded, but never not ready |
//! | `stores.rs`, `metrics.rs` | what instances share, and needn't; what Prometheus scrapes |
//! | `features.rs` | what users see, and can go off: why it has its tier, and needs no component |
//!
//! The rest is for demonstration: a shop for browsers (`page`), simulated upstreams (`upstream`) and the admin listener that breaks them (`admin`),
//! and a drill that does so under load (`drill`).

mod admin;
mod app;
mod chaos;
mod circuits;
mod config;
mod dashboard;
mod dependency;
mod drill;
mod edge;
mod features;
mod hardening;
mod health;
mod inventory;
mod jobs;
mod metrics;
mod orders;
mod page;
mod problem;
mod rates;
mod recommender;
mod server;
mod sources;
mod stores;
mod upstream;
mod user_id;

#[cfg(test)]
mod hostile_input;

pub use self::app::app;
pub use self::chaos::{Chaos, Place, StoreSwitch};
pub use self::circuits::Circuits;
pub use self::config::{AdminToken, Args, BaseUrl, Command, Config, ConfigError, LogFormat, StoreUrl, ValueError};
pub use self::drill::{DrillConfig, DrillReport, PhaseReport, Progress, drill};
pub use self::edge::Edge;
pub use self::jobs::Queues;
pub use self::orders::Orders;
pub use self::problem::Problem;
pub use self::rates::{Currency, Rate, Rates};
pub use self::recommender::Recommender;
pub use self::server::{Running, StartError, start};
pub use self::sources::Item;
pub use self::upstream::{Fault, FaultKind, Simulated, Upstream, WrongField};
pub use self::user_id::UserId;
