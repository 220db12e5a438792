//! What protects each dependency of a service, and what is missing: an inventory of its layers, and an audit.
//!
//! # Why
//!
//! A fallback that was never used isn't known to work, and a protection that nobody can list isn't known to exist. Every team has a
//! checklist for its dependencies (is there a timeout? what answers while it is down?), mostly in a wiki, where it ages. Here it is
//! data, worked out from the layers themselves, and a test.
//!
//! ```
//! use backstop_admin::{Check, Inspect, Inventory, Name, Value, name};
//!
//! struct Quota(Name);
//!
//! impl Inspect for Quota {
//!     fn name(&self) -> &Name {
//!         &self.0
//!     }
//!
//!     fn kind(&self) -> &'static str {
//!         "bulkhead"
//!     }
//!
//!     fn state(&self) -> Vec<(&'static str, Value)> {
//!         vec![("used", 7_u64.into())]
//!     }
//! }
//!
//! // The handles of all layers go here. Whatever implements `Inspect` can be registered.
//! let inventory = Inventory::new().register(Quota(name!("search")));
//! for (dependency, components) in inventory.by_dependency() {
//!     for component in components {
//!         println!("{dependency}: {} {:?}", component.kind(), component.state());
//!     }
//! }
//! let audit = inventory.audit();
//! assert_eq!(audit.status("search", Check::Bulkhead).map(|status| status.as_str()), Some("present"));
//! assert_eq!(audit.status("search", Check::Timeout).map(|status| status.as_str()), Some("missing"));
//! ```
//!
//! # Dependencies
//!
//! A dependency is known if a component names it, or [`depends_on`](Inventory::depends_on) declares it. Declare all of them, from a
//! list that the service has anyway: then a new one that nothing protects is a gap.
//!
//! | component | counts for |
//! |---|---|
//! | [`register_for`](Inventory::register_for) names dependencies | these |
//! | a layer around a client | the dependency of its own name |
//! | a fallback chain | what it asks first, and each provider that something replaces, if a dependency has that name |
//! | any other | the dependency of its own name, if other components or a declaration make it one |
//!
//! # The checks
//!
//! | check | is present if | kinds |
//! |---|---|---|
//! | `timeout` | a call that takes too long ends | `timeout` |
//! | `circuit-breaker` | while the dependency is down, it isn't called. One whose state `mode` is `observing` is missing | `circuit-breaker`, `keyed-circuit-breaker` |
//! | `bulkhead` | while it is slow, it doesn't take everything | `bulkhead` |
//! | `fallback` | something answers in its place | `fallback`, `aggregate`, `deferred` |
//! | `fallback-end` | the last provider of each chain can't fail: the setting `last_may_fail` is false | `fallback` |
//! | `staleness-bound` | stored answers have a setting `max_stale`. Needed where stored answers are registered or were served | `last-known-good`, `last-known-values` |
//! | `metrics` | a recorder is installed (feature `metrics`) | |
//! | `labels` | a layer has labelled a degraded answer of each chain, and no report of it was left unread | `degradation-header` |
//! | `proof` | each further provider of each chain was seen to answer: the state `last_proven`. Or [`record_proof`](Inventory::record_proof) says so | `fallback` |
//!
//! `labels` and `proof` need traffic: a test lets one request through the app get a degraded answer. Reports that nobody read are
//! counted for the whole process, so give that test a file of its own under `tests/`.
//!
//! A check that a dependency doesn't need is [`exempt`](Inventory::exempt), with a reason. [`assert_protected!`] fails a test unless
//! all others are present.
//!
//! # What it can't know
//!
//! The audit believes what components say of themselves, and sees only what is registered. It doesn't know whether a layer is really
//! around the client, whether a timeout is short enough, or whether a fallback's answer is right.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | the routes for operators |
//! | `metrics` | the audit sees whether a recorder is installed. Without it, the check `metrics` is missing |

#![cfg_attr(feature = "axum", doc = "")]
#![cfg_attr(feature = "axum", doc = include_str!("routes.md"))]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "axum")]
mod actions;
mod audit;
#[cfg(feature = "axum")]
mod events;
#[cfg(feature = "axum")]
mod guard;
mod inventory;
#[cfg(feature = "axum")]
mod json;
mod protected;
#[cfg(feature = "axum")]
mod routes;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backstop_core::{
    ConfigError, Event, EventLog, Inspect, Lasts, Name, Operation, OperationError, OperationFuture, OperationRequest,
    Reach, Value, name,
};

pub use audit::{Audit, Check, CheckStatus, DependencyAudit, Gap};
pub use inventory::Inventory;
#[cfg(feature = "axum")]
pub use routes::{Admin, AdminBuilder};
