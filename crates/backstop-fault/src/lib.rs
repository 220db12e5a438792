//! A tower layer that makes a share of calls fail, on purpose and safely.
//!
//! # Why
//!
//! A fallback that was never used is not known to work. An outage shows whether timeouts, retries, circuits and fallbacks do what
//! they were configured for, but at a bad moment. This layer makes some calls fail at a moment of your choice, while everything else is
//! well and somebody watches: on a game day, in a test environment, or in production with a small share.
//!
//! Leave the layer in the stack. Until it is armed and a run is started, a call reads one atomic, and is made as it is.
//!
//! Put it where the failure would come from: as the innermost layer around a client, to play a dependency that fails; or as the
//! outermost layer of a server, to play your own service for its callers.
//!
//! # When not to use it
//!
//! - Where a failed call does harm that nobody undoes: a payment, a delivery.
//! - While the service isn't healthy. The layer refuses that by itself if it knows the [level](FaultBuilder::level).
//! - As a load test, or to test what a network does below HTTP.
//!
//! # Example
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//!
//! use axum::body::Body;
//! use backstop_fault::{Fault, FaultLayer, FaultRun, Level};
//! use http::{Request, Response, StatusCode};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In a service, `health.level()` of `backstop-health`.
//! let faults = FaultLayer::builder("edge").arm().max_share(1.0).level(|| Level::Healthy).build()?;
//! let handle = faults.handle();
//! let service = ServiceBuilder::new()
//!     .layer(faults)
//!     .service(service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::from("well"))) }));
//! let call = || service.clone().oneshot(Request::new(Body::empty()));
//! assert_eq!(call().await?.status(), StatusCode::OK);
//!
//! let fault = Fault::status(StatusCode::BAD_GATEWAY);
//! handle.start(FaultRun::new(fault, 1.0, "ada", "do callers retry?").until(Duration::from_secs(30)))?;
//! assert_eq!(call().await?.status(), StatusCode::BAD_GATEWAY);
//!
//! handle.stop("ada", "they do")?;
//! assert_eq!(call().await?.status(), StatusCode::OK);
//! # Ok(())
//! # }
//! ```
//!
//! # Rails
//!
//! | rail | rule |
//! |---|---|
//! | armed | a layer starts no run unless it was [armed](FaultBuilder::arm) when it was built. Neither a handle nor a reload changes that |
//! | share | at most 5 % of the calls, unless [raised](FaultBuilder::max_share) when it was built. Of a run [by principal](FaultRun::by_principal), after 100 calls |
//! | held calls | at most 16 calls are delayed or hang at once. Further ones are made as usual |
//! | time | each run ends after its [`until`](FaultRun::until): 60 s unless set, at most 15 min |
//! | heartbeat | each run ends 60 s after its start or its last [heartbeat](FaultHandle::heartbeat) |
//! | level | a run is refused, and ends, unless the service is [healthy](FaultBuilder::level) |
//! | drain | a run is refused, and ends, while the service [drains](FaultBuilder::draining) |
//! | exhaustion | a run ends when a chain of providers is exhausted, if the layer [watches it](FaultBuilder::abort_when_grows) |
//! | methods | only safe methods are hit (RFC 9110 §9.2.1), and no functions, unless the build [allows others](FaultBuilder::allow_unsafe_methods). gRPC calls are `POST`s. A run for another method is refused |
//! | routes | health and admin routes are [never hit](FaultBuilder::never_on), whatever the settings. A run for one of them is refused |
//! | one at a time | a layer runs one run at a time |
//! | panic | a run of panics is refused in a program that is compiled with `panic = "abort"` |
//!
//! Each call asks for the level and the conditions before it fails, so no call is hit after they have changed; others ask once a
//! second. A body that is to break off asks when it gets there. A call that is held asks at least once a second, and when a run ends,
//! all calls that it holds are made at once. A closure that panics when it is asked ends the run.
//!
//! # Kinds
//!
//! What the caller sees. A server is a service behind hyper, axum or tonic with the default strategy; a client is a service with
//! [`reject_as_error`](FaultBuilder::reject_as_error); a function is [called](FaultHandle::call) through a handle.
//!
//! | kind | HTTP server | gRPC server | client | function |
//! |---|---|---|---|---|
//! | [`Error`](Fault::Error) | 503, `no-store` | Trailers-Only, `grpc-status: 14` | the service's error, from a [`Rejection`] | [`CallError::Rejected`] |
//! | [`Status`](Fault::Status) | that status, headers and body | Trailers-Only, that code | as a server | `Rejected`, with that status |
//! | [`Delay`](Fault::Delay) | the usual answer, later | the same | the same | the same |
//! | [`Hang`](Fault::Hang) | nothing, until the run ends | the same | the same | the same |
//! | [`Reset`](Fault::Reset) | the connection ends without an answer (HTTP/1.1), the stream is reset (HTTP/2) | the stream is reset | as an error | as an error |
//! | [`TruncatedBody`](Fault::TruncatedBody) | the head, the first bytes, then the connection ends or the stream is reset | the same | the body fails | the function runs, its value is lost: `Rejected` |
//! | [`Panic`](Fault::Panic) | as a handler that panics | the same | the panic | the panic |
//!
//! A reset and a truncated body don't hit `HEAD`: the body of its answer is never sent, so that the client would see a success.
//!
//! An injected error counts as an error of the transport: a failure, transient, possibly processed. Its [`Rejection`] has the reason
//! [`FAULT_INJECTED`]. Services that don't speak HTTP choose [`plain`](FaultBuilder::plain); they fail as functions do.
//!
//! # What an injected fault must not do
//!
//! A call that is hit is marked in its [scope](backstop_core::scope#injected-faults), with everything around it. Layers of Backstop
//! that remember or share results leave it out: a stored answer isn't replaced or removed, and a feature doesn't count it, so that
//! no other instance degrades. Your own code asks [`scope::has_injected_fault`](backstop_core::scope::has_injected_fault). The layers that
//! judge a dependency, such as a circuit breaker, count it as a failure like any other, since they are what is tested. Their events, such
//! as the warning of a chain that degrades, don't say that faults were injected: this layer's own events do.
//!
//! The mark reaches the whole request. Once one call of a request is hit, a failure of another feature in the same request isn't
//! counted either.
//!
//! # Repeating a run
//!
//! A [seed](FaultRun::seed) fixes which calls of a sequence are hit: the first, the fourth, the ninth matching one. Which request is the
//! fourth depends on when requests come. With [`by_principal`](FaultRun::by_principal) it doesn't: the seed fixes which users are
//! hit, always all of their calls. Decisions are the same in every run of one build of the program.
//!
//! # Knobs
//!
//! | knob | default | allowed |
//! |---|---|---|
//! | [`arm`](FaultBuilder::arm) | not armed | |
//! | [`max_share`](FaultBuilder::max_share) | 0.05 | more than 0, up to 1 |
//! | [`max_held`](FaultBuilder::max_held) | 16 | 1 to 16 |
//! | [`allow_unsafe_methods`](FaultBuilder::allow_unsafe_methods) | safe methods only | |
//! | [`never_on`](FaultBuilder::never_on) | `/health`, `/livez`, `/readyz`, `/admin`, `/grpc.health.v1.Health`, always | at most 100 further paths |
//!
//! [`FaultHandle`] starts, shows and stops runs, and [reloads](FaultHandle::reload) the settings. A [`FaultConfig`] holds them as
//! plain data, and can be read from a file.
//!
//! # Cost
//!
//! While no run runs, a call costs one relaxed load, and its answer is moved once more: about 60 instructions around a service that
//! answers at once. It takes no lock, reads no clock and allocates nothing. While one runs, each call
//! takes a lock for a moment, and a call that is hit allocates.
//!
//! # Telemetry
//!
//! Target `backstop::fault`. Events carry nothing of a request.
//!
//! | level | when | fields |
//! |---|---|---|
//! | `WARN` | a run starts | `name`, `run`, `kind`, `what`, `share`, `until_ms`, `seed`, `who`, `reason` |
//! | `INFO` | an operator stops a run | `name`, `run`, `who`, `reason` |
//! | `INFO` | a run has ended | `name`, `run`, `why`, `calls`, `hits`, `duration_ms` |
//! | `WARN` | a run was aborted by the level or a condition | the same |
//! | `DEBUG` | a call is hit | `name`, `kind` |
//!
//! Starts, stops and ends are also recorded in an [`EventLog`](backstop_core::EventLog). There are no timers: a run that has expired is
//! found by the next call, by a held call, or when its status is read.
//!
//! With the feature `metrics`, through the facade of that name, even if its recorder is installed later:
//!
//! | metric | labels | counts |
//! |---|---|---|
//! | `faults_injected_total` | `name`, `kind` | calls that were hit |
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | failures of an `axum::body::Body` |
//! | `fallback` | `FaultBuilder::abort_on_exhaustion` |
//! | `health` | `FaultBuilder::health` |
//! | `metrics` | the metric above |
//! | `serde` | a [`FaultConfig`] can be read from a file, and written to one |
//! | `tonic` | failures of a `tonic::body::Body` |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod conditions;
mod config;
mod engine;
mod fault;
mod function;
mod future;
mod handle;
mod hold;
mod injector;
mod inspect;
mod layer;
mod make_fault;
mod metrics;
mod operate;
mod pending;
mod run;
mod service;
mod status;
mod telemetry;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backstop_core::{ConfigError, Level, Name, Rejection, name};
pub use backstop_kit::CallError;

pub use config::{FaultBuilder, FaultConfig};
pub use fault::{Fault, FaultKind, StatusFault};
pub use function::{FaultCall, FaultFunctions};
pub use future::FaultFuture;
pub use handle::FaultHandle;
pub use injector::FAULT_INJECTED;
pub use layer::FaultLayer;
pub use make_fault::{HttpFaults, HttpFaultsAsErrors, MakeFault, PlainFaults};
#[cfg(feature = "metrics")]
pub use metrics::describe_metrics;
pub use run::{FaultRun, RunId};
pub use service::FaultService;
pub use status::{Ended, EndedRunStatus, FaultStatus, Refusal, RunStatus};

/// Panics, as the fault says.
#[cold]
#[expect(clippy::panic, reason = "that is the fault")]
fn injected_panic(name: &Name) -> ! {
    panic!("a fault was injected by {name}")
}
