//! Graceful degradation for HTTP and gRPC services, as [tower](https://docs.rs/tower) layers.
//!
//! When a dependency fails, the service still answers quickly with the best data available, and labels the response
//! with `X-Fallback-Source` and `X-Data-Freshness`. The layers work unmodified in axum's `Router::layer`, around a
//! tonic server or `Channel`, around a hyper client, and in `ServiceBuilder`.
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
//!        → [ LastKnownGood → Retry → CircuitBreaker → Bulkhead → Timeout → PropagateDeadline → client ]
//! ```
//!
//! | layer | position | because |
//! |---|---|---|
//! | `DegradationHeaderLayer` | outermost | it sees every degradation of the request, and has the last word on `Cache-Control` |
//! | `DeadlineLayer` | at the edge, inside the headers | all work for a request can see how long its caller waits |
//! | `FallbackLayer` | around all layers that protect the primary | it replaces both their refusals and the primary's failures |
//! | `LastKnownGoodLayer` | directly inside the fallback, which asks its handle | it stores the primary's response after all retries, and both layers see the same request |
//! | `RetryLayer` | around the circuit breaker | the circuit sees every attempt, so it reacts quickly; its refusals aren't retried |
//! | `CircuitBreakerLayer` | around the timeout | a hung call ends as a failure, which the circuit counts |
//! | `BulkheadLayer` | inside retry and circuit breaker, around the timeout | a waiting retry and a refused call hold no permit; a hung call returns its permit |
//! | `TimeoutLayer` | around the client | it ends one attempt, not all of them |
//! | `PropagateDeadlineLayer` | innermost | it sends the time that is left of this attempt |
//!
//! Put the marker [`client`], or [`http_client`], directly around the client. It lets a refused connection prove that a
//! request was not processed, so a `POST` may be retried or sent to another provider. [`standard()`] includes it. An error from a
//! handler, or from a service of several steps, is never such a proof: [this
//! table](kit::proof#which-stacks-are-believed) lists the stacks that can give it.
//!
//! [`standard()`] builds the stack in brackets. `LastKnownGoodLayer` is added by `Standard::last_known_good(layer)`. Give each
//! provider that calls another service a stack of its own.
//!
//! # Around a client
//!
//! The [standard stack](standard()) goes around hyper-util's client as it is. hyper's response body, `Incoming`, becomes a
//! [`ClientBody`], because a layer can neither make an `Incoming` nor end one early. All other bodies stay what they are.
//!
//! ```
//! # #[cfg(all(feature = "hyper-util", feature = "bulkhead", feature = "circuit-breaker", feature = "retry", feature = "timeout"))]
//! # fn main() {
//! use backstop::{ClientBody, Standard, name};
//! use http::Request;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! let http: Client<_, ClientBody> = Client::builder(TokioExecutor::new()).build_http();
//! let prices = ServiceBuilder::new().layer(Standard::new(name!("prices"))).service(http);
//! let answer = prices.clone().oneshot(Request::get("http://prices.example/").body(ClientBody::empty()).unwrap());
//! # drop(answer);
//! # }
//! # #[cfg(not(all(feature = "hyper-util", feature = "bulkhead", feature = "circuit-breaker", feature = "retry", feature = "timeout")))]
//! # fn main() {}
//! ```
//!
//! reqwest's client becomes such a service by one line, with the feature `reqwest`:
//!
//! ```
//! # #[cfg(all(feature = "reqwest", feature = "bulkhead", feature = "circuit-breaker", feature = "retry", feature = "timeout"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use backstop::{ReqwestClient, Standard, name};
//! use tower::Layer;
//!
//! let prices = Standard::new(name!("prices")).layer(ReqwestClient::build(reqwest::Client::builder())?);
//! # let _ = prices;
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "reqwest", feature = "bulkhead", feature = "circuit-breaker", feature = "retry", feature = "timeout")))]
//! # fn main() {}
//! ```
//!
//! With the feature `hyper-util`, this stack retries a `POST` only if it was certainly not processed, such as after a
//! refused connection. [May a request be sent again?](kit::repeating) has the full rule for retries and fallbacks, and
//! its knobs. [`standard("prices")`](standard()) is a builder, for other limits. If you combine single layers yourself, put
//! [`http_client`] around the client.
//!
//! # If a stack doesn't compile
//!
//! If the compiler reports for a method such as `oneshot` that "its trait bounds were not satisfied", a layer doesn't
//! fit. Call the method as `ServiceExt::oneshot(stack, request)`, or pass the stack through [`opaque`]: the compiler
//! then names the layer and suggests a fix. If it reports a "higher-ranked lifetime error" or "is not general enough",
//! use [`opaque`].
//!
//! # The last known good answer
//!
//! The layer around the primary stores the responses that HTTP allows it to store. Its handle serves them as a
//! provider:
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
//! If there is no service to wrap, a chain can call functions, and `LastKnownValues` remembers their results:
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
//! # Guides
//!
//! The module [`guides`](guides/index.html) has a page for each larger task, such as [gRPC](guides/grpc/index.html). It is part of the
//! documentation only, and needs all features: `cargo doc --all-features`.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `bulkhead` | yes | `BulkheadLayer`, of `backstop-bulkhead` |
//! | `circuit-breaker` | yes | `CircuitBreakerLayer`, of `backstop-circuit-breaker` |
//! | `retry` | yes | `RetryLayer`, of `backstop-retry` |
//! | `timeout` | yes | `DeadlineLayer`, `TimeoutLayer` and `PropagateDeadlineLayer`, of `backstop-timeout` |
//! | `fallback` | yes | `FallbackLayer` and `FallbackChain`, of `backstop-fallback` |
//! | `degradation-header` | yes | `DegradationHeaderLayer` and `PropagateDegradationLayer`, of `backstop-degradation-header` |
//! | `last-known-good` | | `LastKnownGoodLayer` and `LastKnownValues`, of `backstop-last-known-good` |
//! | `health` | | `Health` and `Drain`, of `backstop-health`; with `axum` its routes, with `tonic` gRPC health checks |
//! | `features` | | `Features` and `FeatureLayer`, of `backstop-features` |
//! | `partial` | | `Aggregate` and `part`, of `backstop-partial`: pages of several parts; with `axum` as responses |
//! | `deferred` | | `Deferred`, of `backstop-deferred`: work accepted now and done later |
//! | `redb` | | `deferred`, and `RedbJobStore`, which keeps that work in a file |
//! | `nats` | | `deferred`, and `NatsJobStore`, of `backstop-nats`, which keeps that work in NATS JetStream, for a fleet |
//! | `fault` | | `FaultLayer`, of `backstop-fault`: makes a share of calls fail, on purpose and safely |
//! | `admin` | | `Inventory` and `assert_protected!`, of `backstop-admin`: what protects each dependency, and what is missing. With `axum`, the routes for operators: `Admin` |
//! | `redis` | | `RedisStore`, of `backstop-redis`: a shared store for flags, counts, views of health and stored answers |
//! | `axum` | | axum's bodies, its handlers as providers, and the extractors `Degradations` and `Features` |
//! | `tonic` | | tonic's bodies, and its `Status` where it comes as an error |
//! | `hyper-util` | | hyper's `Incoming` becomes a [`ClientBody`]; errors of hyper and hyper-util's client, behind [`client`], prove that a request was not processed |
//! | `reqwest` | | `hyper-util`, and `ReqwestClient`, of `backstop-reqwest` |
//! | `tonic-transport` | | `tonic`, `hyper-util`, and the same for errors of tonic's `Channel` |
//! | `metrics` | | metrics of the bulkhead, the circuit breaker, the fallback, the stored responses, the retry, the time limits, the levels, the feature flags, the parts of pages and the injected faults, through the crate `metrics` |
//! | `serde` | | the layers' configurations, and [`StandardConfig`], can be read from a file |
//! | `toml` | | `serde`, the default layers, and `Stacks`: standard stacks for all dependencies, from one file |
//!
//! This crate re-exports what most stacks need. The module named after a layer, such as `circuit_breaker` or `retry`,
//! re-exports its whole crate, with its documentation. Shared types are in [`vocabulary`], the
//! crate `backstop-core`.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(doctest, feature = "axum", feature = "degradation-header", feature = "fallback"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[doc(inline)]
pub use backstop_core as vocabulary;
pub use backstop_core::{
    Classify, ConfigError, Deadline, Degradation, ErrorRef, Event, EventLog, Freshness, HttpClassify, Inspect, Lasts,
    Level, Name, Operation, OperationError, OperationRequest, Outcome, Reach, Reason, Rejection, RejectionDetail,
    ResultClassify, SetBy, Value, Verdict, name, scope,
};
#[doc(inline)]
pub use backstop_kit as kit;
#[cfg(feature = "metrics")]
pub use backstop_kit::telemetry::DURATION_BUCKETS;
pub use backstop_kit::{
    CallError, Client, ClientBody, Elapsed, HttpClient, Progress, Repeat, RepeatRule, RequestFailure, UntilBodyEnd,
    UntilFirstFrame, UntilHeaders, client, http_client,
};

