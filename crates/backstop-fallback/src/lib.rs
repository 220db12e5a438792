//! Answers with the next best source when a service fails.
//!
//! A dependency that is down doesn't have to take its callers down. Yesterday's prices, everybody's favourites instead of yours,
//! or a plain list are better than an error page, if the caller is told. [`FallbackLayer`] puts a chain of providers behind a
//! service, the primary. If the primary fails, is slow, or isn't ready, the providers are asked in turn, within one time limit,
//! and the first answer is returned. The layer records a [`Degradation`], which the layer of `backstop-degradation-header`
//! writes into response headers.
//!
//! With that layer or without, an HTTP answer that is degraded, or stale of unknown age, has `Cache-Control: no-store` and no
//! validators, and a stale one has its true `Age`. [`FallbackChain`] does the same in a handler, without HTTP; there, only the
//! layer of `backstop-degradation-header` tells caches.
//!
//! # When not to use it
//!
//! - Where a wrong answer is worse than none: a balance, a permission, a dose.
//! - Where the fallback depends on what has failed. A cache behind the same network, or a second call to the same overloaded
//!   database, fails with it, or makes it worse.
//! - To hide a bug. A fallback that is always active is an outage that nobody sees: watch the
//!   [activations](#what-an-operator-sees), and [exercise](#exercising-it) a fallback that is never active.
//! - For work that must be done, such as a payment, unless every provider may be asked after another: see
//!   [side effects](#side-effects).
//!
//! # An example
//!
//! ```
//! # #[cfg(feature = "axum")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use axum::{Router, body::Body, http::{Request, StatusCode}, routing::get};
//! use backstop_core::name;
//! use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
//!
//! let instead = FallbackChain::builder("recommendations")
//!     .total(Duration::from_millis(800))
//!     .provider(Provider::handler(name!("bestsellers"), || async { "the usual" }))
//!     .build()?;
//!
//! let app: Router = Router::new()
//!     .route("/", get(|| async { StatusCode::SERVICE_UNAVAILABLE }))
//!     .layer(FallbackLayer::new(name!("ml_service"), instead));
//!
//! # use tower::ServiceExt;
//! let response = app.oneshot(Request::new(Body::empty())).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "axum"))]
//! # fn main() {}
//! ```
//!
//! # What is an answer
//!
//! | result | of the primary | of a later provider |
//! |---|---|---|
//! | 1xx, 2xx, 3xx; gRPC `OK` | answer | answer |
//! | among those, behind a layer: 1xx, 206, 304 | answer | next provider: its copy of the request has no upgrade, no range and no condition of a read |
//! | 404 and other 4xx that blame the caller; gRPC codes that do | answer, but for [`fall_back_on`](FallbackBuilder::fall_back_on) | next provider: a cache that answers 404 is a miss |
//! | 408, 425, 429; gRPC `RESOURCE_EXHAUSTED` | next provider; a 425 is the caller's own where it came as early data (RFC 8470 §5.2) | next provider |
//! | 5xx; other gRPC codes; any error; a refusal of a layer further in | next provider | next provider |
//! | not ready, or no answer, in its time | next provider | next provider |
//! | a rejection that [ends the chain](backstop_core::Outcome::ends_chain) | answer | answer |
//! | any failure, because the request's body failed | answer: no other provider could do better | next provider |
//! | no answer in its time, most of which it waited for the request's body | the chain ends with a 408 of its own | next provider |
//!
//! The last row has a limit: in a bidirectional gRPC stream, a client that waits for the server's next message sends nothing
//! either. If the server hangs in such a call, the caller looks slow, and no provider is asked.
//!
//! [`HttpClassify`] judges so; [`classify_fn`](FallbackBuilder::classify_fn) replaces it. In a handler's chain,
//! [`ResultClassify`](backstop_core::ResultClassify) judges: every `Ok` is an answer, and errors are judged as above. There,
//! [`FallbackChainBuilder::classify_fn`] replaces it. A refusal of a layer inside is judged before any closure is asked.
//!
//! | | in a layer | in a handler |
//! |---|---|---|
//! | the primary's response or error that blames the request | the answer, as it was | [`AllProvidersFailed`] that holds this error alone and [says so](AllProvidersFailed::is_callers_fault); a [fail-safe](FailSafeChain) chain gives its default |
//!
//! In both cases no other provider is asked. The [classifier](FallbackChainBuilder::classify_fn) says which errors blame the
//! request; a `tonic::Status` does by its code.
//!
//! # When all fail
//!
//! The caller gets the primary's result, response or error. The body of a response is kept for that, up to 32 KiB, while the
//! providers are asked; if it is still coming when the total passes, it is passed on as it comes. If the primary gave nothing in
//! its time, the caller gets a rejection, a 503. Its extension [`AllProvidersFailed`] lists each provider and its reason, and
//! [`problem_details`](FallbackBuilder::problem_details) adds a body with the same. Its `Retry-After` is the shortest remaining
//! wait that a provider asked for. A handler that asks a chain gets `AllProvidersFailed` as its error, which with the feature
//! `axum` is that same response.
//!
//! # Time
//!
//! | limit | default | |
//! |---|---|---|
//! | [`total`](FallbackChainBuilder::total) | 5 s | for the primary and all providers, from [the first wait](backstop_core::scope#when-time-begins) on; the deadline of the [scope](backstop_core::scope) where that is earlier |
//! | a share | | provider *i* of *n* has what is left ÷ the providers left, as its scope's deadline, and is ended there |
//! | [`Provider::timeout`], [`primary_timeout`](FallbackBuilder::primary_timeout) | none | where it is shorter than the share |
//!
//! Time that an early provider doesn't use goes to the later ones. The last one has all that is left. Every provider is polled
//! at least once, so that a provider without I/O always answers.
//!
//! With a total of 800 ms, a primary and three providers: the primary has 200 ms. If it fails after 20 ms, the next one has 260.
//! If that hangs, the third has 260 ms, and the last what is left.
//!
//! # Side effects
//!
//! A request that isn't safe to repeat, and that the primary or an earlier provider may have processed, goes only to providers
//! marked [`even_if_processed`](Provider::even_if_processed). [May a request be sent again?](backstop_kit::repeating) has the
//! rule, which is the same in a retry, and the knobs: [`repeat_if`](FallbackChainBuilder::repeat_if),
//! [`repeat_only_if`](FallbackChainBuilder::repeat_only_if), [`repeat_when`](FallbackChainBuilder::repeat_when),
//! [`trust_idempotency_key`](FallbackChainBuilder::trust_idempotency_key), and the request extension [`Repeat`].
//!
//! | chain | safe to repeat, unless told otherwise |
//! |---|---|
//! | behind a [`FallbackLayer`] | requests with an idempotent method (RFC 9110 §9.2.2) |
//! | behind one with [`clone_requests`](FallbackBuilder::clone_requests) or [`plain`](FallbackBuilder::plain) | **all** requests |
//! | in a [handler](FallbackChain::execute) | **all** requests, even an `http::Request` with the method `POST` |
//!
//! What proves that a request was not processed:
//!
//! - an open circuit, a full bulkhead, or a refused connection behind [`client`](backstop_kit::client), if it comes from the
//!   very call that was made, through a stack of layers around a client.
//!   [This table](backstop_kit::proof#which-stacks-are-believed) says of each stack whether it is believed. A handler, a
//!   function, a spawned task, a service behind a `Buffer` or after another step never is.
//! - that a provider gets nothing of the request, as [`Provider::value`], or is marked [`only_reads`](Provider::only_reads).
//!
//! What doesn't prove it: a time limit that passed, a 5xx, a lost connection, a body that broke off, an error of your own, or
//! that a provider gets only the head, as [`Provider::head`]: a `DELETE` has nothing else.
//!
//! A provider that isn't asked for this reason has the reason `not-eligible`, and its [`error`](ProviderFailure::error) names
//! what would change that. **Behind a gRPC server or a `POST` route** that is every provider, because the service is a handler,
//! and only you know what its calls do:
//!
//! ```
//! # type Request = http::Request<String>;
//! # type Response = http::Response<String>;
//! # async fn cached(_: Request) -> Response { Response::default() }
//! # async fn enqueue(_: Request) -> Response { Response::default() }
//! use backstop_fallback::{FallbackChain, FallbackLayer, Provider, name};
//!
//! // gRPC: every call is a `POST`, and only you know which ones are safe to repeat, because they only read.
//! let quotes: FallbackChain<Request, Response> = FallbackChain::builder("quotes")
//!     .repeat_if(|request: &Request| request.uri().path() == "/shop.Quotes/Get")
//!     .provider(Provider::from_fn(name!("replica"), cached))
//!     .build()?;
//! let layer = FallbackLayer::new(name!("quotes_service"), quotes);
//!
//! // A `POST` that writes: the queue is right in any case, even if the order has already been placed.
//! let orders: FallbackChain<Request, Response> = FallbackChain::builder("orders")
//!     .provider(Provider::from_fn(name!("queue"), enqueue).even_if_processed())
//!     .build()?;
//! # _ = (layer, orders);
//! # Ok::<(), backstop_fallback::ConfigError>(())
//! ```
//!
//! A payment is charged, else queued, and never charged twice by accident:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::io;
//! use axum::{body::Body, http::{Request, Response, StatusCode}, response::IntoResponse};
//! use backstop_kit::client;
//! use backstop_fallback::{FallbackChain, FallbackLayer, Provider, name};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # async fn charge(_: Request<Body>) -> Response<Body> { StatusCode::CREATED.into_response() }
//! # async fn enqueue(_: Request<Body>) -> Response<Body> { StatusCode::ACCEPTED.into_response() }
//! // Charges elsewhere: only if it is certain that nothing has been charged.
//! let elsewhere = Provider::from_fn(name!("second_acquirer"), charge);
//! // Notes that somebody must look at it: right in any case.
//! let queue = Provider::from_fn(name!("queue"), enqueue).even_if_processed();
//! let chain = FallbackChain::builder("payments").provider(elsewhere).provider(queue).build()?;
//! let layer = FallbackLayer::new(name!("acquirer"), chain);
//!
//! for (error, status) in [
//!     (io::ErrorKind::ConnectionRefused, StatusCode::CREATED), // nothing was sent: charged elsewhere
//!     (io::ErrorKind::ConnectionReset, StatusCode::ACCEPTED), // perhaps charged, the answer lost: queued
//! ] {
//!     // `client` is directly around a client, and believes what its errors prove.
//!     let acquirer = client(service_fn(move |_| async move { Err::<Response<Body>, _>(io::Error::from(error)) }));
//!     let payment = Request::post("/payments").body(Body::from("9.99"))?;
//!     assert_eq!(layer.layer(acquirer).oneshot(payment).await?.status(), status);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! In a handler the chain can't see that a payment is one, so tell it:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::io;
//! use backstop_kit::client;
//! use backstop_fallback::{FallbackChain, Provider, name};
//! use tower::service_fn;
//!
//! #[derive(Clone)]
//! struct Payment {
//!     cents: u64,
//! }
//!
//! # async fn charge(payment: Payment) -> Result<&'static str, io::Error> { assert!(payment.cents > 0); Ok("charged") }
//! # async fn enqueue(_: Payment) -> Result<&'static str, io::Error> { Ok("queued") }
//! for (error, answer) in [(io::ErrorKind::ConnectionRefused, "charged"), (io::ErrorKind::ConnectionReset, "queued")] {
//!     let acquirer = client(service_fn(move |_| async move { Err::<&str, _>(io::Error::from(error)) }));
//!     let payments = FallbackChain::<Payment, &str>::builder("payments")
//!         .repeat_only_if(|_| false)
//!         .provider(Provider::service(name!("acquirer"), acquirer))
//!         .provider(Provider::from_fn(name!("second_acquirer"), charge))
//!         .provider(Provider::from_fn(name!("queue"), enqueue).even_if_processed())
//!         .build()?;
//!     assert_eq!(payments.execute(Payment { cents: 999 }).await?.value, answer);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Pass the payment to such providers in the request, as here. A [`Provider::value`] that has it from elsewhere counts as having
//! processed nothing.
//!
//! `CONNECT` and [upgrades](backstop_kit::RequestFacts::is_upgrade) bypass the chain: they are about their connection. The total
//! also limits the wait for the head of their answers, and ends it with a 504. Each is a `DEBUG` event with the `reason`
//! `upgrade`. `Connection: upgrade` alone, and `Upgrade: h2c`, are no upgrades: they name no protocol that a server could
//! switch to.
//!
//! # Bodies that break off
//!
//! Normally the head of an answer is enough. An upstream that sends 200 and then dies or hangs has failed all the same.
//! [`commit_on`](FallbackChainBuilder::commit_on) waits for the first frame of the body, or for all of a small body, and holds
//! that much back.
//!
//! # Storms
//!
//! When the primary fails, all of its traffic falls on the next provider at once. [`concurrency`](Provider::concurrency) limits
//! how many requests a provider has at a time. The others go on to the next provider at once. The last provider should need no
//! limit.
//!
//! # Exercising it
//!
//! [`FallbackHandle::force`] sends a share of the traffic to a provider though the primary is well, so that a broken fallback is
//! noticed before it is needed. Only requests that are [safe to repeat](#side-effects) are forced.
//!
//! A [`Drill`] asks the providers in the shadow of the primary, now and then, on an executor that you pass: no caller waits for
//! them or sees their answers.
//!
//! [`FallbackHandle::status`] shows when each provider [last answered](FallbackStatus::last_proven), and who asked it. Each instance
//! knows its own: alert on the greatest date of the fleet.
//!
//! In a test, or when the service starts, [`FallbackChain::prove_each_provider`] asks each provider of a handler's chain once, and
//! [`FallbackLayer::prove_each_provider`] each one of a layer's.
//!
//! # In a stack
//!
//! Outside all that protects the primary (retry, circuit breaker, timeout), and inside the degradation headers. The layer is
//! always ready itself. If the primary is ready, it is called at once. If not, a clone of it is made ready in the future, within
//! the primary's share of the time. So `S: Clone` is needed.
//!
//! # Cancellation
//!
//! Dropping the future drops the running call of the primary or a provider. A call that reaches the end of its share of the time
//! is dropped under [`ended_by`](backstop_core::scope::ended_by), so that a circuit breaker inside counts it.
//!
//! # Knobs
//!
//! | knob | default | allowed |
//! |---|---|---|
//! | [`FallbackChainBuilder::total`] | 5 s | more than 0 s, up to 24 h |
//! | [`FallbackChainBuilder::commit_on`] | [`Commit::Headers`] | `max_bytes`: 1 byte to 1 GiB |
//! | [`FallbackChainBuilder::classify_fn`], in handlers | every `Ok` is an answer | |
//! | [`FallbackChainBuilder::fail_safe`], in handlers | no default | |
//! | [`FallbackChainBuilder::catch_panics`] | panics propagate | |
//! | [`Provider::timeout`], [`FallbackBuilder::primary_timeout`] | its share | more than 0 s, up to the total |
//! | [`Provider::concurrency`] | no bound | 1 request or more |
//! | [`Provider::only_when`] | asked for every reason | |
//! | [`Provider::only_if`] | always asked | on the last provider only beside [`even_if_last`](Provider::even_if_last) |
//! | [`FallbackChainBuilder::repeat_if`], [`repeat_only_if`](FallbackChainBuilder::repeat_only_if), [`repeat_when`](FallbackChainBuilder::repeat_when), [`trust_idempotency_key`](FallbackChainBuilder::trust_idempotency_key) | [the rule](backstop_kit::repeating); in handlers every request may be repeated | |
//! | [`Provider::even_if_processed`] | not asked if the request may have been processed | |
//! | [`Provider::only_if_processed`] | asked also if the request certainly wasn't processed | |
//! | [`Provider::only_reads`] | may process requests | |
//! | [`Provider::freshness`], [`Provider::freshness_of`] | [`Freshness::Degraded`] | |
//! | [`FallbackBuilder::fall_back_on`] | only the failures | |
//! | [`FallbackBuilder::classify`] | [`HttpClassify`] | |
//! | [`FallbackBuilder::plain`] | [`Http`] | |
//! | [`FallbackBuilder::copy_requests`] | [`HttpCopy`]: bodies up to 64 KiB | 0 to 1 GiB |
//! | [`FallbackBuilder::keep_replaced`], [`FallbackBuilder::keep_replaced_by`] | [`KeepReplaced`]: bodies up to 32 KiB, for up to 100 ms | 0 to 1 GiB; up to 60 s and to the chain's total |
//! | [`FallbackBuilder::problem_details`] | a 503 without a body | |
//! | [`FallbackHandle::force`] | no provider | a share of 0 to 1 |
//! | [`FallbackLayer::with_drill`], [`FallbackChain::with_drill`] | no drills | |
//! | [`Drill::every`] | 10 s | 1 s to 24 h |
//!
//! The total, the timeouts, `concurrency` and the time between drills can come from a file, as a [`FallbackConfig`], and be
//! [reloaded](FallbackHandle::reload) while requests run.
//!
//! # What an operator sees
//!
//! ## In logs
//!
//! Degraded answers are logged as *episodes*, under the target `backstop::fallback`: an outage is a few lines, however many
//! requests it hits. An episode begins with the first degraded answer, or the first request without any answer. It ends with
//! the first fresh answer at least 1 min after the last degraded one. If the next episode begins within 10 min, that minute
//! doubles, up to 10 min.
//!
//! | level | when | fields |
//! |---|---|---|
//! | `WARN` | an episode begins | `chain`, `provider`, `position`, `reason`, `freshness`, `latency_ms`, `error` |
//! | `WARN` | for the first time in an episode, no provider answers | `chain`, `failed` (each provider and its reason), `error`, `not_eligible` |
//! | `WARN` | the last minute's degraded share is at least 5 %, and four times that of the last line | `chain`, `calls`, `degraded`, `exhausted`, `last_minute`, `duration_ms` |
//! | `INFO` | an episode goes on: after 1 min, then 2, 4, … 32 min later, then hourly | the same |
//! | `INFO` | it ends | the same; `duration_ms` is the time until the last degraded answer, which was `since_ms` ago |
//! | `WARN` | 10 requests failed, and no provider has ever been [eligible](#side-effects): once | `chain` |
//! | `WARN` | a [forced](#exercising-it) provider had no answer: once per call of `force` | `chain`, `provider`, `reason`, `error` |
//! | `WARN` | a provider didn't answer a [drill](Drill), but did before, or was never drilled | `chain`, `provider`, `reason`, `error` |
//! | `INFO` | it answers drills again | `chain`, `provider` |
//! | `DEBUG` | any other drill, and one that was skipped | `chain`, `provider`, `reason`, `error` |
//! | `DEBUG` | any other degraded answer, exhaustion, or forced provider without an answer | as above |
//!
//! There is no timer: the next call after a line is due writes it. `error` is the text of the primary's error, or says
//! which limit passed or which layer refused. It is cut, escaped, and
//! stripped of secrets in URLs: see [`error_text`](FallbackChainBuilder::error_text). Nothing else of a request is logged.
//! Answers of forced providers belong to no episode. [`FallbackHandle::status`] shows the running episode. Alert on the share of
//! degraded answers in the metrics, not on episodes.
//!
//! ## In metrics
//!
//! With the feature `metrics`:
//!
//! | metric | labels | measures |
//! |---|---|---|
//! | `fallback_activations_total` | `chain_name`, `provider_name` | answers of other providers than the primary |
//! | `fallback_latency_seconds` | `chain_name`, `provider_name` | the time of every answer, the primary's included: its count is the denominator of shares |
//! | `fallback_exhausted_total` | `chain_name` | requests that no provider answered |
//! | `fallback_degraded_since_seconds` | `chain_name` | when the running [episode](#in-logs) began, as Unix time; 0 while none runs |
//! | `fallback_last_proven_seconds` | `chain_name`, `provider_name` | when the provider [last answered](FallbackStatus::last_proven), as Unix time; absent until it has |
//! | `fallback_drills_total` | `chain_name`, `provider_name`, `result` | [drills](Drill): `answered`, `failed`, `skipped`, `interrupted` by a live request |
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | [`Provider::handler`], the copying and keeping of axum's bodies, and `IntoResponse` for [`AllProvidersFailed`] |
//! | `metrics` | the metrics above, through the facade of that name |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod after_primary;
mod answer;
mod chain;
mod commit;
mod concurrency;
mod config;
mod control;
mod drill;
mod eligibility;
mod exhausted;
mod fail_safe;
mod forced;
mod forced_first;
mod found;
mod future;
mod handle;
mod inspect;
mod layer;
mod layer_state;
mod metrics;
mod miss;
mod panics;
mod prove;
mod proven;
mod provider;
mod provider_call;
mod request_state;
mod result;
#[cfg(feature = "axum")]
mod routed;
mod service;
mod share;
mod telemetry;
mod walk;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backstop_core::{ConfigError, Degradation, Freshness, HttpClassify, Name, Reason, Rejection, name};
pub use backstop_kit::{
    Answer, CloneCopy, DiscardReplaced, Http, HttpCopy, HttpReject, KeepReplaced, Plain, ProblemDetails, Repeat,
    RepeatRule, RequestFacts,
};

pub use answer::{BoxError, IntoAnswer};
pub use chain::{FallbackChain, FallbackChainBuilder, FallbackConfig, ProviderConfig};
pub use commit::Commit;
pub use config::FallbackBuilder;
pub use control::Forcing;
pub use drill::{Drill, DrillRun};
pub use exhausted::{AllProvidersFailed, ProviderFailure};
pub use fail_safe::{FailSafeBuilder, FailSafeChain};
pub use future::FallbackFuture;
pub use handle::{DegradedEpisode, FallbackHandle, FallbackStatus, RecentCalls};
pub use layer::FallbackLayer;
#[cfg(feature = "metrics")]
pub use metrics::describe_metrics;
pub use prove::UnprovenProviders;
pub use proven::{LastProven, ProvenBy};
pub use provider::Provider;
pub use result::FallbackResult;
pub use service::Fallback;
