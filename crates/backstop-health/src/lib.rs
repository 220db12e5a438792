//! The health of a service: a level that doesn't flap, readiness that doesn't follow dependencies, and a drain that refuses nobody.
//!
//! # Why
//!
//! A service that knows its own state can shed what matters least, show people what is wrong, and stop without refusing
//! anybody. Three mistakes are common, and this crate makes none of them:
//!
//! - **Readiness that follows a dependency.** All instances share the database. If each of them reports that it isn't ready
//!   because the database is down, the orchestrator takes all of them away, and every fallback with them.
//! - **A level that flaps.** Features that go off and on every few seconds are worse than features that are off.
//! - **A process that just stops.** For some seconds after the signal, balancers still send requests.
//!
//! Don't use it to find out whether *one call* may be made: a circuit breaker knows that, at once. Don't let a balancer ask
//! `/health`. And don't declare everything essential: the level then says little.
//!
//! ```
//! use std::time::Duration;
//!
//! use backstop_health::{Component, ComponentState, Health, Level};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let health = Health::builder()
//!     .component(Component::essential("database").without_fallback())
//!     .component(Component::optional("search"))
//!     .build()?;
//! // Only you spawn tasks.
//! tokio::spawn(health.run());
//! tokio::spawn(health.probe("database", ping)?);
//! # async fn ping() -> std::io::Result<()> { Ok(()) }
//!
//! health.report("search", Level::Degraded, "the index is 2 h old", Duration::from_secs(60))?;
//! # tokio::time::sleep(Duration::from_secs(10)).await;
//! assert_eq!(health.component("search").unwrap().state(), ComponentState::Degraded);
//! assert_eq!((health.status(), health.level()), (Level::Degraded, Level::Healthy));
//! # Ok(())
//! # }
//! ```
//!
//! # Components
//!
//! Each [`Component`] is declared essential or optional, and has any number of sources. Its state is the worst of them:
//!
//! | source | is bad when | and is then |
//! |---|---|---|
//! | [a circuit](Component::circuit) | open, half-open, isolated or recovering | degraded; critical if [without fallback](Component::without_fallback) |
//! | [a probe](Health::probe) | it failed 3 times in a row; good again after 2 successes | the same |
//! | [a report](Health::reporter) | its level says so, until its lifetime ends | as reported |
//! | [a heartbeat](Component::heartbeat) | it is silent | degraded, never critical |
//! | [a backlog](Component::backlog) | 80 % full; good again at 50 % | degraded |
//!
//! A state may also be *unknown*: before the first result; for 5 s after a bad report has expired; when a probe doesn't run any
//! more; when an open circuit's wait has passed and no call came for 60 s; while the code that reads a circuit or a backlog
//! panics. An unknown component counts as degraded if it is essential, once the service has started, and as healthy if it is
//! optional. A component without other sources than reports is healthy after the last one has ended.
//!
//! # Status and level
//!
//! | | [status](Health::status) | [level](Health::level) |
//! |---|---|---|
//! | counts | all components | essential components |
//! | changes | at once | after damping |
//! | is for | people | features, drills, `/health`'s status code |
//!
//! Stores of your own (declare them optional) and draining never move the level. An operator may [pin](Health::pin) it.
//!
//! Damping, for the level and for each [component's](ComponentHandle::level):
//!
//! | from | while the cause lasts, without a break | for | to |
//! |---|---|---|---|
//! | healthy | degraded or critical | 2 s | degraded |
//! | healthy, degraded | critical | 10 s | critical |
//! | critical | better than that | the recovery time | degraded |
//! | degraded | healthy | the recovery time once more | healthy |
//!
//! The recovery time is 30 s. It doubles, up to 5 min, if the level gets worse within 10 min of having got better.
//!
//! Decisions use the monotonic clock. Wall clocks are for display.
//!
//! # Readiness
//!
//! [Readiness](Health::readiness) never follows a dependency. An instance isn't ready while it starts, while it drains, and while
//! the level of a component that is [local](Component::local) to it is critical: its own disk, for example, declared
//! [without fallback](Component::without_fallback), whose probe fails. Starting ends when every essential component has had its
//! first result, good or bad, and every [hold](Health::hold_start) is gone, and after 10 s in any case. So a service that
//! restarts during an outage of its database becomes ready.
//!
//! # The drain
//!
//! | when | what | await |
//! |---|---|---|
//! | t0 | not ready, level frozen, probes end | [`Drain::begun`] |
//! | 10 s long | serves normally; answers close their connections ([`DrainLayer`]) | |
//! | t0 + 10 s | the listener closes; HTTP/2 connections get a `GOAWAY` | [`Drain::listener_closes`] |
//! | t0 + 25 s | what still runs is cut off | [`Drain::serve`] |
//! | t0 + 28 s | the process exits | [`Drain::finish`] |
//! | a second signal | all of it at once | |
//!
//! # Routes
//!
//! With the feature `axum`, `Health::routes` has `/health`, `/livez` and `/readyz`; with `tonic`, `Health::grpc` is the
//! service `grpc.health.v1.Health`. `/health` with details:
//!
//! ```json
//! {
//!   "status": "degraded",
//!   "level": "healthy",
//!   "components": {
//!     "database": {"status": "healthy", "since": "2026-11-30T12:00:00.000Z", "essential": true, "message": null},
//!     "search": {"status": "degraded", "since": "2026-11-30T12:04:05.123Z", "essential": false, "message": "the index is 2 h old"}
//!   },
//!   "timestamp": "2026-11-30T12:05:00.456Z"
//! }
//! ```
//!
//! While an operator has pinned the level there is also `pinned` (`level`, `until`, `who`, `reason`), and while the view is
//! [shared](Health::share) `instances` (`status`, `level`, `ready`, `components`, by instance).
//!
//! # Who does the work
//!
//! [`Health::run`] is a future that you spawn. It reads circuits and backlogs every 500 ms, and wakes when something expires or
//! the level is due to change. So [subscribers](Health::subscribe) see a change without traffic. Without it, a call that reads
//! the [view](Health::view), as the routes do, works out what has changed meanwhile, at most once a second. It then runs the
//! code of circuits and backlogs itself. If another thread does so, or holds the lock, it returns the last view.
//!
//! # Knobs
//!
//! | knob | default | allowed |
//! |---|---|---|
//! | [`HealthBuilder::degrade_after`] | 2 s | 0 to 1 h |
//! | [`HealthBuilder::critical_after`] | 10 s | `degrade_after` to 1 h |
//! | [`HealthBuilder::recover_after`] | 30 s | 0 to 1 h |
//! | [`HealthBuilder::max_recover_after`] | 300 s | `recover_after` to 1 h |
//! | [`HealthBuilder::calm_after`] | 10 min | 0 to 24 h |
//! | [`HealthBuilder::start_within`] | 10 s | 0 to 1 h |
//! | [`HealthBuilder::serve_while_draining`] | 10 s | 0 to 1 h |
//! | [`HealthBuilder::finish_within`] | 15 s | 0 to 1 h |
//! | [`HealthBuilder::exit_within`] | 28 s | the two times above to 3 h |
//! | [`Component::probe_config`] | every 5 s ± 20 %, timeout 2 s, fall 3, rise 2 | see [`ProbeConfig`] |
//! | [`Component::heartbeat`] | none | 100 ms to 24 h |
//! | [`Component::backlog`] | none | a capacity of at least 1 |
//! | [`Component::backlog_config`] | degraded at 80 %, healthy at 50 % | see [`BacklogConfig`] |
//! | the lifetime of a report | 300 s | 100 ms to 24 h |
//! | [`Health::pin`] | none | 1 s to 24 h |
//!
//! [`HealthConfig`] has the settings of the builder as plain data, and may replace those of declared components, by their
//! names. With the feature `serde` it can be read from a file. [`Health::reload`] changes them while the service runs.
//!
//! # Cost
//!
//! Reading the level, or a [component](Health::component), is one atomic load. The routes take no lock that a request can hold
//! while [`Health::run`] is polled, and do no input or output. `/health` takes 0.5 µs, and some 2 µs with the details of 50
//! components, which are written once after each change. A heartbeat is one clock read and one atomic store. A report holds
//! a short lock, 0.7 µs with 50 components, so report what has changed, and not with each request. Events are logged and
//! counted, and subscribers notified, after the lock is released.
//!
//! # Cancellation
//!
//! Each future of this crate may be dropped at any time. Dropping the driver or a probe stops it; both can be started again.
//! None of them keeps a [`Health`] alive.
//!
//! # Telemetry
//!
//! Under the target `backstop::health`:
//!
//! | level | event | fields |
//! |---|---|---|
//! | `WARN` | the service's level got worse | `from`, `to`, `component` (the worst one), `message` |
//! | `INFO` | the service's level got better | the same |
//! | `WARN`, `INFO` | a component's level got worse, got better | `component`, `from`, `to`, `message` |
//! | `DEBUG` | a component's state changed | the same |
//! | `INFO` | readiness changed | `from`, `to` |
//! | `INFO` | the level is pinned, isn't pinned any more | `who`, `reason`, `level`, `until_ms` (the time that is left) |
//! | `INFO` | the pinned level has expired | `level` |
//! | `INFO` | an operator reports a component | `who`, `reason`, `component`, `level`, `until_ms` |
//! | `INFO`, `WARN` | the service drains; the drain ends at once | `serve_ms`, `finish_ms` |
//! | `WARN`, `INFO` | the store of the shared view fails, has worked again for 1 min | `operation`, `error` |
//!
//! If the store fails again within 10 min, that minute doubles, up to 10 min.
//!
//! With the feature `metrics`:
//!
//! | metric | labels | |
//! |---|---|---|
//! | `health_level` | `component` | 0 healthy, 1 degraded, 2 critical, −1 unknown: of a component at once; of the whole service, `service`, after damping |
//! | `health_transitions_total` | `component`, `to` | changes of a level, after damping |
//! | `health_ready` | | 1 if this instance is ready, else 0 |
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | the routes |
//! | `metrics` | the metrics |
//! | `serde` | the configurations can be read from a file, and written to one |
//! | `tonic` | gRPC health checks |

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
mod until;
mod view;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backstop_core::{ConfigError, Level, Name, name};
pub use backstop_kit::StoreError;

pub use component::Component;
pub use config::{BacklogConfig, ComponentConfig, HealthBuilder, HealthConfig};
pub use drain::{Drain, DrainFuture, DrainLayer, DrainService};
#[cfg(feature = "tonic")]
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
pub use grpc::{GrpcHealth, GrpcHealthWatch};
pub use health::{ComponentHandle, Health, StartHold};
pub use heartbeat::Heartbeat;
pub use probe::{ActiveProbe, ProbeConfig};
pub use reporter::Reporter;
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub use routes::{HealthRoutes, X_SERVICE_LEVEL};
pub use shared_view::{InstanceView, MemoryViewStore, VIEW_MAX_BYTES, VIEW_TTL, VIEWS_MAX, ViewStore};
pub use state::{ComponentState, Readiness};
pub use subscription::LevelSubscription;
#[cfg(feature = "metrics")]
pub use telemetry::describe_metrics;
pub use view::{ComponentView, HealthView, PinView};

/// The name of the whole service among the components, in metrics and events.
pub(crate) const SERVICE: &str = "service";
