//! Answers with the next best source when a service fails.
//!
//! A dependency that is down needn't take its callers down: yesterday's prices, everybody's favourites instead of yours,
//! or a plain list are better than an error page, if the caller is told. [`FallbackLayer`] puts a chain of providers
//! behind a service, its primary. When the primary fails, is slow, or isn't even ready, they are asked in turn, all
//! within one time limit, and the first answer is given. What was given instead is recorded as a
//! [`Degradation`], which the layer of `backstop-degradation-header` turns into response
//! headers. With that layer or without, an HTTP answer that is degraded, or stale of unknown age, leaves with
//! `Cache-Control: no-store` and without validators, and a stale one with its true `Age`. [`FallbackChain`] does the same in
//! a handler, without HTTP; there, caches are told by that layer alone.
//!
//! # When not to use it
//!
//! - Where a wrong answer is worse than none: a balance, a permission, a dose.
//! - Where the fallback depends on what has failed. A cache behind the same network, or a second call to the same
//!   overloaded database, fails with it, or makes it worse.
//! - To hide a bug. A fallback that is always active is an outage that nobody sees: watch the
//!   [activations](#what-an-operator-sees), and [exercise](#exercising-it) what is never active.
//! - For work that must be done, such as a payment, unless every provider is safe to be asked after another: see
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
//! | any failure, because the request's body failed | answer: no other provider could do better | next provider |
//! | no answer in its time, most of which it waited for the request's body | the chain ends with a 408 of its own | next provider |
//!
//! The last row has a limit: in a gRPC call that streams both ways, a client that waits for the server's next message sends
//! nothing either. A server that hangs in such a call looks like a caller that is slow, and no provider is asked.
//!
//! The table is [`HttpClassify`]'s judgement. Another one is chosen by
//! [`classify_fn`](FallbackBuilder::classify_fn). In a handler's chain every `Ok` is an answer, and errors are judged as above,
//! unless it has a [`classify_fn`](FallbackChainBuilder::classify_fn) of its own: that is
//! [`ResultClassify`](backstop_core::ResultClassify). A refusal of a layer further in is judged before any closure is asked.
//!
//! | | in a layer | in a handler |
//! |---|---|---|
//! | the primary's response or error that blames the request | the answer, as it was | [`AllProvidersFailed`] that holds this error alone and [says so](AllProvidersFailed::is_callers_fault); a [fail-safe](FailSafeChain) chain gives its default |
//!
//! In both, nobody else is asked then. Which errors do is for the
//! [classifier](FallbackChainBuilder::classify_fn) to say; a `tonic::Status` says so by its code.
//!
//! # When all fail
//!
//! The caller gets what the primary gave, response or error: its body is kept for that, up to 32 KiB, beside the providers
//! and within their time; one that is still coming when the total passes is passed on as it comes. If the primary gave
//! nothing in its time, the caller gets a rejection, a 503: as an extension it carries [`AllProvidersFailed`], which lists
//! each provider and its reason, and [`problem_details`](FallbackBuilder::problem_details) gives it a body that tells the
//! same. Its `Retry-After` is the shortest wait that is left of those that the providers asked for. A handler that asks a
//! chain gets `AllProvidersFailed` as its error, which with the feature `axum` is that same response.
//!
//! # Time
//!
//! | limit | default | |
//! |---|---|---|
//! | [`total`](FallbackChainBuilder::total) | 5 s | for the primary and all providers, from [the first wait](backstop_core::scope#when-time-begins) on; the deadline of the [scope](backstop_core::scope) where that is earlier |
//! | a share | | provider *i* of *n* has what is left ÷ the providers left, as its scope's deadline, and is ended there |
//! | [`Provider::timeout`], [`primary_timeout`](FallbackBuilder::primary_timeout) | none | where it is shorter than the share |
//!
//! What an early provider doesn't use, the later ones have. The last one has all that is left, and every one is polled at
//! least once, so that a provider without I/O always answers.
//!
//! With a total of 800 ms, a primary and three providers: the primary has 200 ms. If it fails after 20 ms, the next one
//! has 260, and if that hangs, the third has 260, and the last what is left.
//!
//! # Side effects
//!
//! A request that isn't safe to repeat, and that the primary or an earlier provider may have processed, isn't given to
//! another provider, unless that is marked [`even_if_processed`](Provider::even_if_processed).
//!
//! | chain | requests that are safe to repeat, unless told otherwise | told by |
//! |---|---|---|
//! | behind a [`FallbackLayer`] | those of an idempotent method (RFC 9110 §9.2.2) | the extension [`Repeat`], [`repeat_only_if`](FallbackChainBuilder::repeat_only_if) |
//! | behind one with [`clone_requests`](FallbackBuilder::clone_requests) | **all** | [`repeat_only_if`](FallbackChainBuilder::repeat_only_if) |
//! | in a [handler](FallbackChain::execute) | **all**, an `http::Request` of any method too | [`repeat_only_if`](FallbackChainBuilder::repeat_only_if) |
//!
//! An open circuit, a full bulkhead, or a refused connection of what [`client`](backstop_kit::client) marks as a client proves
//! that nothing was processed, where it comes from the very call that was made: from a stack of layers around a client, and
//! never from a handler, a function, a spawned task, behind a `Buffer`, or after another step.
//! [This table](backstop_kit::proof#which-stacks-are-believed) says of each stack whether it is believed. Being given nothing of
//! the request is proof as well, as [`Provider::value`] is, and your word that a provider [`only_reads`](Provider::only_reads). A time limit that passed, a
//! 5xx, a lost connection, a body that broke off and an error of your own prove nothing. Nor does being given the head alone,
//! as [`Provider::head`] is: of a `DELETE` that is all there is.
//!
//! A provider that isn't asked for this reason has the reason `not-eligible`, and its
//! [`error`](ProviderFailure::error) names what would change that. **Behind a gRPC server or a `POST` route** that is every
//! provider, because the service is a handler, whose calls nobody but you knows:
//!
//! ```
//! # type Request = http::Request<String>;
//! # type Response = http::Response<String>;
//! # async fn cached(_: Request) -> Response { Response::default() }
//! # async fn enqueue(_: Request) -> Response { Response::default() }
//! use backstop_fallback::{FallbackChain, FallbackLayer, Provider, Repeat, name};
//! use tower::ServiceBuilder;
//!
//! // gRPC: every call is a `POST`, and only you know which ones merely read. Those are safe to repeat.
//! let quotes: FallbackChain<Request, Response> =
//!     FallbackChain::builder("quotes").provider(Provider::from_fn(name!("replica"), cached)).build()?;
//! let stack = ServiceBuilder::new()
//!     .map_request(|mut request: Request| {
//!         if request.uri().path() == "/shop.Quotes/Get" {
//!             request.extensions_mut().insert(Repeat::Safe);
//!         }
//!         request
//!     })
//!     .layer(FallbackLayer::new(name!("quotes_service"), quotes));
//!
//! // A `POST` that writes: the queue is right in any case, also where the order has been placed already.
//! let orders: FallbackChain<Request, Response> = FallbackChain::builder("orders")
//!     .provider(Provider::from_fn(name!("queue"), enqueue).even_if_processed())
//!     .build()?;
//! # _ = (stack, orders);
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
//! // Charges elsewhere, and so only if it is certain that nothing has been charged.
//! let elsewhere = Provider::from_fn(name!("second_acquirer"), charge);
//! // Writes down that somebody must look at it, which is right in any case.
//! let queue = Provider::from_fn(name!("queue"), enqueue).even_if_processed();
//! let chain = FallbackChain::builder("payments").provider(elsewhere).provider(queue).build()?;
//! let layer = FallbackLayer::new(name!("acquirer"), chain);
//!
//! for (error, status) in [
//!     (io::ErrorKind::ConnectionRefused, StatusCode::CREATED), // nothing was sent: charged elsewhere
//!     (io::ErrorKind::ConnectionReset, StatusCode::ACCEPTED), // perhaps charged, the answer lost: queued
//! ] {
//!     // `client` believes what the error of a client proves: it stands directly around one.
//!     let acquirer = client(service_fn(move |_| async move { Err::<Response<Body>, _>(io::Error::from(error)) }));
//!     let payment = Request::post("/payments").body(Body::from("9.99"))?;
//!     assert_eq!(layer.layer(acquirer).oneshot(payment).await?.status(), status);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! In a handler the chain must be told, since it can't see that a payment is one:
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
//! Give such providers the payment by the request, as here: a [`Provider::value`] that has it from elsewhere counts as having
//! done nothing with it.
//!
//! `CONNECT` and [upgrades](backstop_kit::RequestFacts::is_upgrade) pass by the chain: they are about their connection. The
//! total holds for the head of their answers too, and ends them with a 504. Each is a `DEBUG` event with the `reason`
//! `upgrade`. `Connection: upgrade` alone, or `Upgrade: h2c`, asks for nothing that a server could switch to: such requests are
//! as any other.
//!
//! # Bodies that break off
//!
//! An answer is taken for one when its head has come. An upstream that sends 200 and then dies or hangs has failed all the
//! same: [`commit_on`](FallbackChainBuilder::commit_on) waits for the first frame of the body, or for all of a small one,
//! and holds back that much.
//!
//! # Storms
//!
//! When the primary fails, all of its traffic falls on the next provider at once.
//! [`concurrency`](Provider::concurrency) bounds how many requests may be in one; those beyond go on to the next, at
//! once. Let the last one be one that any number may be in.
//!
//! # Exercising it
//!
//! [`FallbackHandle::force`] sends a share of the traffic to a provider though the primary is well, so that a fallback
//! which doesn't work is known before it is needed. Requests that aren't [safe to repeat](#side-effects) are never forced.
//!
//! # In a stack
//!
//! Outside whatever protects the primary (retry, circuit breaker, timeout), and inside the degradation headers. The layer
//! is always ready itself. A primary that is ready by then is called at once; else a clone of it is made ready in the
//! future, within the primary's share of the time, so `S: Clone` is needed.
//!
//! # Cancellation
//!
//! Dropping the future drops the primary's call, or the provider's that is running. A call that its share of the time
//! ends is dropped under [`ended_by`](backstop_core::scope::ended_by), so that a circuit breaker further in counts it.
//!
//! # Knobs
//!
//! | knob | default | allowed |
//! |---|---|---|
//! | [`FallbackChainBuilder::total`] | 5 s | more than 0 s, up to 24 h |
//! | [`FallbackChainBuilder::commit_on`] | [`Commit::Headers`] | `max_bytes`: 1 byte to 1 GiB |
//! | [`FallbackChainBuilder::classify_fn`], in handlers | every `Ok` is an answer | |
//! | [`FallbackChainBuilder::fail_safe`], in handlers | no default | |
//! | [`Provider::timeout`], [`FallbackBuilder::primary_timeout`] | its share | more than 0 s, up to the total |
//! | [`Provider::concurrency`] | no bound | 1 request or more |
//! | [`Provider::only_when`] | asked whatever the primary failed of | |
//! | [`FallbackChainBuilder::repeat_only_if`] | the method's word; in handlers every request may be repeated | |
//! | [`Provider::even_if_processed`] | not asked then | |
//! | [`Provider::only_reads`] | may have processed what it was given | |
//! | [`Provider::freshness`], [`Provider::freshness_of`] | [`Freshness::Degraded`] | |
//! | [`FallbackBuilder::fall_back_on`] | no status but the failures | |
//! | [`FallbackBuilder::classify`] | [`HttpClassify`] | |
//! | [`FallbackBuilder::plain`] | [`Http`] | |
//! | [`FallbackBuilder::copy_requests`] | [`HttpCopy`]: bodies up to 64 KiB | 0 to 1 GiB |
//! | [`FallbackBuilder::keep_replaced`], [`FallbackBuilder::keep_replaced_by`] | [`KeepReplaced`]: bodies up to 32 KiB, for up to 100 ms | 0 to 1 GiB; up to 60 s and to the chain's total |
//! | [`FallbackBuilder::problem_details`] | a 503 without a body | |
//! | [`FallbackHandle::force`] | nobody | a share of 0 to 1 |
//!
//! # What an operator sees
//!
//! ## In logs
//!
//! Degraded answers are logged as *episodes*, under the target `backstop::fallback`: an outage is a few lines, however
//! many requests it hits. An episode begins with the first degraded answer, or the first request that nobody answered,
//! while none runs. It ends with the first fresh answer at least 1 min after the last degraded one. If the next episode
//! begins within 10 min, that minute doubles, up to 10 min.
//!
//! | level | when | fields |
//! |---|---|---|
//! | `WARN` | an episode begins | `chain`, `provider`, `position`, `reason`, `freshness`, `latency`, `error` |
//! | `WARN` | for the first time in an episode, nobody answers | `chain`, `failed` (each provider and its reason), `error`, `not_eligible` |
//! | `WARN` | the last minute's share is at least 5 %, and four times that of the last line | `chain`, `calls`, `degraded`, `exhausted`, `last_minute`, `duration` |
//! | `INFO` | an episode goes on: after 1 min, then 2, 4, … 32 min later, then hourly | the same |
//! | `INFO` | it ends | the same |
//! | `WARN` | 10 requests failed, and no provider has ever been [eligible](#side-effects): once | `chain` |
//! | `WARN` | a [forced](#exercising-it) provider had no answer: once for each time that one is forced | `chain`, `provider`, `reason`, `error` |
//! | `DEBUG` | any other degraded answer, exhaustion, or forced provider without an answer | as above |
//!
//! No timer runs: a line comes with the call that finds it due. `error` is the text of the primary's error, cut, escaped, and
//! without secrets in URLs: see [`error_text`](FallbackChainBuilder::error_text). Nothing else of a request is logged. Answers of
//! forced providers belong to no episode. [`FallbackHandle::status`] shows the running episode. Alert on the share of
//! degraded answers, which the metrics give, and not on episodes.
//!
//! ## In metrics
//!
//! With the feature `metrics`:
//!
//! | metric | labels | tells |
//! |---|---|---|
//! | `fallback_activations_total` | `chain_name`, `provider_name` | how often another provider answered than the primary |
//! | `fallback_latency_seconds` | `chain_name`, `provider_name` | how long every answer took, the primary's too: its count is what shares are of |
//! | `fallback_exhausted_total` | `chain_name` | how often nobody answered |
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
mod eligibility;
mod episode;
mod exhausted;
mod fail_safe;
mod forced;
mod forced_first;
mod found;
mod future;
mod handle;
mod inspect;
mod layer;
mod policy;
mod problem_details;
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
    Answer, CloneCopy, DiscardReplaced, Http, HttpCopy, HttpReject, KeepReplaced, Plain, Repeat, RequestFacts,
};

pub use answer::{BoxError, IntoAnswer};
pub use chain::{FallbackChain, FallbackChainBuilder};
pub use commit::Commit;
pub use config::FallbackBuilder;
pub use control::Forcing;
pub use exhausted::{AllProvidersFailed, ProviderFailure};
pub use fail_safe::{FailSafeBuilder, FailSafeChain};
pub use future::FallbackFuture;
pub use handle::{DegradedEpisode, FallbackHandle, FallbackStatus};
pub use layer::FallbackLayer;
pub use problem_details::ProblemDetails;
pub use provider::Provider;
pub use result::FallbackResult;
pub use service::Fallback;
