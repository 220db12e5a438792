//! A tower layer that bounds how many calls of a service run at once, and how many wait.
//!
//! # Why
//!
//! A dependency that gets slow holds every call for longer, so more of them run at once, though no more come: they hold
//! connections, memory and tasks, until a service that was well goes down with one that wasn't. A bulkhead gives each
//! dependency its share and no more. Where that is used up, a few calls wait for a moment, and all others are refused at
//! once, so that a fallback can answer while the caller still waits.
//!
//! Use one around each dependency: one layer, shared by all routes and clients that call it, inside retries (a retry that
//! waits holds no permit) and around timeouts (so that a call that hangs gives its permit back).
//!
//! # When not to use it
//!
//! - To bound how many requests your own service takes on: there a refusal should depend on the load of all routes, not
//!   of one.
//! - As a rate limit: it bounds how many run at once, not how many come in a second.
//! - To the body's end, where answers are endless streams, or where strangers read them, at an edge: let those hold permits
//!   [until the headers](BulkheadBuilder::until_headers) only.
//!
//! # Example
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//!
//! use axum::body::Body;
//! use backstop_bulkhead::{BulkheadLayer, Rejection};
//! use http::{Request, Response, StatusCode};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bulkhead = BulkheadLayer::builder("ml_service").max_concurrent(1).max_waiting(0).build()?;
//! let handle = bulkhead.handle();
//! let mut slow = ServiceBuilder::new().layer(bulkhead).service(service_fn(|_: Request<Body>| async {
//!     tokio::time::sleep(Duration::from_millis(100)).await;
//!     Ok::<_, Infallible>(Response::new(Body::empty()))
//! }));
//!
//! let (answered, refused) = tokio::join!(
//!     slow.ready().await?.call(Request::new(Body::empty())),
//!     slow.ready().await?.call(Request::new(Body::empty())),
//! );
//! assert_eq!(answered?.status(), StatusCode::OK);
//! let refused = refused?;
//! assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
//! assert_eq!(refused.headers()["retry-after"], "1");
//! assert_eq!(refused.extensions().get::<Rejection>().unwrap().by(), "ml_service");
//! assert_eq!(handle.in_use(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! # Semantics
//!
//! | a call | then |
//! |---|---|
//! | finds a permit, and nobody waits | runs: the inner service is made ready, and called |
//! | finds none, but room in line | waits, behind all who came before it |
//! | comes to the head of the line, and a permit comes back | runs |
//! | finds no room in line either | is refused: [`BulkheadFull`](RejectionKind::BulkheadFull) |
//! | has waited for `max_wait` | is refused: [`BulkheadFull`](RejectionKind::BulkheadFull) |
//! | still waits when the deadline of its [scope](backstop_core::scope) passes | is refused: [`DeadlinePassed`](RejectionKind::DeadlinePassed), [`NotAsked`](backstop_core::Progress::NotAsked) |
//! | has answered | holds its permit until its response body has ended |
//! | has answered without a body, or failed, or is dropped | gives its permit back at once |
//! | has a body that has lasted for `max_hold` | loses its permit; the body ends with an error |
//!
//! None of the refusals has touched the inner service: they say nothing of it (neutral for a circuit breaker), aren't
//! repeated by a retry, and lead a chain to its next provider. A call that finds room is made whatever the deadline; the
//! timeout further in minds that.
//!
//! The layer is always ready. Where there is room, the inner service is asked whether it is ready as well: if so, it is the
//! one that is called; if not, a clone of it is made ready within the call. So what waits for the inner service holds a
//! permit, and is bounded like all that run; and what waits in line holds nothing of the inner service's. Where there is
//! no room, the inner service isn't asked.
//!
//! # Bodies
//!
//! A dependency works until its answer is out. So a permit lasts to the end of the response body, and goes back when its
//! last frame, its trailers or its error has been read, or when the body is dropped. A reader that is slow, or doesn't
//! read at all, would keep it for as long as it likes: hence `max_hold`, counted from the response head. 100 clients
//! that don't read still keep out all others for that long, a minute by default.
//!
//! No task watches over that. A body that is read finds by itself that its time is up, drops the inner body, and ends
//! with an error of its own type in which the [`Rejection`] is found again. A body that nobody reads can't; its permit is taken
//! back by whoever needs it: a call that finds no room, the first in line, at that very moment, or
//! [`in_use`](BulkheadHandle::in_use). Such a body ends with the same error if it is read again. Until then, or until it is
//! dropped, it keeps its connection to the dependency: end connections whose clients don't read by the server's own
//! timeouts.
//!
//! | the body's time is up, and from the head on | the rejection says | counts as |
//! |---|---|---|
//! | its reader waited for the dependency at least half of the time | [`DeadlinePassed`](RejectionKind::DeadlinePassed) by [us](backstop_core::SetBy::Us), [`Called`](backstop_core::Progress::Called) | failure, possibly processed |
//! | its reader was away for most of the time, whatever it does in the end | the same, by the [caller](backstop_core::SetBy::Caller) | neutral: slow readers trip no circuit |
//!
//! A reader waits from a poll that is pending to its next one. One that comes back only when the time is up, and finds that
//! more was there, counts as away since its last poll.
//!
//! The response body's type stays what it was. It must be one that can be broken off ([`AbortBody`](backstop_core::AbortBody)):
//! `axum::body::Body` (feature `axum`), `tonic::body::Body` (feature `tonic`), or a boxed body of `http-body-util` whose
//! error implements `From<Rejection>`, as `BoxError` does. For other responses there is
//! [`until_headers`](BulkheadBuilder::until_headers). A connection that was upgraded holds no permit.
//!
//! # Refusals
//!
//! A refusal is a 503 with `Cache-Control: no-store` and `Retry-After`, on gRPC a Trailers-Only answer with `grpc-status`
//! 14; where the deadline has passed, 504 or `grpc-status` 4, and no hint. See [`HttpReject`]. The wait that callers are
//! told is `max_wait`, as by then whoever waits now has come in or has gone, and 1 s at least, so that tiny waits call up
//! no storm. The [`Rejection`] travels as a response extension. Services whose response body has no `Default`, and
//! services that don't speak HTTP, choose [`reject_as_error`](BulkheadBuilder::reject_as_error) or
//! [`reject_with`](BulkheadBuilder::reject_with):
//!
//! ```
//! use backstop_bulkhead::BulkheadLayer;
//! use tower::{BoxError, Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let bulkhead = BulkheadLayer::builder("queue").max_concurrent(8).until_headers().reject_as_error().build()?;
//! let queue = bulkhead.layer(service_fn(|order: Vec<u8>| async move { Ok::<usize, BoxError>(order.len()) }));
//! assert_eq!(queue.oneshot(b"order".to_vec()).await?, 5);
//! # Ok(())
//! # }
//! ```
//!
//! # Knobs
//!
//! | knob | default | allowed |
//! |---|---|---|
//! | [`max_concurrent`](BulkheadBuilder::max_concurrent) | 100 | 1 to 1,000,000 |
//! | [`max_waiting`](BulkheadBuilder::max_waiting) | `max_concurrent` | 0 (nobody waits) to 1,000,000 |
//! | [`max_wait`](BulkheadBuilder::max_wait) | 1 s | 1 ms to 24 h |
//! | [`max_hold`](BulkheadBuilder::max_hold) | 60 s | 1 ms to 24 h |
//! | [`until_headers`](BulkheadBuilder::until_headers) | to the body's end | |
//!
//! [`BulkheadHandle`] shows them and what is in use, and [resizes](BulkheadHandle::set_max_concurrent) the bulkhead while
//! it is in use.
//!
//! # Cost
//!
//! A call that finds room, of a service that is ready, takes no lock, reads no clock, clones no service and allocates
//! nothing: two compare-and-swaps and a reference count. A body that isn't at its end costs one allocation, a lock to
//! come and one to go, and a reading of the clock for each frame. A call that finds no room, or a service that isn't
//! ready, costs one allocation; where it waits, the lock and a timer.
//!
//! # Cancellation
//!
//! A call that finds room, of a service that is ready, is made at once, and holds its permit from then on; any other asks
//! for its permit, or its place in line, when it is first polled, and holds nothing before. Dropping it in line gives its
//! place up; dropping it later drops the call, and then gives the permit back; dropping the body does the same. Each time
//! the next in line is woken at once. A drop counts as nothing: neither as a refusal nor as a failure.
//!
//! # Telemetry
//!
//! Each refusal is one `tracing` event at `DEBUG`, target `backstop::bulkhead`, with the fields `name`, `reason` (`full`,
//! `waited`, `deadline`) and `max_concurrent`; each body that loses its permit another, with `name` and `max_hold`.
//!
//! With the feature `metrics`, through the facade of that name, whenever its recorder is installed:
//!
//! | metric | labels | counts |
//! |---|---|---|
//! | `bulkhead_in_use` (gauge) | `name` | permits that are out |
//! | `bulkhead_rejections_total` | `name` | refusals |
//! | `bulkhead_held_too_long_total` | `name` | bodies that lost their permits |
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | permits to the end of an `axum::body::Body` |
//! | `metrics` | the metrics above |
//! | `tonic` | permits to the end of a `tonic::body::Body` |

mod body;
mod builder;
mod config;
mod entering;
mod future;
mod handle;
mod held;
mod layer;
mod metrics;
mod permits;
mod room;
mod service;
mod telemetry;
mod until;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backstop_core::{ConfigError, HttpReject, Name, RejectAsError, RejectWith, Rejection, RejectionKind, name};

pub use builder::BulkheadBuilder;
pub use config::BulkheadConfig;
pub use future::BulkheadFuture;
pub use handle::BulkheadHandle;
pub use layer::BulkheadLayer;
pub use service::Bulkhead;
pub use until::{Until, UntilBodyEnd, UntilHeaders};