#[cfg(feature = "admin")]
#[doc(no_inline)]
pub use backstop_admin as admin;
#[cfg(all(feature = "admin", feature = "axum"))]
pub use backstop_admin::{Admin, AdminBuilder};
#[cfg(feature = "admin")]
pub use backstop_admin::{Audit, Check, CheckStatus, Inventory, assert_protected};
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
#[cfg(feature = "deferred")]
#[doc(no_inline)]
pub use backstop_deferred as deferred;
#[cfg(feature = "redb")]
pub use backstop_deferred::RedbJobStore;
#[cfg(feature = "deferred")]
pub use backstop_deferred::{
    DeferError, Deferred, DeferredBuilder, DeferredConfig, HttpQueue, HttpQueueBuilder, Job, JobId, JobKind, JobState,
    MemoryJobStore, NotAccepted, Permanent, Receipt, Worker,
};
#[cfg(feature = "degradation-header")]
#[doc(no_inline)]
pub use backstop_degradation_header as degradation_header;
#[cfg(all(feature = "axum", feature = "degradation-header"))]
pub use backstop_degradation_header::Degradations;
#[cfg(feature = "degradation-header")]
pub use backstop_degradation_header::{
    BrowserAccess, CacheSafety, CacheStatus, DegradationHeader, DegradationHeaderBuilder, DegradationHeaderConfig,
    DegradationHeaderHandle, DegradationHeaderLayer, Details, InnerHeaders, PropagateDegradation,
    PropagateDegradationBuilder, PropagateDegradationConfig, PropagateDegradationLayer, Report, UPSTREAM_DEGRADED,
    X_DATA_FRESHNESS, X_FALLBACK_SOURCE,
};
#[cfg(feature = "fallback")]
#[doc(no_inline)]
pub use backstop_fallback as fallback;
#[cfg(feature = "fallback")]
pub use backstop_fallback::{
    AllProvidersFailed, Answer, Commit, FailSafeBuilder, FailSafeChain, Fallback, FallbackBuilder, FallbackChain,
    FallbackChainBuilder, FallbackConfig, FallbackHandle, FallbackLayer, FallbackResult, IntoAnswer, Provider,
    ProviderConfig, ProviderFailure, UnprovenProviders,
};
#[cfg(feature = "fault")]
#[doc(no_inline)]
pub use backstop_fault as fault;
#[cfg(feature = "fault")]
pub use backstop_fault::{
    FAULT_INJECTED, Fault, FaultBuilder, FaultConfig, FaultHandle, FaultLayer, FaultRun, FaultService, StatusFault,
};
#[cfg(feature = "features")]
#[doc(no_inline)]
pub use backstop_features as features;
#[cfg(feature = "features")]
pub use backstop_features::{
    Feature, FeatureConfig, FeatureGate, FeatureLayer, FeatureScopeLayer, FeatureState, Features, FeaturesBuilder,
    FeaturesConfig, FeaturesHandle, FlagChange, feature,
};
#[cfg(feature = "health")]
#[doc(no_inline)]
pub use backstop_health as health;
#[cfg(feature = "health")]
pub use backstop_health::{
    ActiveProbe, Component, ComponentHandle, ComponentState, Drain, DrainLayer, DrainService, Health, HealthBuilder,
    HealthConfig, HealthView, Heartbeat, LevelSubscription, ProbeConfig, Readiness, Reporter,
};
#[cfg(all(feature = "axum", feature = "health"))]
pub use backstop_health::{HealthRoutes, X_SERVICE_LEVEL};
#[cfg(feature = "last-known-good")]
#[doc(no_inline)]
pub use backstop_last_known_good as last_known_good;
#[cfg(feature = "last-known-good")]
pub use backstop_last_known_good::{
    LastKnownGood, LastKnownGoodBuilder, LastKnownGoodConfig, LastKnownGoodHandle, LastKnownGoodLayer, LastKnownValues,
    LastKnownValuesBuilder, LastKnownValuesConfig, NotStored, StaleWhileRevalidateConfig, StaleWhileRevalidateHandle,
    StaleWhileRevalidateLayer,
};
#[cfg(feature = "nats")]
#[doc(no_inline)]
pub use backstop_nats as nats_store;
#[cfg(feature = "nats")]
pub use backstop_nats::{NatsJobStore, NatsJobStoreBuilder, NatsJobStoreConfig};
#[cfg(feature = "partial")]
#[doc(no_inline)]
pub use backstop_partial as partial;
#[cfg(feature = "partial")]
pub use backstop_partial::{
    Aggregate, AggregateBuilder, AggregateConfig, AggregateHandle, Page, PageStatus, Part, PartFailure,
    RequiredPartFailed, part,
};
#[cfg(feature = "redis")]
#[doc(no_inline)]
pub use backstop_redis as redis_store;
#[cfg(feature = "redis")]
pub use backstop_redis::{RedisStore, RedisStoreBuilder, RedisStoreConfig};
#[cfg(feature = "reqwest")]
#[doc(no_inline)]
pub use backstop_reqwest as reqwest_client;
#[cfg(feature = "reqwest")]
pub use backstop_reqwest::ReqwestClient;
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
    DeadlineBuilder, DeadlineConfig, DeadlineHandle, DeadlineHeader, DeadlineLayer, DeadlineService, PropagateDeadline,
    PropagateDeadlineBuilder, PropagateDeadlineConfig, PropagateDeadlineHandle, PropagateDeadlineLayer, Timeout,
    TimeoutBuilder, TimeoutConfig, TimeoutHandle, TimeoutLayer, time_left,
};

