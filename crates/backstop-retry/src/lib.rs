//! A tower layer that repeats failed requests where repeating is safe.
//!
//! # Why
//!
//! Many failures last for a moment: a connection that was reset, an instance that restarts, a 503 with `Retry-After: 1`.
//! Sending the request again then turns a failure into an answer. Done carelessly it also pays twice, triples the load on
//! a service that is down for its load, and makes every caller come back in the same millisecond. This layer repeats only
//! what may be repeated, waits as long as the server asks and never in step with others, keeps to one time limit for all
//! attempts and to a share of all requests, and gives back the server's own last answer when nothing helped.
//!
//! Put it around the client of a dependency that fails for moments at a time.
//!
//! # When not to use it
//!
//! - Where another tier already repeats the same request: [attempts multiply](#how-many-calls-one-request-can-cost).
//! - Around a dependency that is down or overloaded for hours: a circuit breaker and a fallback are for that.
//! - Around your own handlers: what fails there fails again.
//! - For callers who can't wait: another attempt takes a wait and a call. A fallback that is at hand is quicker.
//! - Against answers that break off in their bodies. What counts is the head; the body is the caller's by then.
//!
//! # Example
//!
//! ```
//! use std::{convert::Infallible, sync::{Arc, atomic::{AtomicU32, Ordering}}};
//!
//! use axum::{body::Body, http::{Request, Response, StatusCode}};
//! use backstop_retry::{RetryLayer, name};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let calls = Arc::new(AtomicU32::new(0));
//! let counted = Arc::clone(&calls);
//! let restarting = service_fn(move |_: Request<Body>| {
//!     let well = counted.fetch_add(1, Ordering::Relaxed) > 0;
//!     async move {
//!         let mut response = Response::new(Body::empty());
//!         *response.status_mut() = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
//!         Ok::<_, Infallible>(response)
//!     }
//! });
//! let ml_service = ServiceBuilder::new().layer(RetryLayer::new(name!("ml_service"))).service(restarting);
//!
//! let response = ml_service.oneshot(Request::new(Body::empty())).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! assert_eq!(calls.load(Ordering::Relaxed), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # What is repeated
//!
//! A request is sent again when its result is worth it **and** the request may be sent again.
//!
//! | result | worth it? |
//! |---|---|
//! | 408, 425, 429, 502, 503, 504; gRPC `UNAVAILABLE` | yes, unless taken out: [`HttpClassify::lasting`], [`HttpClassify::lasting_code`] |
//! | gRPC `RESOURCE_EXHAUSTED` | where the server said when to come again |
//! | an error of the transport | yes |
//! | a timeout of our own that ended the call | yes |
//! | 500, 501, 505 and other 5xx; other gRPC codes | only if asked for: [`retry_on`](RetryBuilder::retry_on), [`HttpClassify::transient_code`] |
//! | other statuses | no |
//! | to a gRPC call, an answer that isn't gRPC's | where the gRPC status is that its HTTP status [maps to](https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md): 429, 502, 503, 504 |
//! | a refusal of our own: circuit open, bulkhead full; whatever the judge or a closure would say | no |
//! | a request body that failed, or that a call of `TimeoutLayer` waited for most of its time | no |
//! | a 425, where our own caller sent `Early-Data` | no: it is theirs to act upon (RFC 8470 §5.2) |
//! | any, with a negative or unreadable `grpc-retry-pushback-ms`, or with several | no |
//!
//! | request | may it be sent again? |
//! |---|---|
//! | GET, HEAD, OPTIONS, TRACE, PUT, DELETE | yes: idempotent by RFC 9110 §9.2.2 |
//! | POST, PATCH and all others | only if it was certainly not processed, which a stack around a [`client`](backstop_kit::client) [proves](backstop_kit::proof#which-stacks-are-believed): connection refused, `REFUSED_STREAM`, never sent |
//! | the same with an `Idempotency-Key` | if [`trust_idempotency_key`](RetryBuilder::trust_idempotency_key) is set |
//! | the same, where [`repeat_if`](RetryBuilder::repeat_if) says so | yes |
//! | any, with [`repeat_when`](RetryBuilder::repeat_when) | what that says of the request and of what the attempt came to |
//! | any, with the extension [`Repeat::Safe`] | yes; beside [`repeat_when`](RetryBuilder::repeat_when), which sees it as idempotent, what that says |
//! | any, with the extension [`Repeat::Never`] | never |
//! | of any type, with [`plain`](RetryBuilder::plain) or [`clone_requests`](RetryBuilder::clone_requests) | yes: choosing it says so |
//! | one that somebody further out repeats, by [`attempt_header`](RetryBuilder::attempt_header) | no |
//! | CONNECT, an [upgrade](backstop_kit::RequestFacts::is_upgrade) | never |
//! | one whose body is longer than [`max_body`](RetryBuilder::max_body), or failed while it was read | no |
//! | one whose body was still being sent when the server answered | no: another attempt would break the upload off. Where the server has done that itself, or a timeout of ours ended the call: yes |
//!
//! A gRPC status counts where the headers tell it, in a Trailers-Only answer, as servers send it that refuse a call. One that
//! comes in the trailers, after a message or after nothing, isn't waited for: the answer is the caller's by then.
//!
//! Why not POST? A POST that came to no good answer may have been processed all the same: the payment was made, and its
//! answer was lost. That holds after a timeout too. Behind [`client`](backstop_kit::client), which errors prove the contrary
//! depends on the client in use, see [Features](#features). Every gRPC call is a POST, so say by `repeat_if` which methods are safe, or say it of each request:
//!
//! ```
//! use axum::{body::Body, http::Request};
//! use backstop_retry::Repeat;
//!
//! let search = Request::post("/search").extension(Repeat::Safe).body(Body::from("rust"))?;
//! # let _ = search;
//! # Ok::<(), axum::http::Error>(())
//! ```
//!
//! What depends on the result is for the judge to say. A server that tells by its answer that it has done nothing may get
//! any request again:
//!
//! ```
//! use axum::{body::Body, http::Response};
//! use backstop_core::{Classify, ErrorRef};
//! use backstop_retry::{HttpClassify, RetryLayer};
//!
//! let usual = HttpClassify::new();
//! let orders = RetryLayer::builder("orders")
//!     .classify_fn(move |result: Result<&Response<Body>, ErrorRef<'_>>| {
//!         let outcome = usual.classify(result);
//!         let not_taken = result.is_ok_and(|answer| answer.headers().contains_key("x-order-not-taken"));
//!         if not_taken { outcome.transient().unprocessed() } else { outcome }
//!     })
//!     .build()?;
//! # let _ = orders;
//! # Ok::<(), backstop_retry::ConfigError>(())
//! ```
//!
//! Functions that don't speak HTTP are judged by [`ResultClassify`]: every `Ok` is an answer, and every error is worth another
//! attempt, unless it says otherwise (a refusal of ours, a gRPC code). A closure of your own says so by [`transient`](backstop_core::Outcome::transient):
//! `Outcome::failure()` alone is never repeated. [`plain`](RetryBuilder::plain) chooses all that such a layer needs:
//!
//! ```
//! use backstop_retry::RetryLayer;
//! use tower::{BoxError, Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let retry = RetryLayer::builder("database")
//!     .plain()
//!     .build()?;
//! # let tries = std::sync::atomic::AtomicU32::new(0);
//! # let query = |id: u32| {
//! #     let lost = tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
//! #     async move { if lost { Err(BoxError::from("connection lost")) } else { Ok(id) } }
//! # };
//! assert_eq!(retry.layer(service_fn(query)).oneshot(7).await?, 7);
//! # Ok(())
//! # }
//! ```
//!
//! # Time
//!
//! All attempts and waits share one [total](RetryBuilder::total), which begins with
//! [the first wait](backstop_core::scope#when-time-begins); an earlier deadline of the [scope](backstop_core::scope) binds
//! instead. Each attempt runs in a scope of its own with that deadline, which a
//! `TimeoutLayer` further in obeys, and of the degradations reported in it only those of the attempt that is returned move
//! up.
//!
//! | when the total passes | then |
//! |---|---|
//! | in a later attempt, its readiness included | the attempt is dropped, and the earlier answer or error is returned |
//! | in an attempt while there is no earlier answer | the attempt goes on: this layer can't make answers up, and `TimeoutLayer` can |
//! | while an answer is [kept](#the-last-answer) for the wait | the earlier answer is returned, or else this one, as far as it came and with the rest as it comes |
//! | in a wait, as on a machine that was asleep | the answer at hand is returned, and only where there is none another attempt is made |
//! | the next wait doesn't fit into what is left | the answer at hand is returned at once |
//!
//! There is no earlier answer in the first attempt, and where the earlier answers [were not kept](#the-last-answer). A limit
//! for each attempt is the job of a `TimeoutLayer`, innermost.
//!
//! # Backoff
//!
//! Wait *n* is random, uniform from 0 to min(cap, base · 2ⁿ⁻¹): exponential backoff with full jitter
//! (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). [`Backoff`] has others: equal and
//! decorrelated jitter, a constant wait, and a closure. A delay that the server asks for
//! (`Retry-After` in both forms, `grpc-retry-pushback-ms`) is a minimum: the jitter is added to it. One that is longer
//! than [`max_retry_after`](RetryBuilder::max_retry_after) or than the time left ends the retrying, with that response.
//! Any other starts the backoff anew: the jitter that is added, and the next wait, are again those of *n* = 1
//! ([A6](https://github.com/grpc/proposal/blob/master/A6-client-retries.md), which adds no jitter).
//!
//! # The last answer
//!
//! When attempts or time run out, the last response or error is returned as it was. A response that is to be replaced is
//! read into memory before the wait (32 KiB, 100 ms, see [`KeepReplaced`]), which gives its connection and its permits
//! back (hyper-util's client takes a connection back in a task of its own: an attempt that begins before that has run, after
//! next to no wait, may open another one), and comes out byte for byte the same if nothing better does: when the next attempt is refused by a layer further in
//! (an open circuit), isn't ready in time or is ended by the total. A longer one is dropped; the answer kept before it, if
//! there is one, stays.
//!
//! A response that took more than one attempt, or that would have been worth another one, tells so in the extension
//! [`Retried`]: how many attempts there were, and why there were no more.
//!
//! # Knobs
//!
//! | knob | default | allowed |
//! |---|---|---|
//! | [`max_attempts`](RetryBuilder::max_attempts) | 3 in all | 1 to 1000 |
//! | [`total`](RetryBuilder::total) | 60 s | more than 0 s, up to 24 h |
//! | [`backoff`](RetryBuilder::backoff), [`backoff_fn`](RetryBuilder::backoff_fn) | full jitter | any [`Backoff`] |
//! | [`backoff_base`](RetryBuilder::backoff_base) | 100 ms | more than 0 s, up to the cap |
//! | [`backoff_cap`](RetryBuilder::backoff_cap) | 10 s, or the total if less, or if it is constant | more than 0 s, up to the total |
//! | [`max_retry_after`](RetryBuilder::max_retry_after) | 10 s, or the total if less | 0 s up to the total |
//! | [`max_body`](RetryBuilder::max_body) | 64 KiB | 0 to 1 GiB |
//! | [`retry_on`](RetryBuilder::retry_on), [`classify`](RetryBuilder::classify), [`classify_fn`](RetryBuilder::classify_fn) | [`HttpClassify`] | |
//! | [`attempt_header`](RetryBuilder::attempt_header) | none | any name |
//! | [`budget`](RetryBuilder::budget), [`no_budget`](RetryBuilder::no_budget) | 20 % and 10 a second, the layer's own | any [`RetryBudget`] |
//! | [`trust_idempotency_key`](RetryBuilder::trust_idempotency_key), [`repeat_if`](RetryBuilder::repeat_if), [`repeat_when`](RetryBuilder::repeat_when) | not set | |
//! | [`plain`](RetryBuilder::plain) | [`Http`] | |
//! | [`clone_requests`](RetryBuilder::clone_requests), [`copy_requests`](RetryBuilder::copy_requests) | [`HttpCopy`] | |
//! | [`keep_replaced`](RetryBuilder::keep_replaced), [`keep_replaced_by`](RetryBuilder::keep_replaced_by), [`discard_replaced`](RetryBuilder::discard_replaced) | [`KeepReplaced`]: 32 KiB, 100 ms | 0 to 1 GiB; up to 60 s and to the total |
//! | [`error_text`](RetryBuilder::error_text) | the text of the error and its causes | |
//! | [`seed`](RetryBuilder::seed) | random | |
//!
//! # Where it stands in a stack
//!
//! ```text
//! caller → Deadline → Fallback → [ Retry → CircuitBreaker → Bulkhead → Timeout → client ]
//! ```
//!
//! Outside the circuit breaker, which so sees every attempt and learns fast, and whose refusals aren't repeated. Outside
//! the bulkhead, so that a request that waits for its next attempt holds no permit. Outside the timeout, which ends each
//! attempt. Inside the fallback, which gets what is left when no attempt helped.
//!
//! # How many calls one request can cost
//!
//! At most `max_attempts`, 3 by default. Tiers multiply: where a gateway, this service and its client library each make 3
//! attempts, one request costs 27 calls. Retry in one tier only, the one next to the failure, and keep a circuit breaker
//! inside. Where that can't be had, an [`attempt_header`](RetryBuilder::attempt_header) that all tiers know leaves the
//! repeating of a retry to the tier that made it: two tiers then make 3 + 1 + 1 calls, and not 9. gRPC calls that are sent again carry
//! `grpc-previous-rpc-attempts` in any case ([A6](https://github.com/grpc/proposal/blob/master/A6-client-retries.md)).
//!
//! All requests together are held to the [`RetryBudget`]: 20 % of them may be repeated, and 10 a second, unless set. So
//! while everything fails the load on the dependency is the demand and a fifth, and not three times the demand; at first
//! up to 200 retries more, which were saved. That holds for each budget: of each layer, in each process. With
//! [`no_budget`](RetryBuilder::no_budget), it is the demand times `max_attempts` until the circuit opens.
//!
//! # Cost
//!
//! A request whose first attempt is returned costs a clone of the inner service, and what [`HttpCopy`] keeps of it: one
//! allocation for a request without body and extensions. A streamed body is wrapped, and recorded as it is read. The clock
//! is read once, when the first attempt waits. Nothing is spawned, no future is boxed, no timer is made, and all that
//! requests write in common is the budget's one counter, and a count of references to the layer. Nothing is kept while
//! the budget is empty, for CONNECT and upgrades, with [`Repeat::Never`], and of another tier's retry. With
//! `max_attempts(1)` the request passes straight through.
//!
//! # Cancellation
//!
//! Dropping the future drops the attempt that is being made, and what was kept of request and answers. Nothing goes on
//! behind the caller's back. An attempt that the total ends is dropped under
//! [`ended_by`](backstop_core::scope::ended_by), so that a circuit breaker further in counts it as the hang that it was.
//!
//! # Features
//!
//! None is on by default. All but the last are those of `backstop-core`.
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | requests and responses with `axum::body::Body` |
//! | `tonic` | requests and responses with `tonic::body::Body`; a `tonic::Status` that came as an error is judged by its code |
//! | `hyper-util` | behind [`client`](backstop_kit::client), proof from the errors of hyper and of its client that a request was never processed; hyper's upgrade handle, which stands for the first attempt's connection, is left out of what is sent again |
//! | `tonic-transport` | the same from the errors of tonic's `Channel` |
//! | `metrics` | the metrics below |
//!
//! # Telemetry
//!
//! `tracing` events at `DEBUG`, target `backstop::retry`, with the layer's `name` and the number of the `attempt`. The
//! text of an error is cut to 256 bytes, escaped, and without secrets in URLs; nothing else of the request is logged:
//!
//! | event | further fields |
//! |---|---|
//! | the request will be sent again | `error`, the text of the error if there was one, `delay`, and as `reason` what went wrong: `status-503`, `grpc-14`, `timeout`, `error` |
//! | the request won't be sent again | `error`, and as `reason`: `not-transient`, or `refused` by a layer further in, where the result wasn't worth it; else `max-attempts`, `not-idempotent` (also of a connection that was refused to a client without [`client`](backstop_kit::client)), `upgrade`, `outer-tier`, `early-data`, `server-said-stop`, `server-delay`, `no-time-left`, `budget`, `uploading`, or `not-replayable` with its `detail` |
//! | the total passed while the first attempt was under way, told when that failed or was dropped | `total` |
//! | an earlier attempt's answer is returned | `reason`: `refused`, `total-passed`; one of those above where the last attempt was never sent |
//!
//! With the feature `metrics`, through the facade of that name, whenever its recorder is installed, with the reasons of the
//! events:
//!
//! | counter | labels | counts |
//! |---|---|---|
//! | `retry_attempts_total` | `name`, `reason`: what went wrong | attempts beyond the first, when they are decided on |
//! | `retry_skipped_total` | `name`, `reason`: a [`StopReason`] | results that are no success and were returned all the same |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod backoff;
mod config;
mod future;
mod handle;
mod inspect;
mod layer;
mod planner;
mod policy;
mod repeat_if;
mod repeat_when;
mod report;
mod request_state;
mod retry_loop;
mod service;
mod telemetry;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backstop_core::{ConfigError, HttpClassify, Name, ResultClassify, name};
pub use backstop_kit::{
    CloneCopy, DiscardReplaced, Http, HttpCopy, KeepReplaced, Plain, Repeat, RetryBudget, RetryBudgetBuilder,
};

pub use backoff::{Backoff, BackoffFn};
pub use config::{Budget, RetryBuilder, RetryConfig};
pub use future::RetryFuture;
pub use handle::RetryHandle;
pub use layer::RetryLayer;
pub use repeat_if::RepeatIf;
pub use repeat_when::RepeatWhen;
pub use report::{Retried, StopReason};
pub use service::Retry;
