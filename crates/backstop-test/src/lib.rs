//! A test kit for tower stacks: captured logs and metrics, and services that answer by a script.
//!
//! Use it to test a stack of your own as an operator and a caller see it: what it answers when a dependency fails, what
//! it logs, and what it counts. It works with any tower service, with or without the other crates of Backstop.
//!
#![cfg_attr(feature = "metrics", doc = "```")]
#![cfg_attr(not(feature = "metrics"), doc = "```ignore")]
//! use axum::{body::Body, response::Response};
//! use backstop::{DegradationHeaderLayer, FallbackChain, FallbackLayer, Provider, name};
//! use backstop_test::{Logs, Metrics, Scripted};
//! use http::Request;
//! use tower::{ServiceBuilder, ServiceExt};
//! use tracing::Level;
//!
//! # // In a test, `#[tokio::test(start_paused = true)]`.
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (logs, metrics) = (Logs::new(), Metrics::new());
//! let _guards = (logs.listen(), metrics.listen());
//!
//! // The stack, around a service that answers 503.
//! let upstream = Scripted::statuses([503]).recording(|request: &Request<Body>| request.uri().to_string());
//! let cached = Provider::value(name!("cached"), || async { Response::new(Body::from("yesterday's")) });
//! let chain = FallbackChain::builder("recommendations").provider(cached).build()?;
//! let stack = ServiceBuilder::new()
//!     .layer(DegradationHeaderLayer::new())
//!     .layer(FallbackLayer::new(name!("ml_service"), chain))
//!     .service(upstream.clone());
//!
//! let response = stack.oneshot(Request::get("/items/7").body(Body::empty())?).await?;
//!
//! // What the caller sees, what the upstream saw, what is logged, and what is counted.
//! assert_eq!(response.headers()["x-fallback-source"], "cached");
//! assert_eq!(upstream.requests(), ["/items/7"]);
//! let warning = logs.events().with_target("backstop::fallback").at(Level::WARN).only();
//! assert_eq!(warning.field("reason"), Some("status-503"));
//! assert_eq!(metrics.counter("fallback_activations_total", &[("provider_name", "cached")]), 1);
//! # Ok(())
//! # }
//! ```
//!
//! | type | is |
//! |---|---|
//! | [`Logs`] | a `tracing` subscriber that keeps each event: level, target, message and fields |
//! | `Metrics` | a `metrics` recorder that keeps each counter, gauge and histogram (feature `metrics`) |
//! | [`Scripted`] | a service that answers by a script, and counts and records its calls; as a function, a provider of a fallback chain |
//! | `RedisServer` | a real Redis server on a free port, to be killed, paused and restarted (feature `redis`) |
//! | `NatsServer` | the same for NATS (feature `nats`) |
//! | [`Drip`] | a body that comes in pieces, and then ends, fails or hangs |
//! | `assert_config_file` | checks a configuration that is read from a file (feature `config`) |
//! | `assert_property` | checks a property with fewer cases than usual (feature `properties`) |
//! | [`Step`] | what one call of a script does: answer, fail, hang, each after a time |
//!
//! # Threads
//!
//! [`Logs::listen`] and `Metrics::listen` capture what happens *on this thread* until their guards are dropped, so tests
//! that run at the same time don't see each other's. That includes everything that a test on a current-thread runtime
//! awaits or spawns, which `#[tokio::test]` uses unless it is told otherwise.
//!
//! For work on other threads, both can be installed in other ways. [`Logs`] is a `Subscriber`: give a clone to
//! `WithSubscriber::with_subscriber`, for one future, or to `tracing::subscriber::set_global_default`. `Metrics` is a
//! `Recorder`: give a clone to `metrics::set_global_recorder`. A process has one global subscriber and one global recorder,
//! so a test that needs them should be a test binary of its own.
//!
//! # Time
//!
//! A [`Step`] waits in `tokio::time`. With paused time (`#[tokio::test(start_paused = true)]`, which needs tokio's feature
//! `test-util`), waits and hangs take no time.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `config` | | `assert_config_file` |
//! | `metrics` | | `Metrics` |
//! | `nats` | | `NatsServer`; it runs the `nats-server` that is installed |
//! | `properties` | | `assert_property` |
//! | `redis` | | `RedisServer`; it runs the `redis-server` that is installed |

#![cfg_attr(docsrs, feature(doc_cfg))]
#![allow(clippy::panic, clippy::expect_used, reason = "a test kit fails the test")]

#[cfg(feature = "config")]
mod config;
mod drip;
mod lock;
mod logs;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "properties")]
mod property;
#[cfg(feature = "redis")]
mod redis;
mod scripted;
#[cfg(any(feature = "nats", feature = "redis"))]
mod server;
mod step;

#[cfg(all(doctest, feature = "metrics"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use self::metrics::Metrics;
#[cfg(feature = "config")]
#[cfg_attr(docsrs, doc(cfg(feature = "config")))]
pub use config::assert_config_file;
pub use drip::{BrokenOff, Drip};
pub use logs::{LogEvent, LogEvents, Logs, LogsGuard};
#[cfg(feature = "nats")]
#[cfg_attr(docsrs, doc(cfg(feature = "nats")))]
pub use nats::NatsServer;
#[cfg(feature = "properties")]
#[cfg_attr(docsrs, doc(cfg(feature = "properties")))]
pub use property::assert_property;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use redis::RedisServer;
pub use scripted::{Scripted, ScriptedFuture};
pub use step::Step;