/// The tower that the layers are for: [`Layer`](tower::Layer), and [`ServiceExt`](tower::ServiceExt) for calls.
#[doc(no_inline)]
pub use tower;

mod builder_ext;
#[cfg(feature = "metrics")]
mod describe;
#[cfg(all(feature = "bulkhead", feature = "circuit-breaker", feature = "retry", feature = "timeout"))]
pub mod guard;
// Documentation only. The pages use every feature.
#[cfg(all(
    doc,
    feature = "admin",
    feature = "axum",
    feature = "bulkhead",
    feature = "circuit-breaker",
    feature = "deferred",
    feature = "degradation-header",
    feature = "fallback",
    feature = "features",
    feature = "health",
    feature = "hyper-util",
    feature = "last-known-good",
    feature = "metrics",
    feature = "partial",
    feature = "redis",
    feature = "reqwest",
    feature = "retry",
    feature = "timeout",
    feature = "toml",
    feature = "tonic-transport",
))]
pub mod guides;
mod opaque;
#[cfg(feature = "toml")]
mod stacks;
#[cfg(all(feature = "bulkhead", feature = "circuit-breaker", feature = "retry", feature = "timeout"))]
pub mod standard;

pub use builder_ext::ServiceBuilderExt;
#[cfg(feature = "metrics")]
pub use describe::describe_metrics;
#[cfg(all(feature = "bulkhead", feature = "circuit-breaker", feature = "retry", feature = "timeout"))]
pub use guard::Guard;
pub use opaque::opaque;
#[cfg(feature = "toml")]
#[cfg_attr(docsrs, doc(cfg(feature = "toml")))]
pub use stacks::{Stacks, StacksError};
#[cfg(all(feature = "bulkhead", feature = "circuit-breaker", feature = "retry", feature = "timeout"))]
pub use standard::{Standard, StandardBuilder, StandardConfig, StandardHandle, StandardService, standard};
