//! What protects each dependency of a service: an inventory of its layers.
//!
//! Register the handles of all layers with an [`Inventory`]. It shows their settings and live state, and records their
//! changes of state in one [`EventLog`]. Whatever implements [`Inspect`] can be registered, such as a layer of your own.
//!
//! ```
//! use backstop_admin::{Inspect, Inventory, Name, Value, name};
//!
//! struct Quota(Name);
//!
//! impl Inspect for Quota {
//!     fn name(&self) -> &Name {
//!         &self.0
//!     }
//!
//!     fn kind(&self) -> &'static str {
//!         "quota"
//!     }
//!
//!     fn state(&self) -> Vec<(&'static str, Value)> {
//!         vec![("used", 7_u64.into())]
//!     }
//! }
//!
//! let inventory = Inventory::new().register(Quota(name!("search")));
//! for (dependency, components) in inventory.by_dependency() {
//!     for component in components {
//!         println!("{dependency}: {} {:?}", component.kind(), component.state());
//!     }
//! }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod audit;
mod inventory;
mod protected;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backstop_core::{
    Event, EventLog, Inspect, Lasts, Name, Operation, OperationError, OperationRequest, Reach, Value, name,
};

pub use audit::{Audit, Check, CheckStatus, DependencyAudit, Gap};
pub use inventory::Inventory;
