//! A tower layer that labels degraded answers in `X-Fallback-Source`, `X-Data-Freshness` and `Age`.
//!
//! # Why
//!
//! A fallback that nobody can see hides an outage for weeks, and a degraded answer that looks like any other is stored
//! by a cache and served long after recovery. This layer makes degradation visible at the edge, without a word from
//! your handlers: whatever reports a [`Degradation`] while a request is served, however deep in a handler's own
//! outbound calls, shows in the headers of the answer; and what is less than was asked for leaves with `Cache-Control:
//! no-store`.
//!
//! Put it outermost, outside anything that sets `Cache-Control`. It needs nothing of the request and of the bodies, so
//! it stands around axum and tonic servers alike; on gRPC the same facts go as response metadata.
//!
//! # When not to use it
//!
//! - On the client side, where its labels would end with the response: what was reported reaches the caller's own labels
//!   without it.
//! - Inside a layer that stores responses or sets `Cache-Control`: a degraded answer would be stored, or leave as
//!   cacheable all the same.
//! - For what is found out while the body streams: the headers have gone by then.
//! - With its defaults where the names of your providers are nobody's business, or where upstreams that you don't trust
//!   may send headers of these names: see [`public_names`](DegradationHeaderBuilder::public_names) and
//!   [`InnerHeaders::Remove`].
//!
//! It finds nothing out by itself: it tells what a chain, a store or a handler reports. Where it is forgotten, or a chain is
//! asked in a task that was spawned without a [handle](backstop_core::scope::handle), the report finds no reader: that is a
//! `WARN`, once for each chain, and a fallback layer keeps its own degraded answers out of caches all the same.
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
//! Several degradations may stand behind one answer. `X-Fallback-Source` lists the sources in the order in which they
//! were reported, each once; `X-Data-Freshness` tells the worst. Both are lists of tokens after [RFC 9651].
//!
//! | the worst is | `X-Data-Freshness` | `Age` | caching |
//! |---|---|---|---|
//! | nothing was reported: the primary's fresh answer | none | untouched | untouched |
//! | [`Fresh`](Freshness::Fresh): another source, as good | `fresh` | untouched | untouched |
//! | [`Stale`](Freshness::Stale) of known age | `stale` | the true age in whole seconds, rounded down ([RFC 9111 §5.1]) | keeps its own `Cache-Control`, `Date` and validators: with the true `Age`, caches judge it rightly |
//! | `Stale` of unknown age | `stale` | removed | `Cache-Control: no-store`; validators removed |
//! | [`Degraded`](Freshness::Degraded) | `degraded` | removed | `Cache-Control: no-store`; validators removed |
//!
//! No age is made smaller: where the response has an `Age` already, the greater of the two is written.
//!
//! A 304 (Not Modified) carries no label, since a client's cache would keep it with its copy long after recovery
//! ([RFC 9111 §3.2]). The rest of the table holds for it too.
//!
//! The last two rows are the [cache safety](CacheSafety): `ETag`, `Last-Modified`, `Expires`, `Surrogate-Control`,
//! `CDN-Cache-Control` and the other [targeted] fields (`…-Cache-Control`), `Edge-Control` and `X-Accel-Expires` go, as
//! each of them could make a cache store the answer, or take it for the real one later. `Warning` is obsolete
//! ([RFC 9111 §5.5]) and never written. All this holds whatever the status: an error may be degraded as well.
//!
//! ## Where degradations come from
//!
//! | from | counts |
//! |---|---|
//! | what was reported in the [scope](backstop_core::scope) of the request | once, in the order reported |
//! | the response's [`Degradation`] extension, as after a `Buffer` or a spawned task, which the scope doesn't reach | unless it [is](Degradation::is) a record that was reported |
//! | headers of these names that the handler set | after ours: see [`InnerHeaders`] |
//!
//! The handler's headers are its word and are kept where they parse, after all of ours: a source that we list already
//! isn't repeated, and the worse freshness wins. Sources without a freshness count as `degraded`; `stale` has the age
//! of the parameter `age`, or that of the response's `Age`, whichever is greater. They have the same cache safety. The
//! three words are known in upper and lower case, and **any other word counts as `degraded`**: whoever wrote it didn't
//! mean that all is well. So does what doesn't parse as a list of at most 16 tokens in 1 KiB, which is removed. Both are
//! events at `DEBUG`.
//!
//! ## One layer inside another
//!
//! What an inner layer wrote is written anew by the outer one, by its own settings, and counts once: the records travel
//! with the response. Where a response is built anew between the two, they don't, and what the inner layer wrote counts as
//! the handler's word. [`public_names`](DegradationHeaderBuilder::public_names) therefore names every source that leaves,
//! whoever listed it. Reports move up to the scope outside, too, so that a layer further out knows of them even when
//! the response itself went elsewhere.
//!
//! # Knobs
//!
//! | knob | default | else |
//! |---|---|---|
//! | [`source_header`](DegradationHeaderBuilder::source_header) | `X-Fallback-Source` | any name that has no meaning in HTTP or gRPC yet |
//! | [`freshness_header`](DegradationHeaderBuilder::freshness_header) | `X-Data-Freshness` | the same |
//! | [`details`](DegradationHeaderBuilder::details) | [`Details::Plain`] | `Parameters`: `cached;index=1;reason=circuit-open`, `stale;age=912` |
//! | [`report`](DegradationHeaderBuilder::report) | [`Report::Degraded`] | `Always`: `fresh` for the primary's own answers too |
//! | [`inner_headers`](DegradationHeaderBuilder::inner_headers) | [`InnerHeaders::Keep`] | `Remove`, for proxies of untrusted upstreams |
//! | [`cache_safety`](DegradationHeaderBuilder::cache_safety) | [`CacheSafety::Enforce`] | `LeaveAlone` |
//! | [`public_names`](DegradationHeaderBuilder::public_names) | sources as they are named | names for the outside |
//!
//! # Cost
//!
//! An answer that nothing degraded costs no allocation and no lock. A degraded one allocates for its labels.
//!
//! # Cancellation
//!
//! Dropping the future drops the call; what it had reported is lost with it. A response body that is streamed after the
//! headers can't be labelled any more.
//!
//! [RFC 9651]: https://www.rfc-editor.org/rfc/rfc9651
//! [RFC 9111 §3.2]: https://www.rfc-editor.org/rfc/rfc9111#section-3.2
//! [RFC 9111 §5.1]: https://www.rfc-editor.org/rfc/rfc9111#section-5.1
//! [RFC 9111 §5.5]: https://www.rfc-editor.org/rfc/rfc9111#section-5.5
//! [targeted]: https://www.rfc-editor.org/rfc/rfc9213

mod config;
mod future;
mod layer;
mod parse;
mod registered;
mod service;
mod telemetry;
mod write;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backstop_core::{ConfigError, Degradation, Freshness, Name, X_DATA_FRESHNESS, X_FALLBACK_SOURCE, name};

pub use config::{CacheSafety, DegradationHeaderBuilder, DegradationHeaderConfig, Details, InnerHeaders, Report};
pub use future::DegradationHeaderFuture;
pub use layer::DegradationHeaderLayer;
pub use service::DegradationHeader;
