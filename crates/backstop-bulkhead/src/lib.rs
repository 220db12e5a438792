//! A tower layer that bounds how many calls of a service run at once, and how many wait.
//!
//! # Why
//!
//! When a dependency slows down, each call takes longer, and more calls run at once. They hold connections, memory and
//! tasks, until a healthy service fails together with its dependency. A bulkhead gives each dependency a share of those
//! resources and no more. When the share is used up, a few calls wait for a moment, and the others are refused at once,
//! so that a fallback can answer while the caller still waits.
//!
//! Use one layer for each dependency, shared by all routes and clients that call it. Put it inside retries, so that a retry
//! holds no permit while it waits, and around timeouts, so that a call that hangs gives its permit back.
//!
//! # When not to use it
//!
//! - To bound the requests that your own service accepts: such a refusal should depend on the load of all routes.
//! - As a rate limit: it bounds how many calls run at once, not how many start in a second.
//! - With permits until the end of the body, for endless streams, or at an edge where clients may read slowly: let those
//!   calls hold their permits [until the headers](BulkheadBuilder::until_headers) only.
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
//! | finds a free permit and an empty queue | runs: the layer waits for the inner service to be ready, and calls it |
//! | finds no permit, but a place in the queue | waits behind earlier calls |
//! | is first in the queue when a permit is returned | runs |
//! | finds the queue full | is refused: [`bulkhead-full`](backstop_core::Reason::BULKHEAD_FULL) |
//! | has waited for `max_wait` | is refused: [`bulkhead-full`](backstop_core::Reason::BULKHEAD_FULL) |
//! | still waits when the deadline of its [scope](backstop_core::scope) passes | is refused: [`timeout`](backstop_kit::Elapsed), [`NotAsked`](backstop_kit::Progress::NotAsked) |
//! | still waits when a circuit breaker directly around the bulkhead opens | is refused by the circuit: [`circuit-open`](backstop_core::Reason::CIRCUIT_OPEN) |
//! | has answered | holds its permit until its response body has ended |
//! | has answered without a body, or failed, or is dropped | returns its permit at once |
//! | has a body that has lasted for `max_hold` | loses its permit; the body ends with an error |
//!
//! A refused call never reaches the inner service. So a circuit breaker counts it as neutral, a retry doesn't repeat
//! it, and a chain tries its next provider. A call that finds a permit is made even if the deadline is near: the
//! timeout further in deals with that.
//!
//! The layer is always ready. While there is room, `poll_ready` asks the inner service too. If that is ready, it is the one
//! that is called; if not, the response future makes a clone ready. So a call that waits for the inner service holds a
//! permit, and a call that waits in line holds nothing of the inner service.
//!
//! # Bodies
//!
//! A dependency is busy until its response is complete. So a call holds its permit until the last frame of the response
//! body, its trailers or its error was read, or until the body is dropped. `max_hold`, counted from the response head,
//! stops a slow reader from keeping the permit. 100 clients that don't read still block all others for that long, a
//! minute by default.
//!
//! No task is needed for that. If a body is being read when its time is up, the inner body is dropped, and the body ends with
//! an error of its own type that contains the [`Rejection`]. The permit of a body that nobody reads is taken back by the next
//! call that needs it, by the first in line when the time is up, or by [`in_use`](BulkheadHandle::in_use). Such a body ends
//! with the same error when it is read again. Until then it keeps its connection to the dependency, so let the server's
//! timeouts end connections whose clients don't read.
//!
//! | the body's time is up, and since the head | the rejection says | counts as |
//! |---|---|---|
//! | the reader waited for the dependency at least half of the time | [`timeout`](backstop_kit::Elapsed) by [us](backstop_core::SetBy::Us), [`Called`](backstop_kit::Progress::Called) | failure, possibly processed |
//! | the reader didn't poll it for most of the time, even if it waits at the end | the same, by the [caller](backstop_core::SetBy::Caller) | neutral: slow readers don't trip a circuit |
//!
//! A reader waits from a pending poll until its next poll. If it polls after the time is up, and a frame is ready, it counts
//! as away since its last poll.
//!
//! The response body keeps its type. It must be a body that can be aborted
//! ([`AbortBody`](backstop_kit::AbortBody)): `axum::body::Body` (feature `axum`), `tonic::body::Body` (feature
//! `tonic`), or a boxed body of `http-body-util` whose error implements `From<Rejection>`, as `BoxError` does. For
//! other responses there is [`until_headers`](BulkheadBuilder::until_headers). An upgraded connection doesn't hold a
//! permit.
//!
//! # Refusals
//!
//! A refusal is a 503 with `Cache-Control: no-store` and `Retry-After`, on gRPC a Trailers-Only answer with
//! `grpc-status` 14. If the deadline has passed, it is a 504, or `grpc-status` 4, without `Retry-After`. See [`HttpReject`].
//! `Retry-After` is `max_wait`, because by then every call waiting now runs or has given up. It is at least 1 s, so
//! that short waits don't cause a burst of retries. [`problem_details`](BulkheadBuilder::problem_details) adds a body
//! that says why. The [`Rejection`] travels as a response extension. Services whose
//! response body has no `Default`, and services that don't speak HTTP, choose
//! [`reject_as_error`](BulkheadBuilder::reject_as_error) or [`reject_with`](BulkheadBuilder::reject_with):
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
//! | [`max_waiting`](BulkheadBuilder::max_waiting) | `max_concurrent` | 0 (no queue) to 1,000,000 |
//! | [`max_wait`](BulkheadBuilder::max_wait) | 1 s | 1 ms to 24 h |
//! | [`max_hold`](BulkheadBuilder::max_hold) | 60 s | 1 ms to 24 h |
//! | [`until_headers`](BulkheadBuilder::until_headers) | to the body's end | |
//!
//! [`BulkheadHandle`] shows them and what is in use, and [reloads](BulkheadHandle::reload) them while calls run. A
//! [`BulkheadConfig`] holds them as plain data, and can be read from a file.
//!
//! # Cost
//!
//! If there is room and the service is ready, a call takes no lock, reads no clock, clones no service and allocates nothing:
//! it costs two compare-and-swaps and a reference count. A body that isn't at its end costs one allocation, two locks, and
//! a clock reading for each frame. If there is no room, or the service isn't ready, a call costs one allocation. If it waits,
//! it also costs the lock and a timer.
//!
//! # Cancellation
//!
//! If there is room and the service is ready, the call is made at once, and holds its permit from then on. Any other call
//! asks for a permit or a place in line when it is first polled. Dropping a waiting call gives up its place. Dropping a
//! running call, or its body, drops the inner call or body, and then gives the permit back. In both cases the next in line
//! is woken at once. A drop counts neither as a refusal nor as a failure.
//!
//! # Telemetry
//!
//! Each refusal is one `tracing` event at `DEBUG`, target `backstop::bulkhead`, with the fields `name`, `reason` (`full`,
//! `waited`, `deadline`) and `max_concurrent`. Each body that loses its permit is one, too, with `name` and `max_hold_ms`.
//!
//! With the feature `metrics`, through the facade of that name, even if its recorder is installed later:
//!
//! | metric | labels | counts |
//! |---|---|---|
//! | `bulkhead_in_use` (gauge) | `name` | permits in use |
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
//! | `serde` | a [`BulkheadConfig`] can be read from a file, and written to one |
//! | `tonic` | permits to the end of a `tonic::body::Body` |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod config;
mod function;
mod future;
mod handle;
mod inspect;
mod layer;
mod layer_state;
mod limiter;
mod metrics;
mod pending_call;
mod permit;
mod permit_request;
mod permits;
mod service;
mod telemetry;
mod until;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backstop_core::{ConfigError, Name, Rejection, name};
pub use backstop_kit::{CallError, HttpReject, ProblemDetails, RejectAsError, RejectWith, UntilBodyEnd, UntilHeaders};

pub use config::{BulkheadBuilder, BulkheadConfig};
pub use function::{BulkheadCall, BulkheadFunctions};
pub use future::BulkheadFuture;
pub use handle::BulkheadHandle;
pub use layer::BulkheadLayer;
#[cfg(feature = "metrics")]
pub use metrics::describe_metrics;
pub use service::Bulkhead;
pub use until::Until;
