//! A tower layer that labels degraded answers in `X-Fallback-Source`, `X-Data-Freshness` and `Age`.
//!
//! # Why
//!
//! A fallback that nobody sees can hide an outage for weeks. A degraded answer that looks like any other may be stored by a
//! cache and served long after recovery. This layer makes degradation visible at the edge, and your handlers need no code for
//! it. Every [`Degradation`] that is reported while a request is served shows in the response headers, however deep in a
//! handler's outbound calls it happens. Degraded answers get `Cache-Control: no-store`.
//!
//! Put it outermost, outside anything that sets `Cache-Control`. It doesn't look at requests and bodies, so it works around
//! axum and tonic servers alike. On gRPC the labels are response metadata.
//!
//! # When not to use it
//!
//! - On the client side: the labels would end with the response, and reports reach the server's layer without it.
//! - Inside a layer that stores responses or sets `Cache-Control`: a degraded answer would be stored, or become cacheable again.
//! - For degradations that show up while the body streams: the headers are already sent.
//! - With its defaults, if the names of your providers are secret, or if untrusted upstreams may send headers of these names: see [`public_names`](DegradationHeaderBuilder::public_names) and
//!   [`InnerHeaders::Remove`].
//!
//! The layer detects nothing itself: it labels what a chain, a store or a handler reports. Without it, or if a chain is called in
//! a task that was spawned without a [handle](backstop_core::scope::handle), nobody reads the report. That is a `WARN`, once for
//! each chain. A fallback layer still keeps its own degraded answers out of caches.
//!
//! # Example
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//!
//! use backstop_core::{Degradation, Freshness, Reason, name, scope};
//! use backstop_degradation_header::DegradationHeaderLayer;
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let service = ServiceBuilder::new().layer(DegradationHeaderLayer::new()).service(service_fn(|_: Request<()>| async {
//!     // A fallback chain reports this when `cached` answers instead of the primary.
//!     let freshness = Freshness::stale(Duration::from_secs(912));
//!     scope::report(Degradation::new(name!("items"), name!("cached"), 1, Reason::CIRCUIT_OPEN, freshness));
//!     Ok::<_, Infallible>(Response::new("[1,2,3]"))
//! }));
//!
//! let response = service.oneshot(Request::new(())).await?;
//! assert_eq!(response.headers()["x-fallback-source"], "cached");
//! assert_eq!(response.headers()["x-data-freshness"], "stale");
//! assert_eq!(response.headers()["age"], "912");
//! # Ok(())
//! # }
//! ```
//!
//! # Semantics
//!
//! One answer may have several degradations. `X-Fallback-Source` lists the sources in the order of the reports, each once.
//! `X-Data-Freshness` has the worst freshness. Both are lists of tokens as in [RFC 9651].
//!
//! | worst freshness | `X-Data-Freshness` | `Age` | caching |
//! |---|---|---|---|
//! | no report: the primary's fresh answer | none | untouched | untouched |
//! | [`Fresh`](Freshness::Fresh): another source, as good | `fresh` | untouched | untouched |
//! | [`Stale`](Freshness::Stale) of known age | `stale` | the true age in whole seconds, rounded down ([RFC 9111 §5.1]) | `Cache-Control`, `Date` and validators are kept: with the true `Age`, caches handle it correctly |
//! | `Stale` of unknown age | `stale` | removed | `Cache-Control: no-store`; validators removed |
//! | [`Degraded`](Freshness::Degraded) | `degraded` | removed | `Cache-Control: no-store`; validators removed |
//!
//! If the response already has an `Age`, the greater of the two is written.
//!
//! A 304 (Not Modified) gets no label, since a client's cache would keep it with its copy long after recovery
//! ([RFC 9111 §3.2]). The rest of the table applies to it too.
//!
//! The last two rows are the [cache safety](CacheSafety): `ETag`, `Last-Modified`, `Expires`, `Surrogate-Control`,
//! `CDN-Cache-Control` and the other [targeted] fields (`…-Cache-Control`), `Edge-Control` and `X-Accel-Expires` are
//! removed. Each of them could make a cache store the answer, or later take it for the real one. `Warning` is obsolete
//! ([RFC 9111 §5.5]) and never written. This applies to every status: an error may be degraded, too.
//!
//! ## Where degradations come from
//!
//! | origin | effect |
//! |---|---|
//! | reports in the [scope](backstop_core::scope) of the request | each once, in the order reported |
//! | the response's [`Degradation`] extension, for example after a `Buffer` or a spawned task, which the scope doesn't reach | as a report, unless it [is](Degradation::is) one of the reports |
//! | headers of these names that the handler set | after our labels: see [`InnerHeaders`] |
//!
//! The handler's headers are kept after our own if they parse. A source that we list already isn't repeated, and the
//! worse freshness wins. Sources without a freshness count as `degraded`. The age of `stale` is the parameter `age` or
//! the response's `Age`, whichever is greater. The cache safety applies to them too. The three words are accepted in
//! upper and lower case, and **any other word counts as `degraded`**: its author probably didn't mean `fresh`. A header
//! that isn't a list of at most 16 tokens in 1 KiB is removed, and counts as `degraded`, too, unless it lists sources beside a
//! freshness that can be read. Both are events at `DEBUG`.
//!
//! ## One layer inside another
//!
//! The outer layer rewrites the labels of the inner one by its own settings, and counts each report once: the records
//! travel with the response. If the response is rebuilt between the two, the records are lost, and the inner layer's
//! labels count as the handler's. So [`public_names`](DegradationHeaderBuilder::public_names) maps every listed source,
//! including those of inner layers and handlers. Reports are also passed to the outer scope, so an outer layer knows of
//! them even if the response goes elsewhere.
//!
//! ## What an upstream says about its own answer
//!
//! A service that you call may have degradation headers, too. A [`PropagateDegradationLayer`] around its client reports what
//! they say, as `ml_service/cached`.
//!
//! # In a handler
//!
//! [`scope::degradations`](backstop_core::scope::degradations) returns what was reported so far, for bodies that say it, too.
//! With the feature `axum`, the extractor `Degradations` does the same.
//!
//! # Knobs
//!
//! | knob | default | else |
//! |---|---|---|
//! | [`source_header`](DegradationHeaderBuilder::source_header) | `X-Fallback-Source` | any name without a meaning in HTTP or gRPC |
//! | [`freshness_header`](DegradationHeaderBuilder::freshness_header) | `X-Data-Freshness` | the same |
//! | [`details`](DegradationHeaderBuilder::details) | [`Details::Plain`] | `Parameters`: `cached;index=1;reason=circuit-open`, `stale;age=912` |
//! | [`report`](DegradationHeaderBuilder::report) | [`Report::Degraded`] | `Always`: also `fresh` for the primary's answers |
//! | [`inner_headers`](DegradationHeaderBuilder::inner_headers) | [`InnerHeaders::Keep`] | `Remove`, for proxies of untrusted upstreams |
//! | [`cache_safety`](DegradationHeaderBuilder::cache_safety) | [`CacheSafety::Enforce`] | `LeaveAlone` |
//! | [`public_names`](DegradationHeaderBuilder::public_names) | no mapping | a mapping to public names |
//! | [`expose_to_browsers`](DegradationHeaderBuilder::expose_to_browsers) | scripts of other origins can't read the headers | they can |
//! | [`cache_status`](DegradationHeaderBuilder::cache_status) | no `Cache-Status` | `Cache-Status` of stored copies, RFC 9211 |
//! | [`proxy_status`](DegradationHeaderBuilder::proxy_status) | no `Proxy-Status` | `Proxy-Status` of rejections, for gateways, RFC 9209 |
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | the extractor `Degradations` |
//! | `serde` | the configurations can be read from a file, and written to one |
//!
//! # Cost
//!
//! A response without degradation costs no allocation and no lock. A degraded one allocates for its labels.
//!
//! # Cancellation
//!
//! Dropping the future drops the call and its reports. The headers are sent before the body, so what happens while the body
//! streams can't be labelled.
//!
//! [RFC 9651]: https://www.rfc-editor.org/rfc/rfc9651
//! [RFC 9111 §3.2]: https://www.rfc-editor.org/rfc/rfc9111#section-3.2
//! [RFC 9111 §5.1]: https://www.rfc-editor.org/rfc/rfc9111#section-5.1
//! [RFC 9111 §5.5]: https://www.rfc-editor.org/rfc/rfc9111#section-5.5
//! [targeted]: https://www.rfc-editor.org/rfc/rfc9213

#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
mod expose;
#[cfg(feature = "axum")]
mod extract;
mod future;
mod handle;
mod inner_labels;
mod inspect;
mod layer;
mod layer_state;
mod parse;
mod propagate;
mod registered;
mod service;
mod settings;
mod status;
mod telemetry;
mod write;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backstop_core::{ConfigError, Degradation, Freshness, Name, X_DATA_FRESHNESS, X_FALLBACK_SOURCE, name};

pub use config::{DegradationHeaderBuilder, DegradationHeaderConfig};
#[cfg(feature = "axum")]
pub use extract::Degradations;
pub use future::DegradationHeaderFuture;
pub use handle::DegradationHeaderHandle;
pub use layer::DegradationHeaderLayer;
pub use propagate::{
    PropagateDegradation, PropagateDegradationBuilder, PropagateDegradationConfig, PropagateDegradationFuture,
    PropagateDegradationLayer, UPSTREAM_DEGRADED,
};
pub use service::DegradationHeader;
pub use settings::{BrowserAccess, CacheSafety, CacheStatus, Details, InnerHeaders, Report};
