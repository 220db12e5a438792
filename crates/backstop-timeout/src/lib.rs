//! Tower layers that limit how long calls take. Circuit breakers, retries and fallbacks understand their rejections.
//!
//! # Why
//!
//! A dependency that hangs is worse than one that fails: every request waits, and holds a connection and memory while it
//! waits. A time limit turns the hang into a failure *that the other layers can judge*: a typed [`Rejection`] says whose
//! limit passed and how far the call got. So a circuit breaker counts a call that hung, and doesn't count a call whose
//! caller waits for less time than our limit.
//!
//! | layer | stands | limits |
//! |---|---|---|
//! | [`DeadlineLayer`] | outermost, in a server | a request, by our limit or its caller's; everything inside knows how much time is left |
//! | [`TimeoutLayer`] | innermost, around a client | one attempt of a call, by its own limit or by the time left until the deadline |
//! | [`PropagateDeadlineLayer`] | between the timeout and the client | nothing here: it tells the next service how much time is left |
//!
//! # The timeout
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
//! Put it innermost, around the client, inside retries and circuit breakers: each attempt then has its own limit. Don't
//! use it to limit a whole request: the deadline does that, and a chain or a retry has a total. Don't put it around calls
//! that are slow by nature, such as long polls. For streamed uploads, choose
//! [`after_upload`](TimeoutBuilder::after_upload): the limit then starts at the end of the request's body.
//!
//! A call ends at the layer's limit, or at the deadline of the request's [scope](backstop_core::scope) if that is earlier.
//! The limit starts when the call is first pending: until then no timer could end it, and a call that is ready at once
//! needs no timer ([when time begins](backstop_core::scope#when-time-limit_start)). Time that the caller waited in
//! `poll_ready` counts towards the limit.
//!
//! | when | the inner service | what the rejection says | counts as |
//! |---|---|---|---|
//! | the scope's deadline has passed before the call | isn't called | [`NotAsked`](Progress::NotAsked) | neutral, not processed |
//! | it isn't ready within the limit | isn't called; the layer is ready, and refuses in `call` | [`NotReady`](Progress::NotReady), by [us](SetBy::Us) | failure, not processed |
//! | it isn't ready by the caller's earlier deadline | the same | [`NotReady`](Progress::NotReady), by the [caller](SetBy::Caller) | neutral, not processed |
//! | our limit passes during the call | its future is dropped, [`ended_by`](backstop_core::scope::ended_by) says `OurLimit` | [`Called`](Progress::Called), by [us](SetBy::Us) | failure, possibly processed |
//! | the caller's earlier deadline passes during the call | its future is dropped, `ended_by` says `CallersLimit` | [`Called`](Progress::Called), by the [caller](SetBy::Caller) | neutral |
//! | our limit passes, and the call waited for the request's body for most of that time | its future is dropped, `ended_by` says `OurLimit` | [`TooSlow`](backstop_kit::RequestFailure::TooSlow): a 408 | neutral |
//! | it fails in time because the request's body failed | | [`Broken`](backstop_kit::RequestFailure::Broken), a 400, or [`TooLarge`](backstop_kit::RequestFailure::TooLarge), a 413, instead of the error | neutral |
//! | it answers or fails in time otherwise | | – | – |
//!
//! The limit [covers](TimeoutBuilder::cover) the head of the response. On request it covers more:
//!
//! | | the response is returned | the limit ends | the caller sees |
//! |---|---|---|---|
//! | [`UntilHeaders`] | with its head | the call | a rejection |
//! | [`UntilFirstFrame`] | with its first frame | the call, with the body | a rejection |
//! | [`UntilBodyEnd`] | with its head | the call, later the body | a rejection, later an error of the body that holds the rejection |
//!
//! Choose the first frame for upstreams that send a head at once and then hang: a retry or a fallback can still
//! answer. Choose the end for small responses, and not for long-lived streams.
//!
//! If the limit ends a body, that is the service's failure if we waited for head and body for at least half of the time. If
//! the body waited for its reader for longer than that, the rejection blames the [caller](SetBy::Caller): slow readers
//! trip no circuit.
//!
//! # The deadline
//!
//! ```
//! use std::time::Duration;
//!
//! use axum::{Router, routing::get};
//! use backstop_timeout::{DeadlineLayer, time_left};
//!
//! async fn report() -> &'static str {
//!     // A summary does where there is no time for more.
//!     match time_left() {
//!         Some(left) if left < Duration::from_millis(200) => "in short: all is well",
//!         _ => "all is well, and here is why",
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use {axum::{body::Body, http::Request}, tower::ServiceExt};
//! let deadline = DeadlineLayer::builder("edge").limit(Duration::from_millis(150)).build()?;
//! let app: Router = Router::new().route("/report", get(report)).layer(deadline);
//! # let response = app.oneshot(Request::get("/report").body(Body::empty())?).await?;
//! # let body = axum::body::to_bytes(response.into_body(), 100).await?;
//! # assert_eq!(body, "in short: all is well");
//! # Ok(())
//! # }
//! ```
//!
//! A request's deadline is the shorter of [our limit](DeadlineBuilder::limit) and the time that its caller waits:
//!
//! | the caller's header | is believed |
//! |---|---|
//! | `grpc-timeout`, on a gRPC request | always |
//! | [`x-envoy-expected-rq-timeout-ms`](DeadlineHeader::EnvoyExpectedRqTimeoutMs), [another header](DeadlineHeader::Milliseconds), or [`grpc-timeout`](DeadlineHeader::GrpcTimeout) on other requests | if the layer [trusts](DeadlineBuilder::trust) it |
//!
//! A malformed header (not a number, a sign, too many digits, several different values) is ignored, with an event. 0 means
//! no time, except in Envoy's header, where it means no limit. If an outer layer has set an earlier deadline, that one
//! counts. The deadline is kept in the [scope](backstop_core::scope). Inner layers respect it, including those for
//! functions, and a handler can read [`time_left`]. The scope knows whose deadline it is: calls that a caller's shorter
//! limit ends never open a circuit.
//!
//! | when | the inner service | what the rejection says |
//! |---|---|---|
//! | no time is left when the request arrives | isn't called | [`NotAsked`](Progress::NotAsked) |
//! | it isn't ready by the deadline | isn't called | [`NotReady`](Progress::NotReady) |
//! | it hasn't answered by the deadline | its future is dropped, [`ended_by`](backstop_core::scope::ended_by) says whose deadline it was | [`Called`](Progress::Called) |
//!
//! The limit starts when the call is first pending, as [the timeout's](#the-timeout) does. The layer is always ready, unless
//! the inner service's `poll_ready` fails: the response future waits for that service, until the deadline. So layers that
//! shed load by readiness belong inside. The deadline
//! doesn't limit a body that is streamed after the head. Don't put the layer around responses whose head comes late by
//! design, such as long polls. In a client, it's of use for gRPC alone: outermost, it makes the `grpc-timeout` of a request, which
//! tonic's `set_timeout` sets, cover all attempts and providers together. Other clients have no caller whose headers to trust.
//!
//! # Sending it on
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//!
//! use backstop_timeout::{DeadlineHeader, PropagateDeadlineLayer, TimeoutLayer};
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = service_fn(|request: Request<String>| async move {
//!     // 300 ms, less what was used of it, less 10 ms for the way back.
//!     assert_eq!(request.headers()["x-envoy-expected-rq-timeout-ms"], "290");
//!     Ok::<_, Infallible>(Response::new(String::new()))
//! });
//! let client = ServiceBuilder::new()
//!     .layer(TimeoutLayer::builder("ml_service").limit(Duration::from_millis(300)).build()?)
//!     .layer(PropagateDeadlineLayer::builder("ml_service").send(DeadlineHeader::EnvoyExpectedRqTimeoutMs).build()?)
//!     .service(client);
//! # assert!(client.oneshot(Request::new(String::new())).await?.status().is_success());
//! # Ok(())
//! # }
//! ```
//!
//! The layer sends the time that is left, less a [margin](PropagateDeadlineBuilder::margin), with each request: in
//! `grpc-timeout` on gRPC requests, and in the headers that the layer is configured to
//! [send](PropagateDeadlineBuilder::send). It rounds down, and keeps a shorter time that the request has already, so that a
//! deadline never grows. If no more than the margin is left, the service isn't called:
//! [`NotAsked`](Progress::NotAsked). Without a deadline the layer does nothing, and it doesn't start a limit for a request
//! that isn't told about it.
//!
//! The next service, or a client that reads `grpc-timeout` as tonic's `Channel` does, gives up before we do. The client's
//! error then becomes a rejection of this layer, so a gRPC caller gets `DEADLINE_EXCEEDED`. If the caller set the deadline,
//! so does the service's 504 or `DEADLINE_EXCEEDED`, and the rejection, by [`SetBy::Caller`], is nobody's failure. A shorter
//! time that the request came with, by `set_timeout` of a tonic request for example, is the caller's too.
//!
//! The layer reads the scope in `call`. A `Buffer` runs `call` in another task, which has no scope, so put the layer around
//! the `Buffer`. Inside it, the layer knows only the limits of layers that are inside, too, such as a [`TimeoutLayer`].
//! Without any it sends no deadline. Don't send deadlines to services of other companies.
//!
//! # Rules for all three layers
//!
//! If a call is ready in the poll in which its time is up, its result is returned. Degradations that were reported inside it
//! move to the outer scope. Those of a call that was ended are dropped.
//!
//! A rejection becomes a 504 with `Cache-Control: no-store`, or for gRPC a Trailers-Only response with `grpc-status` 4: see
//! [`HttpReject`]. [`problem_details`](TimeoutBuilder::problem_details) adds a body that says why. Services whose response body has no `Default` choose [`reject_as_error`](TimeoutBuilder::reject_as_error) or
//! [`reject_with`](TimeoutBuilder::reject_with). Functions, and services that don't speak HTTP, choose
//! [`plain`](TimeoutBuilder::plain).
//!
//! # Knobs
//!
//! | knob | default | allowed |
//! |---|---|---|
//! | [`TimeoutBuilder::limit`] | 1 s | 1 ms to 1 h |
//! | [`TimeoutBuilder::after_upload`] | off | |
//! | [`TimeoutBuilder::cover`] | [`UntilHeaders`] | [`UntilFirstFrame`], [`UntilBodyEnd`] |
//! | [`DeadlineBuilder::limit`] | 15 s, as Envoy's for a route | 1 ms to 24 h |
//! | [`DeadlineBuilder::trust`] | nothing | each header once |
//! | [`PropagateDeadlineBuilder::margin`] | 10 ms | 0 to 10 s |
//! | [`PropagateDeadlineBuilder::send`] | nothing | each header once |
//!
//! # Cost
//!
//! A call that is ready at once reads no clock, makes no timer and allocates nothing. A call that is pending costs a timer,
//! and one reading of the clock for all limits of a stack together. A request with a body costs an allocation, and two more
//! to [watch](backstop_kit::Upload) the body if no outer layer does. A service that isn't ready at once costs one
//! allocation, under the timeout and under the deadline. Covering the body costs one allocation for each response with a
//! body, and sending a deadline one for each header.
//!
//! # Cancellation
//!
//! Dropping the future drops the call, and nothing is counted. The same holds for a body.
//!
//! Under the timeout, a caller that gives up in `poll_ready` drops its clone of the service, and the wait with it. If it
//! keeps the service, its wait goes on for the next caller, until twice the limit has passed. Inside a `Buffer`, which makes
//! one service ready for all callers, each call has the whole limit, and the calls behind it queue. Put the timeout around
//! the `Buffer` to limit the time in the queue too.
//!
//! # Telemetry
//!
//! Under the target `backstop::timeout`, at `DEBUG`, one `tracing` event each:
//!
//! | event | fields |
//! |---|---|
//! | a call took too long | `name`, `limit_ms` (the layer's own), `set_by` (`us`, `caller`), `progress` (`not-asked`, `not-ready`, `called`) |
//! | a request body failed | `name`, `reason` (`broken`, `too-large`) |
//! | a caller's time limit was ignored | `name`, `header` (its name), `reason` (`malformed`, `contradictory`) |
//!
//! With the feature `metrics`, each rejection is counted in `deadline_exceeded_total{name}`, through the `metrics` facade.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `axum`, `tonic` | `axum::body::Body`, `tonic::body::Body` can be covered |
//! | `metrics` | the metric |
//! | `serde` | the three configurations can be read from a file, and written to one |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod deadline;
mod function;
mod header;
mod inspect;
mod limited;
mod macros;
mod metrics;
mod propagate;
mod settings;
mod telemetry;
mod timeout;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[doc(inline)]
pub use backstop_core::scope::time_left;
pub use backstop_core::{ConfigError, Name, Rejection, SetBy, name};
pub use backstop_kit::{
    CallError, Elapsed, HttpReject, ProblemDetails, Progress, RejectAsError, RejectWith, RequestFailure, UntilBodyEnd,
    UntilFirstFrame, UntilHeaders,
};

pub use deadline::{DeadlineBuilder, DeadlineConfig, DeadlineFuture, DeadlineHandle, DeadlineLayer, DeadlineService};
pub use function::{TimeoutCall, TimeoutFunctions};
pub use header::DeadlineHeader;
#[cfg(feature = "metrics")]
pub use metrics::describe_metrics;
pub use propagate::{
    PropagateDeadline, PropagateDeadlineBuilder, PropagateDeadlineConfig, PropagateDeadlineFuture,
    PropagateDeadlineHandle, PropagateDeadlineLayer,
};
pub use timeout::{
    Cover, HttpStrategies, PlainStrategies, Timeout, TimeoutBuilder, TimeoutConfig, TimeoutFuture, TimeoutHandle,
    TimeoutLayer,
};
