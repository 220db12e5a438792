//! Graceful degradation for HTTP and gRPC services, as [tower](https://docs.rs/tower) layers.
//!
//! When a dependency fails, the service still answers, quickly, with the best it has left, and says so in
//! `X-Fallback-Source` and `X-Data-Freshness`. The layers fit unmodified into axum's `Router::layer`, around a tonic server
//! or `Channel`, around a hyper client, and into `ServiceBuilder`.
//!
//! ```
//! # #[cfg(all(feature = "axum", feature = "fallback", feature = "degradation-header"))]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, http::StatusCode, routing::get};
//! use backstop::{DegradationHeaderLayer, FallbackChain, FallbackLayer, Provider, name};
//!
//! let instead = FallbackChain::builder("recommendations")
//!     .provider(Provider::handler(name!("bestsellers"), || async { "the usual" }))
//!     .build()?;
//!
//! let app: Router = Router::new()
//!     .route("/", get(|| async { StatusCode::SERVICE_UNAVAILABLE }))
//!     .layer(FallbackLayer::new(name!("ml_service"), instead))
//!     .layer(DegradationHeaderLayer::new());
//!
//! # use {axum::{body::Body, http::Request}, tower::ServiceExt};
//! let response = app.oneshot(Request::new(Body::empty())).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! assert_eq!(response.headers()["x-fallback-source"], "bestsellers");
//! assert_eq!(response.headers()["x-data-freshness"], "degraded");
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "axum", feature = "fallback", feature = "degradation-header")))]
//! # fn main() {}
//! ```
//!
//! # The order of a stack
//!
//! ```text
//! caller → DegradationHeader → Deadline → Fallback
//!        → [ LastKnownGood → Retry → CircuitBreaker → Bulkhead → Timeout → client ]
//! ```
//!
//! | layer | stands | because |
//! |---|---|---|
//! | `DegradationHeaderLayer` | outermost | it sees every degradation of the request, and has the last word on `Cache-Control` |
//! | `DeadlineLayer` | at the edge, inside the headers | all that is done for a request knows how long its caller waits |
//! | `FallbackLayer` | around all that protects the primary | it answers for whatever that gives up on, a refusal as well as a failure |
//! | `LastKnownGoodLayer` | directly inside the fallback, which asks its handle | it stores what the primary gives after all retries, and both see the same request |
//! | `RetryLayer` | around the circuit breaker | the circuit sees every attempt, so it learns fast; its refusals aren't repeated |
//! | `CircuitBreakerLayer` | around the timeout | a call that hangs is a failure that it counts |
//! | `BulkheadLayer` | inside retry and circuit breaker, around the timeout | a retry that waits, and a refused call, hold no permit; a call that hangs gives its permit back |
//! | `TimeoutLayer` | innermost | it ends one attempt, not all of them |
//!
//! Around the client itself stands the mark [`client`], so that its refused connections prove that a request was not processed,
//! and a `POST` may be made again or elsewhere; `standard(name)` sets it. Handlers and services of several steps are never
//! believed to have processed nothing: [this table](kit::proof#which-stacks-are-believed) tells which stacks are.
//!
//! Where the next service should know how much time it has, `PropagateDeadlineLayer` stands between the timeout and the
//! client. The bracket with its defaults, without `LastKnownGoodLayer`, is `standard(name)`. Each provider that calls out has a
//! bracket of its own.
//!
//! # Around a client
//!
//! A layer must be able to make a response of its own, and to end a body. The bodies of axum and tonic allow that, and hyper's
//! `Incoming` does not: map it directly around the client.
//!
//! ```
//! # #[cfg(all(feature = "axum", feature = "bulkhead", feature = "circuit-breaker", feature = "retry", feature = "timeout"))]
//! # fn main() {
//! use axum::body::Body;
//! use backstop::{name, standard};
//! use http::{Request, Response};
//! use hyper::body::Incoming;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! let http: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
//! let prices = ServiceBuilder::new()
//!     .layer(standard(name!("prices")))
//!     .map_response(|response: Response<Incoming>| response.map(Body::new))
//!     .service(http);
//! let answer = prices.clone().oneshot(Request::get("http://prices.example/").body(Body::empty()).unwrap());
//! # drop(answer);
//! # }
//! # #[cfg(not(all(feature = "axum", feature = "bulkhead", feature = "circuit-breaker", feature = "retry", feature = "timeout")))]
//! # fn main() {}
//! ```
//!
//! With the feature `hyper-util`, this stack makes a `POST` again only when it was certainly not processed, such as after a
//! refused connection. [May a request be sent again?](kit::repeating) has the whole rule, for retries and fallbacks, and the
//! knobs. For other limits than the defaults, put the layers together yourself, and [`client`] around the client.
//!
//! # If a stack doesn't compile
//!
//! If the compiler says of a method such as `oneshot` that "its trait bounds were not satisfied", a layer doesn't fit. Call it
//! as `ServiceExt::oneshot(stack, request)`, or pass the stack through [`opaque`]: then the compiler says which layer, and
//! what to do. If it says "higher-ranked lifetime error" or "is not general enough", [`opaque`] cures that.
//!
//! # The last known good answer
//!
//! The layer around the primary stores what may be stored, and its handle is a provider:
//!
//! ```
//! # #[cfg(all(feature = "axum", feature = "fallback", feature = "degradation-header", feature = "last-known-good"))]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
//! use axum::{Router, http::StatusCode, routing::get};
//! use backstop::{DegradationHeaderLayer, FallbackChain, FallbackLayer, LastKnownGoodLayer, Provider, name};
//! use tower::ServiceBuilder;
//!
//! static IS_OPEN: AtomicBool = AtomicBool::new(true);
//!
//! async fn price() -> Result<&'static str, StatusCode> {
//!     if IS_OPEN.load(Relaxed) { Ok("9.99") } else { Err(StatusCode::SERVICE_UNAVAILABLE) }
//! }
//!
//! let layer = LastKnownGoodLayer::new(name!("prices"));
//! let known = layer.handle();
//! let instead = FallbackChain::builder("prices")
//!     .provider(Provider::head(name!("cached"), move |head| known.answer(head)))
//!     .build()?;
//! let app: Router = Router::new().route("/", get(price)).layer(
//!     ServiceBuilder::new()
//!         .layer(DegradationHeaderLayer::new())
//!         .layer(FallbackLayer::new(name!("live"), instead))
//!         .layer(layer),
//! );
//!
//! # use {axum::body::{Body, to_bytes}, http::Request, tower::ServiceExt};
//! let response = app.clone().oneshot(Request::new(Body::empty())).await?;
//! assert_eq!(to_bytes(response.into_body(), 100).await?, "9.99");
//!
//! IS_OPEN.store(false, Relaxed);
//! tokio::time::advance(std::time::Duration::from_secs(60)).await;
//! let response = app.oneshot(Request::new(Body::empty())).await?;
//! assert_eq!((response.status(), &response.headers()["age"]), (StatusCode::OK, &"60".parse()?));
//! assert_eq!(response.headers()["x-fallback-source"], "cached");
//! assert_eq!(response.headers()["x-data-freshness"], "stale");
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "axum", feature = "fallback", feature = "degradation-header", feature = "last-known-good")))]
//! # fn main() {}
//! ```
//!
//! # In a handler
//!
//! Where there is no service to put a layer around, a chain asks functions, and `LastKnownValues` remembers what they gave:
//!
//! ```
//! # #[cfg(all(feature = "fallback", feature = "last-known-good"))]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{sync::atomic::{AtomicBool, Ordering::Relaxed}, time::Duration};
//! use backstop::{FallbackChain, Freshness, LastKnownValues, Provider, name};
//!
//! static IS_OPEN: AtomicBool = AtomicBool::new(true);
//!
//! async fn price(_item: u32) -> Result<u32, &'static str> {
//!     if IS_OPEN.load(Relaxed) { Ok(999) } else { Err("closed") }
//! }
//!
//! let known = LastKnownValues::new(name!("prices"));
//! let cached = known.provider();
//! let prices = FallbackChain::<u32, u32>::builder("prices")
//!     .provider(Provider::from_fn(name!("live"), move |item| known.remember_result(item, price(item))))
//!     .provider(Provider::from_fn(name!("cached"), cached))
//!     .build()?;
//! assert_eq!(prices.execute(7).await?.value, 999);
//!
//! IS_OPEN.store(false, Relaxed);
//! tokio::time::advance(Duration::from_secs(60)).await;
//! let answer = prices.execute(7).await?;
//! assert_eq!((answer.value, answer.source.as_str()), (999, "cached"));
//! assert_eq!(answer.freshness, Freshness::stale(Duration::from_secs(60)));
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "fallback", feature = "last-known-good")))]
//! # fn main() {}
//! ```
//!
//! # Features
//!
//! | feature | default | gives |
//! |---|---|---|
//! | `bulkhead` | yes | `BulkheadLayer`, of `backstop-bulkhead` |
//! | `circuit-breaker` | yes | `CircuitBreakerLayer`, of `backstop-circuit-breaker` |
//! | `retry` | yes | `RetryLayer`, of `backstop-retry` |
//! | `timeout` | yes | `DeadlineLayer`, `TimeoutLayer` and `PropagateDeadlineLayer`, of `backstop-timeout` |
//! | `fallback` | yes | `FallbackLayer` and `FallbackChain`, of `backstop-fallback` |
//! | `degradation-header` | yes | `DegradationHeaderLayer`, of `backstop-degradation-header` |
//! | `last-known-good` | | `LastKnownGoodLayer` and `LastKnownValues`, of `backstop-last-known-good` |
//! | `axum` | | axum's bodies, and its handlers as providers |
//! | `tonic` | | tonic's bodies, and its `Status` where it comes as an error |
//! | `hyper-util` | | behind [`client`], what the errors of hyper and hyper-util's client prove |
//! | `tonic-transport` | | `tonic`, `hyper-util`, and the same of the errors of tonic's `Channel` |
//! | `metrics` | | what the bulkhead, the circuit breaker, the fallback, the last known good, the retry and the time limits tell a dashboard, through the `metrics` facade |
//!
//! What most stacks need is named here. Each layer's crate as a whole is the module of its name, as `circuit_breaker` and
//! `retry`, and documented there; what they share is in [`core`].

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(doctest, feature = "axum", feature = "degradation-header", feature = "fallback"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[doc(inline)]
pub use backstop_core as core;
pub use backstop_core::{
    Classify, ConfigError, Deadline, Degradation, ErrorRef, Event, EventLog, Freshness, HttpClassify, Inspect, Level,
    Name, Outcome, Reason, Rejection, RejectionDetail, ResultClassify, SetBy, Value, Verdict, name, scope,
};
#[doc(inline)]
pub use backstop_kit as kit;
pub use backstop_kit::{
    Client, Elapsed, Progress, Repeat, RepeatRule, RequestFailure, UntilBodyEnd, UntilFirstFrame, UntilHeaders, client,
};

#[cfg(feature = "bulkhead")]
#[doc(no_inline)]
pub use backstop_bulkhead as bulkhead;
#[cfg(feature = "bulkhead")]
pub use backstop_bulkhead::{Bulkhead, BulkheadBuilder, BulkheadConfig, BulkheadHandle, BulkheadLayer};
#[cfg(feature = "circuit-breaker")]
#[doc(no_inline)]
pub use backstop_circuit_breaker as circuit_breaker;
#[cfg(feature = "circuit-breaker")]
pub use backstop_circuit_breaker::{
    CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerConfig, CircuitBreakerHandle, CircuitBreakerLayer,
    CircuitState, CircuitStatus, Counts, KeyedCircuitBreaker, KeyedCircuitBreakerHandle, KeyedCircuitBreakerLayer,
    OnDrop, Prober, StateSubscription,
};
#[cfg(feature = "degradation-header")]
#[doc(no_inline)]
pub use backstop_degradation_header as degradation_header;
#[cfg(feature = "degradation-header")]
pub use backstop_degradation_header::{
    CacheSafety, DegradationHeader, DegradationHeaderBuilder, DegradationHeaderConfig, DegradationHeaderLayer, Details,
    InnerHeaders, Report, X_DATA_FRESHNESS, X_FALLBACK_SOURCE,
};
#[cfg(feature = "fallback")]
#[doc(no_inline)]
pub use backstop_fallback as fallback;
#[cfg(feature = "fallback")]
pub use backstop_fallback::{
    AllProvidersFailed, Answer, Commit, FailSafeBuilder, FailSafeChain, Fallback, FallbackBuilder, FallbackChain,
    FallbackChainBuilder, FallbackHandle, FallbackLayer, FallbackResult, IntoAnswer, Provider, ProviderFailure,
};
#[cfg(feature = "last-known-good")]
#[doc(no_inline)]
pub use backstop_last_known_good as last_known_good;
#[cfg(feature = "last-known-good")]
pub use backstop_last_known_good::{
    LastKnownGood, LastKnownGoodBuilder, LastKnownGoodConfig, LastKnownGoodHandle, LastKnownGoodLayer, LastKnownValues,
    LastKnownValuesBuilder, LastKnownValuesConfig, NotStored, StaleWhileRevalidateLayer,
};
#[cfg(feature = "retry")]
#[doc(no_inline)]
pub use backstop_retry as retry;
#[cfg(feature = "retry")]
pub use backstop_retry::{RepeatIf, Retried, Retry, RetryBudget, RetryBuilder, RetryConfig, RetryHandle, RetryLayer};
#[cfg(feature = "timeout")]
#[doc(no_inline)]
pub use backstop_timeout as timeout;
#[cfg(feature = "timeout")]
pub use backstop_timeout::{
    DeadlineBuilder, DeadlineConfig, DeadlineHeader, DeadlineLayer, DeadlineService, PropagateDeadline,
    PropagateDeadlineBuilder, PropagateDeadlineConfig, PropagateDeadlineLayer, Timeout, TimeoutBuilder, TimeoutConfig,
    TimeoutLayer, time_left,
};

mod builder_ext;
mod opaque;
#[cfg(all(feature = "bulkhead", feature = "circuit-breaker", feature = "retry", feature = "timeout"))]
mod standard;

pub use builder_ext::ServiceBuilderExt;
pub use opaque::opaque;
#[cfg(all(feature = "bulkhead", feature = "circuit-breaker", feature = "retry", feature = "timeout"))]
pub use standard::{Standard, standard};
