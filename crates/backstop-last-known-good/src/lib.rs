//! A tower layer that stores good answers, and serves them as stale when the service fails.
//!
//! # Why
//!
//! Yesterday's prices, clearly marked, are better than an error page. This layer wraps a service and copies its good
//! answers into a store while they stream to the caller. When the service fails, a fallback chain gets the last good
//! answer from the layer's handle. The handle returns it as `stale`, with its true age.
//!
//! A cache that gives one caller's answer to another leaks data. The rules of HTTP caching decide what may be stored and who
//! may get it ([RFC 9111](https://www.rfc-editor.org/rfc/rfc9111)), and how stale it may be ([RFC
//! 5861](https://www.rfc-editor.org/rfc/rfc5861)). Where they leave a choice, this layer stores less.
//!
//! **When not to use it**: for answers that become wrong, not merely old: a balance before a payment, stock before an order,
//! permissions, feature switches that guard something. Also for personal answers without a
//! [`principal`](LastKnownGoodBuilder::principal). Send `no-store` with such answers, or leave the layer out. The layer is not
//! a cache: while the service works, every request goes to it, unless you add a [`StaleWhileRevalidateLayer`].
//!
//! # Example
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//!
//! use axum::body::Body;
//! use backstop_last_known_good::{Freshness, LastKnownGoodLayer, name};
//! use http::{Request, Response};
//! use http_body_util::BodyExt;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = LastKnownGoodLayer::new(name!("prices"));
//! let known = layer.handle();
//! let prices = layer.layer(service_fn(|_: Request<Body>| async {
//!     Ok::<_, Infallible>(Response::new(Body::from("9.99")))
//! }));
//! prices.oneshot(Request::get("/prices").body(Body::empty())?).await?.into_body().collect().await?;
//!
//! // A quarter of an hour later, the service is down.
//! tokio::time::advance(Duration::from_secs(900)).await;
//! let (head, ()) = Request::get("/prices").body(())?.into_parts();
//! let answer = known.answer::<Body>(head).await?;
//! assert_eq!(answer.freshness().and_then(Freshness::age).map(|age| age.as_secs()), Some(900));
//! assert_eq!(answer.value().headers()["age"], "900");
//! # Ok(())
//! # }
//! ```
//!
//! For functions rather than HTTP services there is [`LastKnownValues`].
//!
//! In a chain of `backstop-fallback` the handle is a provider:
//! `Provider::head(name!("cached"), move |head| known.answer(head)).only_reads()`. The answer carries its freshness, and
//! `only_reads` tells the chain that a miss has processed nothing. Put the layer outermost around the primary, directly inside
//! the fallback. Both must see the same request, or the handle finds nothing.
//!
//! # What is stored and served
//!
//! A *shared* answer is for every caller. A *personal* answer is for one [`principal`](LastKnownGoodBuilder::principal). If no
//! principal is configured, or a request has none, its answers are shared.
//!
//! | rule | source |
//! |---|---|
//! | answers to `GET` are stored; they also serve `HEAD`, with the length of the `GET`'s body | RFC 9111 §3, RFC 9110 §8.6, §9.3.2 |
//! | … with status 200, 203 or 204, if the whole body arrived, as long as announced, up to `max_body` | RFC 9111 §3, §3.3 |
//! | … not if the request has content, since the key doesn't cover it: a `Content-Length` or `Transfer-Encoding`, or a body that holds bytes or is still pending when the request arrives (see [`has_content`](backstop_kit::has_content)) | RFC 9110 §9.3.1, RFC 9112 §6 |
//! | … not if the request has `Range`, or the request or the answer has `no-store`, in any spelling | RFC 9111 §5.2.1.5, §5.2.2.5 |
//! | … not if the request's authority doesn't parse: userinfo, a port that isn't a number, several `Host` | RFC 9110 §4.2.4, §7.2, RFC 9112 §3.2 |
//! | … not if they set cookies | ours: a cookie is for one caller, once |
//! | … shared: not if they are `private`, even for some fields only | RFC 9111 §5.2.2.7 |
//! | … shared: if the request has `Authorization`, `Cookie`, [another field that looks like a credential](LastKnownGoodBuilder::credentials) or one that is configured as such, only if the answer is `public` | RFC 9111 §3.5, here also for `s-maxage` and `must-revalidate` |
//! | … not if they or a part of them were degraded or stale: reported in this process, also while the body streams, or labelled by `X-Data-Freshness` and `X-Fallback-Source`, also in trailers | ours |
//! | … not if the stored answer was made more than a second later and may be served: a body may end late, and an upstream cache may return an older copy | RFC 9111 §4 |
//! | fields about a connection are left out, and so are trailers | RFC 9111 §3.1 |
//! | `X-Data-Freshness: fresh` and the `X-Fallback-Source` beside it are left out: a copy isn't fresh any more | ours |
//! | a `Cache-Control` of more than 1,024 bytes counts as `no-store`, a longer `Vary` as `*`; an answer with more than 256 bytes of `Connection` isn't stored | ours: no service needs more |
//! | directives that allow more count only if they are well formed: `max-age = 60` counts as `max-age=0`, and `public=1` as nothing | RFC 9111 §5.2, §4.2.1 |
//! | `no-cache`: not stored, since nothing is revalidated; the same for `Pragma: no-cache` without `Cache-Control` | RFC 9111 §5.2.2.4, §5.4 |
//! | `must-revalidate`, and shared `proxy-revalidate` or `s-maxage`: served only while fresh | RFC 9111 §5.2.2.2, §5.2.2.8, §5.2.2.10 |
//! | `stale-if-error` of the answer: served for that long after it was fresh; of the request: no longer than that | RFC 5861 §4 |
//! | otherwise: served up to the age `max_stale`, which bounds all of the above | RFC 9111 §4.2.4: by configuration |
//! | dates are parsed as leniently as RFC 9110 §5.6.7 asks; an invalid `Expires` counts as a date in the past | RFC 9111 §4.2, §5.3 |
//! | the age is the greatest that `Age`, `Date` and the response time allow, and grows from there | RFC 9111 §4.2.3 |
//! | the request fields that `Vary` names must match, all values in order; `Vary: *` never matches | RFC 9111 §4.1 |
//! | also without `Vary`, the request must accept the answer's `Content-Encoding` and `Content-Language`, or have the same `Accept-Encoding` and `Accept-Language` as the original request; without `Accept-Encoding` only an answer without a coding is accepted | RFC 9110 §12.5.3, §12.5.4 |
//! | `stale-while-revalidate`: served by a [`StaleWhileRevalidateLayer`] although the service works | RFC 5861 §3 |
//! | `no-cache` and `max-age` of a request are ignored: the request was sent to the service, which failed | RFC 9111 §5.2.1: advisory |
//!
//! Stored answers are removed:
//!
//! | when | what | source |
//! |---|---|---|
//! | an unsafe method succeeds (2xx, 3xx) | everything stored for its URI, and for `Location` and `Content-Location` on the same authority, for all callers | RFC 9111 §4.4 |
//! | the service answers 404, 410 or 451 | the same variant, by all fields that any stored answer of this target varies by (in every coding, if they vary by nothing else), for this principal, or shared: it is gone for everybody | RFC 9110 §15.5.5, §15.5.11; RFC 7725 |
//! | … to a request with credentials and no principal | the same, but only if the answer is `public`: it may be hidden from this caller alone | as RFC 9111 §3.5 |
//! | 401, 403 | all variants of this principal; nothing shared: the status says who may not see the answer, and that may be a robot | RFC 9110 §15.5.2, §15.5.4 |
//! | 3xx (except 304) | the same variant of this principal; nothing shared: a redirect often depends on one caller's scheme, session or region | RFC 9110 §15.4 |
//! | a good answer may no longer be stored the same way: `no-store`, `no-cache`, `private`, … | the same variant, for this principal, or shared; a request with credentials removes nothing shared unless the answer is `public` | ours |
//! | a 304, or a good answer to HEAD, has another `ETag` or `Last-Modified`, or HEAD has another `Content-Length` | the same variant | RFC 9111 §4.3.4, §4.3.5 |
//! | an answer that began before one of these removals ends after it | that answer isn't stored by the process that saw the removal. It remembers the last 4,096 URIs at least; if more change meanwhile, an answer for any URI counts as removed | ours |
//!
//! Stored answers are updated by a 304 if the request's condition has the validator of the stored answer, and by an answer to
//! HEAD with the same `ETag` or `Last-Modified`. Its fields replace the stored ones, and the age starts again (RFC 9111 §3.2,
//! §4.3.4, §4.3.5). A 304 about another answer changes nothing.
//!
//! A degraded or stale answer updates nothing. It removes something only by its status.
//!
//! If the store fails to remove an answer, this process remembers that, and serves nothing that was made before.
//!
//! Removals are known to one process only. If several processes share a store, one may store an answer that began before a
//! write another process saw, and serve what another one failed to remove, up to `max_stale`. An answer that must never
//! outlive a write says `no-store`, or `must-revalidate` with a short `max-age`. Their clocks should agree: ages are wrong by
//! the difference. An answer made more than 10 s ahead of a process's own clock isn't served by it.
//!
//! A URI is its authority, path and query; `http` and `https` of one authority are the same. The authority comes from the
//! request target (or `:authority`) and from `Host`. If they differ, both become part of the key, since the layer doesn't know
//! which one the service uses. The authority is normalised (RFC 3986 §6.2): the host in lower case, an IPv6 address in one
//! form, a port without leading zeros, and no port if it is empty or the scheme's default. The scheme of `GET /path` is
//! unknown, so `Host` with `:80` or `:443` has a key of its own, and a write removes all three. Up to 64 variants by `Vary` are
//! kept for each URI and principal.
//!
//! **Use one layer for one space of URIs**, and give each a name of its own if they share a store. If one layer stands around
//! two services that see only the path, each gets the other's answers for the same path. The same happens with nested axum
//! routers: inside `nest("/a", …)` the URI starts after `/a`. Put one layer around the whole app, or a layer of its own around
//! each.
//!
//! `Vary` must name every other request field that an answer depends on. If a service uses `X-Forwarded-Host` without
//! naming it, one caller can choose what others get. A body that ends when its HTTP/1 connection closes looks the same
//! as a truncated one.
//!
//! The served answer is the stored one: status, fields in order, its own `Date`, `Cache-Control` and validators, plus
//! `Age`. A downstream cache handles it by RFC 9111. `backstop-degradation-header` writes the same age, and the label.
//!
//! # Knobs
//!
//! | knob | default | allowed |
//! |---|---|---|
//! | [`max_stale`](LastKnownGoodBuilder::max_stale) | 24 h | 1 s to 365 days |
//! | [`max_stale_while_open`](LastKnownGoodBuilder::max_stale_while_open) | not set | `max_stale` to 365 days |
//! | [`max_body`](LastKnownGoodBuilder::max_body) | 256 KiB | 0 to 1 GiB, less than `max_bytes` |
//! | [`principal`](LastKnownGoodBuilder::principal) | none: every answer is shared | a closure |
//! | [`credentials`](LastKnownGoodBuilder::credentials) | fields that look like credentials | further fields |
//! | [`max_bytes`](LastKnownGoodBuilder::max_bytes) | 64 MiB | 1 to 1 TiB |
//! | [`max_entries`](LastKnownGoodBuilder::max_entries) | 65,536 | 1 to `max_bytes` |
//! | [`store`](LastKnownGoodBuilder::store) | [`MokaStore`], in memory | any [`Store`] |
//! | [`shared_store`](LastKnownGoodBuilder::shared_store) | none | any [`Store`], and an executor |
//! | [`store_timeout`](LastKnownGoodBuilder::store_timeout) | 50 ms | 1 ms to 10 s |
//!
//! # Stores
//!
//! A [`Store`] keeps bytes under keys. The version of their format is part of each key. So while a rolling deployment changes the
//! format, processes of both versions share a store, and each misses what the other has stored. Bytes that don't parse are a
//! miss. A store that fails, or takes longer than `store_timeout`, is a miss too. The first failure is a warning, see
//! [Telemetry](#telemetry).
//!
//! Finding an answer takes one round trip: [`Store::get_all`]. A second one is needed if the answer varies by other fields than the
//! last one that varied.
//!
//! The layer spawns nothing but by an executor that you give it. A body streams on piece by piece, without delay. If the store isn't ready at once, the last piece
//! waits until the answer is stored: at most `store_timeout`, and not beyond the request's deadline. An answer that removes
//! something waits as long. A 304, or an answer to HEAD, waits at most twice as long, because it looks up the stored answer
//! first.
//!
//! # Two tiers
//!
//! With [`shared_store`](LastKnownGoodBuilder::shared_store), answers are in the memory of the process, and in a store that
//! outlives it, such as `backstop-redis`. An instance that has just started serves what the others have stored.
//!
//! | what happens | memory | shared store |
//! |---|---|---|
//! | a good answer | stored at once | stored by the executor: nobody waits |
//! | … while 256 answers are on their way, or an identical one is | stored at once | not stored |
//! | a 304, or an answer to `HEAD` | updated by the executor | updated by the executor |
//! | an answer is looked for | asked first | asked if memory has none that may be served: one round trip, at most `store_timeout` |
//! | … and the shared store has it | kept, within `max_bytes` and `max_entries`, for the rest of its time | |
//! | a removal | at once | the response waits for it, at most `store_timeout` |
//! | … that the shared store doesn't confirm | at once; this process serves nothing older from either | repeated by the executor after 1 s, then up to 60 s, until it is confirmed; up to 4,096 removals |
//! | [`clear`](LastKnownGoodHandle::clear) | at once | keeps all; this process serves nothing older of it |
//!
//! So what this process has removed doesn't come back to it. Two limits remain. Other instances keep what they have in memory, up
//! to `max_stale`. And a process that ends before a failed removal was repeated leaves the old answer in the shared store, where
//! other instances find it.
//!
//! # Cost
//!
//! Requests with other safe methods cost nothing. Requests with unsafe methods allocate when they succeed. For a `GET` whose
//! answer may be stored, the answer is copied into one buffer while it streams. Its key and its request's fields are kept in
//! one buffer each until then, since `Vary` may name any field. A `HEAD`, and a `GET` whose request forbids storing, keep the
//! same and copy nothing.
//!
//! # Cancellation
//!
//! Dropping the future or the body stores nothing. If either is dropped while the store is at work, the answer is stored
//! completely or not at all, and an answer that was to be removed isn't served.
//!
//! # Telemetry
//!
//! Each decision is one `tracing` event with the target `backstop::last_known_good` and the field `name`. Events contain
//! nothing of a request.
//!
//! | event | level | fields |
//! |---|---|---|
//! | an answer was stored | `DEBUG` | `body_bytes` |
//! | an answer isn't stored | `DEBUG` | `reason` |
//! | what was stored is removed | `DEBUG` | `reason` |
//! | what was stored is updated | `DEBUG` | `body_bytes` |
//! | a stored answer is served | `DEBUG` | `age_ms` |
//! | no stored answer is served | `DEBUG` | `reason` |
//! | a request passes by what is stored | `DEBUG` | `reason`: `upgrade` |
//! | the store fails | `WARN` at the first failure, `DEBUG` at later ones | `operation`, `error` |
//! | the store works again, 1 min after its last failure | `INFO` | |
//!
//! With the feature `metrics`, through the facade of that name:
//!
//! | metric | labels | counts |
//! |---|---|---|
//! | `stale_served_total` | `name` | answers served from the store |
//! | `stale_not_served_total` | `name`, `reason`: `missing`, `too-stale`, `method`, `store-failed` | times that no stored answer was served, though one was asked for |
//! | `stale_store_total` | `name`, `result` | what happened to each answer that the layer saw |
//! | `stale_store_errors_total` | `name`, `operation`: `get`, `put`, `remove` | operations of the store that failed |
//!
//! What a store evicts to make room isn't counted here: its own metrics show that. `result` is the `reason` of the event:
//!
//! | `result` | meaning |
//! |---|---|
//! | `stored`, `updated` | the answer was stored; the stored answer was updated |
//! | `content`, `range`, `request-no-store`, `method` | the request has content, `Range` or `no-store`, or isn't a `GET` |
//! | `status` | the status says nothing about the stored answer |
//! | `host` | the request's authority doesn't parse |
//! | `credentials` | the request has credentials, and the answer isn't `public` |
//! | `degraded` | the answer, or a part of it, is degraded or stale |
//! | `fault` | an injected fault has hit the call |
//! | `set-cookie` | the answer sets a cookie |
//! | `no-store`, `no-cache`, `private`, `vary`, `never-stale` | the answer may not be stored, or not be served stale; `vary` also: it varies by too many fields |
//! | `gone`, `forbidden`, `moved` | 404, 410, 451; 401, 403 to a principal; 3xx to a principal |
//! | `changed` | the service would now answer something else |
//! | `length`, `too-long`, `head`, `incomplete` | `Content-Length` doesn't parse; the body is too long; the fields of the request or the answer are too large; the body broke off, or wasn't read to its end |
//! | `older`, `too-old` | the stored answer was made later; the answer was too old when its body ended |
//! | `removed` | the answer it would replace was removed meanwhile |
//! | `write`, `asked` | a write, or the handle, removed the stored answer |
//! | `store-failed` | the store failed to store or to remove |
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | answers with `axum::body::Body` |
//! | `tonic` | answers with `tonic::body::Body` |
//! | `metrics` | the metrics, through the `metrics` facade |
//! | `serde` | a [`LastKnownGoodConfig`] and a [`LastKnownValuesConfig`] can be read from a file, and written to one |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod age;
mod background;
mod body;
mod body_copy;
mod builder;
mod cache_control;
mod config;
mod credentials;
mod entry;
mod entry_context;
mod entry_store;
mod exchange;
mod fields;
mod future;
mod handle;
mod headers;
mod inspect;
mod key;
mod layer;
mod layer_state;
mod metrics;
mod moka_store;
mod negotiation;
mod not_stored;
mod outage;
mod path;
mod quality;
mod removals;
mod removing;
mod revalidate;
mod rules;
mod running;
mod service;
mod staleness;
mod store;
mod store_failure;
mod target;
mod telemetry;
mod tier;
mod validation;
mod values;
mod vary;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backstop_core::{ConfigError, Freshness, Name, name};
pub use backstop_kit::{Answer, StoreError, WrapBody};

pub use builder::LastKnownGoodBuilder;
pub use config::LastKnownGoodConfig;
pub use future::LastKnownGoodFuture;
pub use handle::LastKnownGoodHandle;
pub use layer::LastKnownGoodLayer;
#[cfg(feature = "metrics")]
pub use metrics::describe_metrics;
pub use moka_store::MokaStore;
pub use not_stored::NotStored;
pub use revalidate::{
    Refresh, StaleWhileRevalidate, StaleWhileRevalidateBuilder, StaleWhileRevalidateConfig, StaleWhileRevalidateFuture,
    StaleWhileRevalidateHandle, StaleWhileRevalidateLayer,
};
pub use running::BackgroundTask;
pub use service::LastKnownGood;
pub use store::Store;
pub use values::{LastKnownValues, LastKnownValuesBuilder, LastKnownValuesConfig, RememberResult};
