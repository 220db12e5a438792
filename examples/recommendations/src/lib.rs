//! Backstop's reference app: a service that degrades in front of your eyes.
//!
//! It recommends things. Two services help it: `ml`, which knows what you like, and `catalog`, which knows what everybody
//! likes. When they fail it goes on answering, with less, and says so in `X-Fallback-Source` and `X-Data-Freshness`.
//!
//! To copy from it, read in this order:
//!
//! | file | shows |
//! |---|---|
//! | `recommender.rs` | the chain: which sources there are, in which order, and in how much time |
//! | `sources.rs` | what a source of answers is: a call, or something remembered, for one user only |
//! | `dependency.rs` | what stands around each call to another service, and why in that order |
//! | `app.rs` | what stands around all handlers, and the handlers |
//! | `health.rs` | why an open circuit makes the app degraded, but never not ready |
//!
//! The rest is what the show needs: simulated upstreams (`upstream`) and the admin listener that breaks them (`admin`).

mod admin;
mod app;
mod chaos;
mod circuits;
mod config;
mod dependency;
mod health;
mod problem;
mod recommender;
mod server;
mod sources;
mod upstream;
mod user_id;

#[cfg(test)]
mod hostile_input;

pub use self::app::app;
pub use self::chaos::{Chaos, Place};
pub use self::circuits::Circuits;
pub use self::config::{AdminToken, Args, BaseUrl, Config, ConfigError, ValueError};
pub use self::problem::Problem;
pub use self::recommender::Recommender;
pub use self::server::{Running, StartError, start};
pub use self::sources::Item;
pub use self::upstream::{Fault, FaultKind, Simulated, Upstream, WrongField};
pub use self::user_id::UserId;
