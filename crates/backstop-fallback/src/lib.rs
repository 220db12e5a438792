//! Answers with the next best source when a service fails.
//!
//! A dependency that is down needn't take its callers down: yesterday's prices, everybody's favourites instead of yours,
//! or a plain list are better than an error page, if the caller is told. [`FallbackLayer`] puts a chain of providers
//! behind a service, its primary. When the primary fails, is slow, or isn't even ready, they are asked in turn, all
//! within one time limit, and the first answer is given. What was given instead is recorded as a
//! [`Degradation`], which the layer of `backstop-degradation-header` turns into response
//! headers. [`FallbackChain`] does the same in a handler, without HTTP.
//!
//! Don't use it where a wrong answer is worse than none (a balance, a permission), nor to hide a bug: a fallback that is
//! always active is an outage that nobody sees. Each activation is a `WARN` event.
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
//! | 404 and other 4xx that blame the caller; gRPC codes that do | answer, but for [`fall_back_on`](FallbackBuilder::fall_back_on) | next provider: a cache that answers 404 is a miss |
//! | 408, 425, 429; gRPC `RESOURCE_EXHAUSTED` | next provider; a 425 is the caller's own where it came as early data (RFC 8470 §5.2) | next provider |
//! | 5xx; other gRPC codes; any error; a refusal of a layer further in | next provider | next provider |
//! | not ready, or no answer, in its time | next provider | next provider |
//!
//! That is [`HttpClassify`]'s judgement. Another one is chosen by
//! [`classify_fn`](FallbackBuilder::classify_fn). In a chain without HTTP every `Ok` is an answer.
//!
//! # When all fail
//!
//! The caller gets what the primary gave, response or error: its body is kept for that, up to 32 KiB. If the primary gave
//! nothing in its time, the caller gets a rejection, a 503: as an extension it carries [`AllProvidersFailed`], which lists
//! each provider and its reason, and [`problem_details`](FallbackBuilder::problem_details) gives it a body that tells the
//! same. Its `Retry-After` is the shortest wait that is left of those that the providers asked for. A handler that asks a
//! chain gets `AllProvidersFailed` as its error, which with the feature `axum` is that same response.
//!
//! # Time
//!
//! | limit | default | |
//! |---|---|---|
//! | [`total`](FallbackChainBuilder::total) | 5 s | for the primary and all providers; the deadline of the [scope](backstop_core::scope) where that is earlier |
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
//! A request whose method isn't idempotent (RFC 9110 §9.2.2), and that the primary or an earlier provider may have
//! processed, isn't given to another provider, unless that is marked
//! [`even_if_processed`](Provider::even_if_processed). A refused connection or an open circuit proves that nothing was
//! processed; so does being given nothing of the request, as [`Provider::value`] is.
//!
//! Upgrades and `CONNECT` pass by the chain: they are about their connection.
//!
//! # In a stack
//!
//! Outside whatever protects the primary (retry, circuit breaker, timeout), and inside the degradation headers. The layer
//! is always ready itself and makes the primary ready in its future, so `S: Clone` is needed.
//!
//! # Cancellation
//!
//! Dropping the future drops the primary's call, or the provider's that is running. A call that its share of the time
//! ends is dropped under [`ended_by`](backstop_core::scope::ended_by), so that a circuit breaker further in counts it.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | [`Provider::handler`], the copying and keeping of axum's bodies, and `IntoResponse` for [`AllProvidersFailed`] |
//! | `metrics` | the metrics below, through the facade of that name |
//!
//! # What an operator sees
//!
//! Each activation is one `WARN` event under the target `backstop::fallback`, with `chain`, `provider`, `position`, `reason`,
//! `freshness` and `latency`; each exhaustion is one with `chain` and every provider's reason. So are forced providers that
//! had no answer. With the feature `metrics`:
//!
//! | metric | labels | tells |
//! |---|---|---|
//! | `fallback_activations_total` | `chain_name`, `provider_name` | how often another provider answered than the primary |
//! | `fallback_latency_seconds` | `chain_name`, `provider_name` | how long every answer took, the primary's too: its count is what shares are of |
//! | `fallback_exhausted_total` | `chain_name` | how often nobody answered |

mod answer;
mod ask;
mod builder;
mod chain;
mod chain_builder;
mod commit;
mod concurrency;
mod detour;
mod fail_safe;
mod forced;
mod found;
mod future;
mod handle;
mod layer;
mod provider;
mod rest;
mod service;
mod share;
mod spare;
mod telemetry;
mod walk;

pub use backstop_core::{
    AllProvidersFailed, Answer, CloneCopy, ConfigError, Degradation, DiscardReplaced, Freshness, HttpClassify,
    HttpCopy, HttpReject, KeepReplaced, Name, ProblemDetails, ProviderFailure, Reason, Rejection, name,
};

pub use answer::{BoxError, IntoAnswer};
pub use builder::FallbackBuilder;
pub use chain::{FallbackChain, FallbackResult};
pub use chain_builder::FallbackChainBuilder;
pub use commit::Commit;
pub use fail_safe::{FailSafeBuilder, FailSafeChain};
pub use future::FallbackFuture;
pub use handle::{FallbackHandle, Forcing};
pub use layer::FallbackLayer;
pub use provider::Provider;
pub use service::Fallback;
