//! A tower layer that repeats failed requests where repeating is safe.
//!
//! # Why
//!
//! Many failures last for a moment: a connection is reset, an instance restarts, a server answers 503 with `Retry-After: 1`.
//! Sending the request again turns such a failure into an answer. Done carelessly it also pays twice, triples the load on a
//! service that is overloaded, and makes all callers come back in the same millisecond. This layer repeats only what is safe
//! to repeat, and only a share of all requests. It waits as long as the server asks, with jitter, and keeps one time limit for
//! all attempts. If nothing helps, it returns the server's own last answer.
//!
//! Put it around the client of a dependency that fails for moments at a time.
//!
//! # When not to use it
//!
//! - Where another tier already repeats the same request: [attempts multiply](#how-many-calls-one-request-can-cost).
//! - Around a dependency that is down or overloaded for hours: use a circuit breaker and a fallback.
//! - Around your own handlers: what fails there fails again.
//! - For callers who can't wait: another attempt takes a wait and a call. A local fallback is quicker.
//! - Against answers whose bodies break off. Only the head is judged; by then the body is the caller's.
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
//! A request is sent again if its result is worth it **and** the request may be sent again.
//!
//! | result | worth it? |
//! |---|---|
//! | 408, 425, 429, 502, 503, 504; gRPC `UNAVAILABLE` | yes, unless excluded by [`HttpClassify::lasting`], [`HttpClassify::lasting_code`] |
//! | gRPC `RESOURCE_EXHAUSTED` | if the server said when to come again |
//! | an error of the transport | yes |
//! | a timeout of our own that ended the call | yes |
//! | 500, 501, 505 and other 5xx; other gRPC codes | only if asked for: [`retry_on`](RetryBuilder::retry_on), [`HttpClassify::transient_code`] |
//! | other statuses | no |
//! | a response that isn't gRPC, to a gRPC call | by the gRPC status that its HTTP status [maps to](https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md): yes for 429, 502, 503, 504 |
//! | a refusal of our own (circuit open, bulkhead full), whatever the judge or a closure says | no |
//! | a request body that failed, or that a call of `TimeoutLayer` waited for most of its time | no |
//! | a 425, if our own caller sent `Early-Data` | no: it is theirs to act upon (RFC 8470 §5.2) |
//! | any, with a negative or unreadable `grpc-retry-pushback-ms`, or with several | no |
//!
//! A gRPC status counts if it is in the headers: a Trailers-Only answer, as servers send when they refuse a call. A status in
//! the trailers isn't waited for: by then the answer is the caller's.
//!
//! [May a request be sent again?](backstop_kit::repeating) has the rule, which is the same in a fallback, and the knobs:
//! [`repeat_if`](RetryBuilder::repeat_if), [`repeat_only_if`](RetryBuilder::repeat_only_if),
//! [`repeat_when`](RetryBuilder::repeat_when), [`trust_idempotency_key`](RetryBuilder::trust_idempotency_key), and the request
//! extension [`Repeat`]. In short:
//!
//! | request | may it be sent again? |
//! |---|---|
//! | GET, HEAD, OPTIONS, TRACE, PUT, DELETE | yes |
//! | POST, PATCH and all others | only if it was certainly not processed, which a stack around a [`client`](backstop_kit::client) [proves](backstop_kit::proof#which-stacks-are-believed): connection refused, `REFUSED_STREAM`, excluded by a GOAWAY, never sent |
//! | of any type, with [`plain`](RetryBuilder::plain) or [`clone_requests`](RetryBuilder::clone_requests) | yes: choosing it says so |
//! | CONNECT, an [upgrade](backstop_kit::RequestFacts::is_upgrade), [`Repeat::Never`] | never |
//! | a retry of an outer tier, by [`attempt_header`](RetryBuilder::attempt_header) | no |
//! | a body longer than [`max_body`](RetryBuilder::max_body), or one that failed while it was read | no |
//! | a body that was still being sent when the server answered | no: another attempt would break the upload off. If the server did that itself, or a timeout of ours ended the call: yes |
//!
//! Every gRPC call is a POST, so say which methods are safe by `repeat_if`, or for each request:
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
//! The judge decides what depends on the result. If a server says in its answer that it has done nothing, any request may
//! be sent again:
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
//! attempt, unless it says otherwise (a refusal of ours, a gRPC code). A closure of your own says so by
//! [`transient`](backstop_core::Outcome::transient): `Outcome::failure()` alone is never repeated.
//! [`plain`](RetryBuilder::plain) chooses all that such a layer needs:
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
//! [the first wait](backstop_core::scope#when-time-begins). An earlier deadline of the [scope](backstop_core::scope) replaces
//! it. Each attempt runs in a scope of its own with that deadline, which a `TimeoutLayer` inside obeys. Only the degradations
//! reported in the returned attempt move up.
//!
//! | if the total passes | then |
//! |---|---|
//! | in a later attempt or its readiness | the attempt is dropped, and the earlier answer or error is returned |
//! | in an attempt without an earlier answer | the attempt goes on: this layer can't make an answer, but `TimeoutLayer` can |
//! | while an answer is [kept](#the-last-answer) for the wait | the earlier answer is returned, or else this one, with the rest of its body as it comes |
//! | in a wait, as on a machine that was asleep | the kept answer is returned; without one, another attempt is made |
//! | before the end of the next wait | the answer is returned at once |
//!
//! There is no earlier answer in the first attempt, nor if the earlier answers [were not kept](#the-last-answer). To limit each
//! attempt, put a `TimeoutLayer` innermost.
//!
//! # Backoff
//!
//! Wait *n* is random, uniform from 0 to min(cap, base · 2ⁿ⁻¹): exponential backoff with full jitter
//! (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). [`Backoff`] has others: equal and
//! decorrelated jitter, a constant wait, and a closure.
//!
//! A delay that the server asks for (`Retry-After` in both forms, `grpc-retry-pushback-ms`) is a minimum: the jitter is added
//! to it. A delay longer than [`max_retry_after`](RetryBuilder::max_retry_after) or than the time left ends the retrying, with
//! that response. Any other delay restarts the backoff: the jitter added to it, and the next wait, are those of *n* = 1
//! ([A6](https://github.com/grpc/proposal/blob/master/A6-client-retries.md), which adds no jitter).
//!
//! # The last answer
//!
//! When attempts or time run out, the last response or error is returned as it was. A response that is to be replaced is read
//! into memory before the wait (32 KiB, 100 ms, see [`KeepReplaced`]), which releases its connection and its permits. It is
//! returned byte for byte if no later attempt gives a better one: if a layer inside refuses the next attempt (an open
//! circuit), if that isn't ready in time, or if the total ends it. A longer response is dropped, and the one kept before it, if
//! any, stays.
//!
//! hyper-util's client takes a connection back in a task of its own. An attempt that begins before that task has run, after
//! almost no wait, may open another connection.
//!
//! A response that took more than one attempt, or that was worth another one, has the extension [`Retried`]: how many attempts
//! there were, and why there were no more.
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
//! | [`repeat_if`](RetryBuilder::repeat_if), [`repeat_only_if`](RetryBuilder::repeat_only_if), [`repeat_when`](RetryBuilder::repeat_when), [`trust_idempotency_key`](RetryBuilder::trust_idempotency_key) | [the rule](backstop_kit::repeating) | |
//! | [`plain`](RetryBuilder::plain) | [`Http`] | |
//! | [`clone_requests`](RetryBuilder::clone_requests), [`copy_requests`](RetryBuilder::copy_requests) | [`HttpCopy`] | |
//! | [`keep_replaced`](RetryBuilder::keep_replaced), [`keep_replaced_by`](RetryBuilder::keep_replaced_by), [`discard_replaced`](RetryBuilder::discard_replaced) | [`KeepReplaced`]: 32 KiB, 100 ms | 0 to 1 GiB; up to 60 s and to the total |
//! | [`error_text`](RetryBuilder::error_text) | the text of the error and its causes | |
//! | [`seed`](RetryBuilder::seed) | random | |
//!
//! [`RetryHandle::reload`] changes them while requests run, except those that it lists. A [`RetryConfig`] holds them as plain
//! data, and can be read from a file.
//!
//! # Where it stands in a stack
//!
//! Outside the circuit breaker, so that the circuit sees every attempt and learns fast; its refusals aren't repeated. Outside
//! the bulkhead, so that a request that waits for its next attempt holds no permit. Outside the timeout, which ends each
//! attempt. Inside the fallback, which gets the result when no attempt helped.
//!
//! # How many calls one request can cost
//!
//! At most `max_attempts`, 3 by default. Tiers multiply: if a gateway, this service and its client library each make 3
//! attempts, one request costs 27 calls. Retry in one tier only, the one next to the failure, and keep a circuit breaker
//! inside. If several tiers must retry, give all of them the same [`attempt_header`](RetryBuilder::attempt_header): a tier
//! then doesn't repeat another tier's retry, and two tiers make 3 + 1 + 1 calls instead of 9. gRPC calls that are sent again
//! always carry `grpc-previous-rpc-attempts` ([A6](https://github.com/grpc/proposal/blob/master/A6-client-retries.md)).
//!
//! The [`RetryBudget`] bounds the retries of all requests together: 20 % of the requests, and 10 a second, unless set. While
//! everything fails, the load on the dependency is 1.2 times the demand, not 3 times; at first there may be up to 200 more
//! retries, which were saved. Each layer in each process has its own budget. With [`no_budget`](RetryBuilder::no_budget), the
//! load is the demand times `max_attempts` until the circuit opens.
//!
//! # Cost
//!
//! A request whose first attempt is returned costs a clone of the inner service, and what [`HttpCopy`] keeps: one allocation for
//! a request without a body and without extensions. A streamed body is wrapped, and recorded as it is read. The clock is read
//! once, when the first attempt waits. Nothing is spawned, no future is boxed, and no timer is made. Requests share one
//! counter, the budget's, and the reference count of the layer. Nothing is kept while the budget is empty, for CONNECT and
//! upgrades, with [`Repeat::Never`], and for another tier's retry. With `max_attempts(1)` requests pass straight through.
//!
//! # Cancellation
//!
//! Dropping the future drops the running attempt, and everything kept of request and answers. No work goes on. An attempt that
//! the total ends is dropped under [`ended_by`](backstop_core::scope::ended_by), so that a circuit breaker inside counts it as
//! a hang.
//!
//! # Features
//!
//! None is on by default. All but the last are those of `backstop-core`.
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | requests and responses with `axum::body::Body` |
//! | `tonic` | requests and responses with `tonic::body::Body`; a `tonic::Status` as an error is judged by its code |
//! | `hyper-util` | behind [`client`](backstop_kit::client), errors of hyper and its client prove that a request was never processed; copies leave out hyper's upgrade handle, which belongs to the first attempt's connection |
//! | `tonic-transport` | the same from the errors of tonic's `Channel` |
//! | `metrics` | the metrics below |
//! | `serde` | a [`RetryConfig`] can be read from a file, and written to one |
//!
//! # Telemetry
//!
//! `tracing` events at `DEBUG`, target `backstop::retry`, with the layer's `name` and the number of the `attempt`. The
//! text of an error is cut to 256 bytes, escaped, and stripped of secrets in URLs. Nothing else of the request is logged:
//!
//! | event | further fields |
//! |---|---|
//! | the request will be sent again | `error`: the text of the error, if any; `delay_ms`; `reason`: what went wrong, such as `status-503`, `grpc-14`, `timeout`, `error` |
//! | the request won't be sent again | `error`; `reason`: `not-transient`, or `refused` by a layer inside, if the result wasn't worth it; else `max-attempts`, `not-idempotent` (also of a connection that was refused to a client without [`client`](backstop_kit::client)), `upgrade`, `outer-tier`, `early-data`, `server-said-stop`, `server-delay`, `no-time-left`, `budget`, `uploading`, or `not-replayable` with its `detail` |
//! | the total passed during the first attempt, logged when that fails or is dropped | `total_ms` |
//! | an earlier attempt's answer is returned | `reason`: `refused`, `total-passed`; one of those above if the last attempt was never sent |
//!
//! Each attempt has a span `attempt` at `DEBUG`, with the same target. It is open from the call to the response, and is entered
//! while the attempt runs, so what is logged inside belongs to it. There is none with `max_attempts(1)` or [`Repeat::Never`].
//! Without a subscriber that wants it, it costs one comparison.
//!
//! | field of the span | value |
//! |---|---|
//! | `otel.kind` | `client` |
//! | `name` | the layer's |
//! | `attempt` | the number of the attempt, from 1 |
//! | `http.request.resend_count` | how often the request was sent before; only of later attempts, and only for HTTP |
//! | `outcome` | what the attempt counts as: `success`, `neutral` or `failure` |
//! | `reason` | why it was no success, as in the events; `dropped` if it was dropped before it ended |
//! | `otel.status_code` | `ERROR` for a failure |
//!
//! With the feature `metrics`, through the facade of that name, with the reasons of the events:
//!
//! | counter | labels | counts |
//! |---|---|---|
//! | `retry_requests_total` | `name` | requests, also those that are never repeated: the denominator of the others |
//! | `retry_attempts_total` | `name`, `reason`: what went wrong | attempts beyond the first, when they are planned |
//! | `retry_skipped_total` | `name`, `reason`: a [`StopReason`] | returned results that are no success |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod attempt_span;
mod backoff;
mod config;
mod count_attempts;
mod function;
mod future;
mod handle;
mod inspect;
mod layer;
mod layer_state;
mod metrics;
mod planner;
mod reloadable_settings;
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
    CallError, CloneCopy, DiscardReplaced, Http, HttpCopy, KeepReplaced, Plain, Repeat, RepeatIf, RepeatRule,
    RetryBudget, RetryBudgetBuilder, RetryBudgetConfig,
};

pub use backoff::{Backoff, BackoffFn};
pub use config::{Budget, RetryBuilder, RetryConfig};
pub use count_attempts::CountAttempts;
pub use function::{RetryCall, RetryFunctions};
pub use future::RetryFuture;
pub use handle::RetryHandle;
pub use layer::RetryLayer;
#[cfg(feature = "metrics")]
pub use metrics::describe_metrics;
pub use report::{Retried, StopReason};
pub use service::Retry;
