//! Tower layers that limit how long things take, in a way that breakers, retries and fallbacks understand.
//!
//! # Why
//!
//! A dependency that hangs is worse than one that fails: every request waits, and holds its connection and its memory
//! while it waits. A time limit turns the hang into a failure. These turn it into a failure *that the other layers can
//! judge*: the answer is a typed [`Rejection`] that tells whose limit passed and how far the call had come, so that a
//! circuit breaker counts a call that hung, and doesn't count one whose caller was in a greater hurry than we are.
//!
//! | layer | stands | limits |
//! |---|---|---|
//! | [`DeadlineLayer`] | outermost, in a server | a request, by our limit or its caller's; all that is done for it knows how much time is left |
//! | [`TimeoutLayer`] | innermost, around a client | one attempt of a call, by its own limit or by what is left of the deadline |
//! | [`PropagateDeadlineLayer`] | between the timeout and the client | nothing here: it tells the next service how much time it has |
//!
//! ```text
//! caller → Deadline → your handler → [ Retry → CircuitBreaker → Timeout → PropagateDeadline → client ] → next service
//! ```
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
//! use it to limit a request as a whole (that is what the deadline is for, and a chain or a retry has a total), and not
//! around calls that are slow by nature, such as long polls. For uploads that are streamed choose
//! [`after_upload`](TimeoutBuilder::after_upload): the limit then begins at the end of the request's body.
//!
//! What binds is the earlier of the layer's limit and the deadline of the [scope](backstop_core::scope) that the request
//! is served in. The limit begins with the call's first wait: what a call does before that, without giving its thread
//! back, no timer could end, and a call that is answered at once needs none
//! ([when time begins](backstop_core::scope#when-time-begins)). Time that the caller spent waiting in `poll_ready` counts
//! into it.
//!
//! | when | the inner service | what the rejection says | counts as |
//! |---|---|---|---|
//! | the scope's deadline has passed before the call | isn't called | [`NotAsked`](Progress::NotAsked) | neutral, not processed |
//! | it isn't ready within the limit | isn't called; the layer is ready, and refuses in `call` | [`NotReady`](Progress::NotReady), by [us](SetBy::Us) | failure, not processed |
//! | it isn't ready by the caller's earlier deadline | the same | [`NotReady`](Progress::NotReady), by the [caller](SetBy::Caller) | neutral, not processed |
//! | our limit passes during the call | its future is dropped, [`ended_by`](backstop_core::scope::ended_by) says `Us` | [`Called`](Progress::Called), by [us](SetBy::Us) | failure, possibly processed |
//! | the caller's earlier deadline passes during the call | its future is dropped, `ended_by` says `Caller` | [`Called`](Progress::Called), by the [caller](SetBy::Caller) | neutral |
//! | our limit passes, and the call waited for the request's body most of the time | its future is dropped, `ended_by` says `Us` | [`TooSlow`](backstop_core::RequestFailure::TooSlow): a 408 | neutral |
//! | it fails in time, because the request's body failed | | [`Broken`](backstop_core::RequestFailure::Broken), a 400, or [`TooLarge`](backstop_core::RequestFailure::TooLarge), a 413, instead of the error | neutral |
//! | it answers or fails in time otherwise | | – | – |
//!
//! The limit [covers](TimeoutBuilder::cover) the head of the answer. If asked, it covers more:
//!
//! | | the answer is given | what the limit ends then | what is seen of that |
//! |---|---|---|---|
//! | [`UntilHeaders`] | with its head | | |
//! | [`UntilFirstFrame`] | when its first frame is there | the call, with the body | a rejection instead of the answer |
//! | [`UntilBodyEnd`] | with its head | the body, which is dropped | an error of the body, in which the rejection is found |
//!
//! Choose the first frame for upstreams that send a head at once and then hang, so that a retry or a fallback can still
//! answer. Choose the end for small answers, and not for streams that are meant to last.
//!
//! A body that the limit ends is the service's failure if head and body were waited for at least half of the time. If
//! the body waited for its reader for longer than that, the rejection says that it was the [caller's](SetBy::Caller) limit:
//! slow readers trip no circuit.
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
//! A request's deadline is the smaller of [our limit](DeadlineBuilder::limit) and what its caller is believed to wait:
//!
//! | the caller says it in | and is believed |
//! |---|---|
//! | `grpc-timeout`, on a gRPC request | always |
//! | [`x-envoy-expected-rq-timeout-ms`](DeadlineHeader::EnvoyExpectedRqTimeoutMs), [another header](DeadlineHeader::Milliseconds), or [`grpc-timeout`](DeadlineHeader::GrpcTimeout) on other requests | where the layer was told to [trust](DeadlineBuilder::trust) it |
//!
//! What can't be read (no number, a sign, a number too long, several values that differ) is ignored, with an event. 0 is no
//! time at all, but in Envoy's header, where it is no limit. Where there is a deadline further out already, the earlier one
//! counts. It stands in the [scope](backstop_core::scope): the layers further in keep to it, also those that know nothing of
//! HTTP, and a handler asks for [`time_left`]. A limit of the caller that is shorter than ours is remembered to be the
//! caller's: however many calls it ends, no circuit of ours opens for it.
//!
//! | when | the inner service | what the rejection says |
//! |---|---|---|
//! | no time is left when the request comes | isn't called | [`NotAsked`](Progress::NotAsked) |
//! | it isn't ready by the deadline | isn't called | [`NotReady`](Progress::NotReady) |
//! | it hasn't answered by the deadline | its future is dropped, under the mark of [`ended_by`](backstop_core::scope::ended_by) | [`Called`](Progress::Called) |
//!
//! Only the request tells what its limit is, so that counts from the call's first wait, as [the timeout's](#the-timeout)
//! does, and the layer is always ready, unless the inner service fails in `poll_ready`: a wait for that service goes on in the response future, and is limited there. So
//! what sheds load by readiness belongs inside. A body that is streamed after the head is not limited. Don't put it around
//! connections that are meant to last, such as server-sent events that come with their head late; and don't use it in
//! a client, where there is no caller to believe.
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
//! What is left of the deadline, less a [margin](PropagateDeadlineBuilder::margin), goes with each request: in
//! `grpc-timeout` on gRPC requests, and in the headers that the layer was told to [send](PropagateDeadlineBuilder::send).
//! It is rounded down, and a shorter time that the request says already stays, so that a deadline only ever shrinks.
//! Where no more than the margin is left, the service isn't called: [`NotAsked`](Progress::NotAsked). Without a deadline
//! the layer does nothing.
//!
//! Told how long the caller waits, the next service gives up when the caller does, and before we do. Its 504 or
//! `DEADLINE_EXCEEDED`, or its client's error, is then the caller's doing, and becomes a rejection that says so
//! ([`SetBy::Caller`]): nobody's failure.
//!
//! The layer reads the scope in `call`. A `Buffer` runs `call` in a task of its own, where the scope isn't: put the layer
//! around the `Buffer`. Inside it, the layer knows only the limits that stand there too, such as a [`TimeoutLayer`]'s, and
//! sends no deadline where there is none.
//! Don't use it towards services of others: how little time you have is none of their business.
//!
//! # What holds for all of them
//!
//! A call that is ready in the same poll in which its time is up is answered. Degradations that were reported inside an
//! answered call move up to the scope outside; those of a call that was ended are lost with it.
//!
//! A rejection becomes a 504 with `Cache-Control: no-store`, on gRPC a Trailers-Only answer with `grpc-status` 4, see
//! [`HttpReject`]. Services whose response body has no `Default`, and services that don't speak HTTP, choose
//! [`reject_as_error`](TimeoutBuilder::reject_as_error) or [`reject_with`](TimeoutBuilder::reject_with).
//!
//! # Knobs
//!
//! | knob | default | allowed |
//! |---|---|---|
//! | [`TimeoutBuilder::limit`] | 1 s | 1 ms to 1 h |
//! | [`TimeoutBuilder::after_upload`] | not | |
//! | [`TimeoutBuilder::cover`] | [`UntilHeaders`] | [`UntilFirstFrame`], [`UntilBodyEnd`] |
//! | [`DeadlineBuilder::limit`] | 15 s, as Envoy's for a route | 1 ms to 24 h |
//! | [`DeadlineBuilder::trust`] | nothing | each header once |
//! | [`PropagateDeadlineBuilder::margin`] | 10 ms | 0 to 10 s |
//! | [`PropagateDeadlineBuilder::send`] | nothing | each header once |
//!
//! # Cost
//!
//! A call that is ready at once reads no clock, makes no timer, counts no references and allocates nothing. One that isn't
//! costs a timer, and a reading of the clock for all limits of a stack together. A request with a body costs an allocation,
//! and two more to [watch](backstop_core::Upload) it where no layer further out does. A service that isn't ready at once
//! costs one allocation, under the timeout and under the deadline; covering the body costs one for each response with a
//! body. A header that is sent on is an allocation.
//!
//! # Cancellation
//!
//! Dropping the future drops the call with all that it holds, and counts for nothing; so does dropping a body.
//!
//! Under the timeout a caller that gives up in `poll_ready` drops its clone of the service, and the wait with it. Where it
//! keeps the service instead, its wait goes on for the next caller, at most until the limit has passed twice: from then
//! on the wait counts as given up. Behind a `Buffer`, which makes one service ready for everyone, each call has the limit
//! to itself and those behind it queue. Put the timeout around the `Buffer` to limit the time in the queue too.
//!
//! # Telemetry
//!
//! Under the target `backstop::timeout`, at `DEBUG`, one `tracing` event each:
//!
//! | event | fields |
//! |---|---|
//! | a call took too long | `name`, `limit` (the layer's own), `set_by` (`us`, `caller`), `progress` (`not-asked`, `not-ready`, `called`) |
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

mod deadline;
mod header;
mod limited;
mod propagate;
mod settings;
mod telemetry;
mod timeout;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[doc(inline)]
pub use backstop_core::scope::time_left;
pub use backstop_core::{ConfigError, HttpReject, Name, Progress, RejectAsError, RejectWith, Rejection, SetBy, name};

pub use deadline::{DeadlineBuilder, DeadlineConfig, DeadlineFuture, DeadlineLayer, DeadlineService};
pub use header::DeadlineHeader;
pub use propagate::{
    PropagateDeadline, PropagateDeadlineBuilder, PropagateDeadlineConfig, PropagateDeadlineFuture,
    PropagateDeadlineLayer,
};
pub use timeout::{
    Cover, Timeout, TimeoutBuilder, TimeoutConfig, TimeoutFuture, TimeoutLayer, UntilBodyEnd, UntilFirstFrame,
    UntilHeaders,
};
