//! A tower layer that ends calls that take too long, in a way that breakers, retries and fallbacks understand.
//!
//! # Why
//!
//! A dependency that hangs is worse than one that fails: every request waits, and holds its connection and its memory
//! while it waits. A time limit turns the hang into a failure. This one turns it into a failure *that the other layers
//! can judge*: the answer is a typed [`Rejection`] that tells whose limit passed and how far the call had come, so that
//! a circuit breaker counts a call that hung, and doesn't count one whose caller was in a greater hurry than we are.
//!
//! Put it innermost, around the client, inside retries and circuit breakers: each attempt then has its own limit. Don't
//! use it to limit a request as a whole (a chain or a retry has a total for that), and not around calls that are slow
//! by nature, such as uploads and long polls. A response body that is streamed after the headers is not limited.
//!
//! # Example
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//!
//! use backstop_core::Rejection;
//! use backstop_timeout::TimeoutLayer;
//! use http::{Request, Response, StatusCode};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let timeout = TimeoutLayer::builder("ml_service").limit(Duration::from_millis(300)).build()?;
//! let hung = ServiceBuilder::new().layer(timeout).service(service_fn(|_: Request<String>| async {
//!     std::future::pending::<()>().await;
//!     Ok::<_, Infallible>(Response::new(String::new()))
//! }));
//!
//! let response = hung.oneshot(Request::new(String::new())).await?;
//! assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
//! assert_eq!(response.extensions().get::<Rejection>().unwrap().by(), "ml_service");
//! # Ok(())
//! # }
//! ```
//!
//! # Semantics
//!
//! What binds is the earlier of the layer's limit, counted from the call, and the deadline of the
//! [scope](backstop_core::scope) that the request is served in. Time that the caller spent waiting in `poll_ready`
//! counts into the limit.
//!
//! | when | the inner service | what the rejection says | counts as |
//! |---|---|---|---|
//! | the scope's deadline has passed before the call | isn't called | [`NotAsked`](Progress::NotAsked) | neutral, not processed |
//! | it isn't ready within the limit | isn't called; the layer is ready, and refuses in `call` | [`NotReady`](Progress::NotReady), by [us](SetBy::Us) | failure, not processed |
//! | our limit passes during the call | its future is dropped, [`ended_by`](backstop_core::scope::ended_by) says `Us` | [`Called`](Progress::Called), by [us](SetBy::Us) | failure, possibly processed |
//! | the caller's earlier deadline passes during the call | its future is dropped, `ended_by` says `Caller` | [`Called`](Progress::Called), by the [caller](SetBy::Caller) | neutral |
//! | it answers in time, well or badly | | – | – |
//!
//! A call that is ready in the same poll in which its time is up is answered. Degradations that were reported inside an
//! answered call move up to the scope outside; those of a call that was ended are lost with it.
//!
//! The rejection becomes a 504 with `Cache-Control: no-store`, on gRPC a Trailers-Only answer with `grpc-status` 4, see
//! [`HttpReject`]. Services whose response body has no `Default`, and services that don't speak HTTP, choose
//! [`reject_as_error`](TimeoutBuilder::reject_as_error) or [`reject_with`](TimeoutBuilder::reject_with).
//!
//! # Knobs
//!
//! | knob | default | allowed |
//! |---|---|---|
//! | [`limit`](TimeoutBuilder::limit) | 1 s | 1 ms to 1 h |
//!
//! # Cost
//!
//! A call that is ready at once reads the clock and makes no timer; nothing is allocated. A service that isn't ready at
//! once costs one allocation, for the timer of the wait.
//!
//! # Cancellation
//!
//! Dropping the future drops the call with all that it holds, and counts for nothing. A caller that gives up in
//! `poll_ready` drops its clone of the service, and the wait with it. Where it keeps the service instead, its wait goes
//! on for the next caller, at most until the limit has passed twice: from then on the wait counts as given up.
//!
//! Behind a `Buffer`, which makes one service ready for everyone, each call has the limit to itself and those behind
//! it queue. Put the timeout around the `Buffer` to limit the time in the queue too.
//!
//! # Telemetry
//!
//! Each rejection is one `tracing` event at `DEBUG`, target `backstop::timeout`, with the fields `name`, `limit`,
//! `set_by` (`us`, `caller`) and `progress` (`not-asked`, `not-ready`, `called`).

mod config;
mod future;
mod layer;
mod readiness;
mod service;
mod telemetry;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backstop_core::{ConfigError, HttpReject, Name, Progress, RejectAsError, RejectWith, Rejection, SetBy, name};

pub use config::{TimeoutBuilder, TimeoutConfig};
pub use future::TimeoutFuture;
pub use layer::TimeoutLayer;
pub use service::Timeout;
