//! Feature flags that degrade by themselves, and heal by themselves.
//!
//! # Why
//!
//! A page is made of many things, and not all of them matter equally. When the service is degraded, recommendations should go
//! before reviews, and checkout never. This crate turns features off by the level of the service, by the state of what they need, and by
//! their own errors, and back on when that is over. An operator's flag overrides all of it, in both directions.
//!
//! # When not to use it
//!
//! - For experiments, or flags that depend on the user: a feature here is on or off for everyone.
//! - To protect a dependency: that is what a circuit breaker is for. A feature is what your users see.
//! - For secrets or settings: a flag is one of three words.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use backstop_features::{Feature, FeatureState, Features, FlagChange, Level, feature};
//!
//! static CHECKOUT: Feature = feature!("checkout");
//! static REVIEWS: Feature = feature!("reviews");
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let features = Features::builder()
//!     .declare(CHECKOUT.core())
//!     .declare(REVIEWS.nice_to_have())
//!     .level(|| Level::Degraded)
//!     .build()?;
//! tokio::spawn(features.run());
//!
//! // In a handler.
//! assert!(features.is_enabled(&CHECKOUT));
//! assert_eq!(features.state(&REVIEWS), FeatureState::Disabled);
//!
//! // An operator insists, for an hour.
//! let on = FlagChange::enable("ada", "reviews are cached now").until(Duration::from_secs(3_600));
//! features.handle().set(&REVIEWS, on).await?;
//! assert!(features.is_enabled(&REVIEWS));
//! # Ok(())
//! # }
//! ```
//!
//! # Semantics
//!
//! A feature is [enabled, degraded or disabled](FeatureState). The first line that applies decides:
//!
//! | | the feature is |
//! |---|---|
//! | an operator has set a flag [on this instance](FeaturesHandle::set_here) | what the flag says |
//! | an operator has [set a flag](FeaturesHandle::set) | what the flag says |
//! | it is [off unless known](FeatureConfig::off_unless_known), and the flags were never read, or a component that it needs is unknown | disabled |
//! | otherwise | the worst of the next four |
//!
//! | | the feature is |
//! |---|---|
//! | its [tier](Tier) doesn't allow it at the current level | disabled |
//! | a component that it [needs](FeatureConfig::needs) is degraded | degraded |
//! | a component that it needs is critical | disabled |
//! | it had too many [errors](DegradeOnErrors) | degraded, for 300 s, then enabled for a growing share of the calls |
//!
//! **What is shed can heal.** While the level, a component or errors keep a feature off, each instance lets one call in 10 s
//! (± 20 %) through as a probe: for that call the feature is enabled. Otherwise an open circuit that made the level
//! degraded would never see the call that closes it. What an operator has turned off isn't probed, and neither is a
//! feature that is off because something is unknown.
//!
//! **Within a request** a feature keeps the first state that the request has seen, if a [`FeatureScopeLayer`] is at the edge, or the
//! future runs under [`in_feature_scope`](InFeatureScope::in_feature_scope).
//!
//! # Errors of a feature
//!
//! A [`FeatureLayer`] counts the calls of a service, and [`Features::record`] those of a handler. At least 5 errors that are at least
//! 5 % of the calls, within 60 s from the first error, degrade the feature on this instance at once, for 300 s. Errors during that
//! time change nothing. Then 1, 5, 25 and 50 % of the calls are let through, each for at least 10 s and 10 calls, or for 60 s. Errors
//! on the way back are judged in the same way. The next degradation takes twice as long, up to 1 h; two hours without one forget
//! the earlier ones. Refusals of our own layers are no errors, and neither is a failure that the caller is to blame for.
//!
//! **One cause, one degradation.** A dependency that goes down makes calls fail until its circuit opens: with the defaults, 5
//! times, which is also what degrades the feature. If the level or a [needed](FeatureConfig::needs) component sheds the feature
//! within 90 s of a degradation by errors, that degradation is dropped, here and by the fleet: both have the same cause. Failed
//! probes aren't counted. So the feature is on again with its component or the level. Without `needs`, the 300 s and the return
//! steps come on top.
//!
//! With a [`CountStore`], instances report their counts once a second, and the store degrades the feature for all of them by the
//! same rule, once the window has lasted 2 s. If several instances report, it takes errors of two: one bad instance degrades
//! itself alone. A report that fails isn't repeated.
//!
//! # Flags in a store
//!
//! With a [`FlagStore`], an operator's flag reaches all instances: this one at once, the others within about 2 s. One key is read
//! each second (± 20 %), and all flags when it has changed, and every 30 s.
//!
//! | the store | then |
//! |---|---|
//! | refuses, hangs, or is slow | the last flags hold, also those without an end. No request waits for it. An operator can still [set a flag on this instance](FeaturesHandle::set_here), which outlasts the store's return |
//! | was never reached | features are on, as declared; those that are [off unless known](FeatureConfig::off_unless_known) are off |
//! | has lost a flag before its time, without the mark that an operator's removal leaves | it is held to its end |
//! | has anything else under the key of a flag, or forces a feature on for more than 24 h | the last flag holds |
//! | is back | its flags are followed within about 2 s |
//!
//! Each of these is logged once, and shown by [`FeaturesHandle::store_error`] and by the component of health that
//! [`store_component`](FeaturesBuilder::store_component) names. It moves no level. When a flag ends is counted on
//! each instance's own clock.
//!
//! A flag's text is its state, then who set it and why, one to a line. `disabled` alone is a flag, too. No data of a user or of a
//! request is ever written. The crate `backstop-redis` has the keys.
//!
//! # Knobs
//!
//! | knob | default | allowed |
//! |---|---|---|
//! | the [tier](Tier) | none: each feature has one | |
//! | [`FeatureConfig::needs`] | nothing | names of components |
//! | [`FeatureConfig::off_unless_known`] | on | |
//! | [`FeatureConfig::degrade_on_errors`], [`ignore_errors`](FeatureConfig::ignore_errors) | by the next five; core features ignore errors | |
//! | [`DegradeOnErrors::min_errors`] | 5 | 1 to 1,000,000 |
//! | [`DegradeOnErrors::share`] | 0.05 | 0.000001 to 1 |
//! | [`DegradeOnErrors::window`] | 60 s | 1 s to 24 h |
//! | [`DegradeOnErrors::time`] | 300 s | 1 s to 24 h |
//! | [`DegradeOnErrors::max_time`] | 1 h | `time` to 24 h |
//! | [`FeaturesBuilder::health`], or [`level`](FeaturesBuilder::level) and [`components`](FeaturesBuilder::components) | healthy | |
//! | [`FeaturesBuilder::store_component`] | failures are only logged | an optional component |
//! | [`FeaturesBuilder::flags`] | flags of this instance alone | a [`FlagStore`] |
//! | [`FeaturesBuilder::counts`] | counts of this instance alone | a [`CountStore`] |
//! | [`FeaturesBuilder::instance`] | random, anew at each start | 1 to 64 bytes of printable ASCII |
//! | [`FeaturesBuilder::store_timeout`] | 1 s | 10 ms to 10 s |
//! | [`FeaturesBuilder::poll_interval`] | 1 s | 100 ms to 60 s |
//! | [`FlagChange::until`] | until it is removed; required to force a feature on, or to set a flag on one instance | 1 s to 365 days; where it is required, 24 h |
//!
//! All but health and the stores is also plain data, [`FeaturesConfig`], which [`FeaturesHandle::reload`] changes while calls run.
//!
//! # What to spawn
//!
//! [`Features::run`] follows the level, the components and the stores. Nothing is spawned for you. Without it, features still degrade
//! by this instance's own errors, and return; the first error is then logged together with a reminder.
//!
//! # Cost
//!
//! Asking for a feature reads two numbers: the feature's, and one byte that says that it is on. It takes no lock and reads no
//! clock. If the feature isn't on, it also reads the clock, and never waits for a lock. A call of a [`FeatureLayer`] adds a reference count and a
//! counter, and allocates nothing.
//!
//! # Telemetry
//!
//! Target `backstop::features`. A change of a feature's state or cause is one event: `WARN` if it got worse by itself, else `INFO`,
//! with `feature`, `from`, `to`, `cause`, and for a flag `who` and `reason`. A flag that an operator sets or removes is one `INFO` with
//! who, why, until when and how far it reaches. A failing store is one `WARN` when it begins, and one `INFO` once it has worked
//! for 1 min. If it fails again within 10 min, that minute doubles, up to 10 min. A refused call is a `DEBUG`.
//!
//! With the feature `metrics`:
//!
//! | metric | labels | shows |
//! |---|---|---|
//! | `feature_state` (gauge) | `feature`, `state` | 1 for the state of the feature, 0 for the other two |
//! | `feature_rejections_total` | `feature` | calls that a layer refused |
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | [`Features`] is an extractor |
//! | `metrics` | the metrics above |
//! | `serde` | [`FeaturesConfig`] can be read from a file |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod auto_degrade;
mod config;
mod counted_call;
mod decision;
mod driver;
mod erased_store;
#[cfg(feature = "axum")]
mod extract;
mod feature;
mod features;
mod flag;
mod fleet_window;
mod future;
mod handle;
mod inspect;
mod layer;
mod memory_store;
mod metrics;
mod probes;
mod registry;
mod request_states;
mod scope_layer;
mod service;
mod slot;
mod sources;
mod state;
mod store;
mod store_errors;
mod telemetry;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backstop_core::{ConfigError, Level, Name, Reach, name};
pub use backstop_kit::StoreError;

pub use config::{DegradeOnErrors, FeatureConfig, FeaturesBuilder, FeaturesConfig, OnErrors};
pub use feature::Feature;
pub use features::{FeatureGate, Features};
pub use flag::{FLAG_MAX_BYTES, Flag, FlagChange};
pub use future::FeatureFuture;
pub use handle::{FeatureStatus, FeaturesHandle, SetError};
pub use layer::{FeatureLayer, FeatureLayerBuilder};
pub use memory_store::MemoryStore;
#[cfg(feature = "metrics")]
pub use metrics::describe_metrics;
pub use scope_layer::{FeatureScope, FeatureScopeFuture, FeatureScopeLayer, InFeatureScope};
pub use service::FeatureService;
pub use state::{Cause, FEATURE_DEGRADED, FEATURE_DISABLED, FeatureState, Tier};
pub use store::{CountReport, CountStore, FlagStore, FleetVerdict, StoredValue};
