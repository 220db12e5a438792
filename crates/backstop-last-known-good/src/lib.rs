//! A tower layer that stores good answers, and serves them as stale when the service fails.
//!
//! # Why
//!
//! Yesterday's prices, clearly marked, are better than an error page. Around a service stands this layer, which copies its
//! good answers aside as they stream to the caller. When the service fails, a chain asks the layer's handle for the last
//! one it knew: it comes as `stale`, with its true age.
//!
//! Storing what one caller was told, to tell it another, is how caches leak. So the rules of HTTP caching decide what may
//! be stored and for whom ([RFC 9111](https://www.rfc-editor.org/rfc/rfc9111)), and how stale it may be served ([RFC
//! 5861](https://www.rfc-editor.org/rfc/rfc5861)); where they leave a choice, this layer stores less.
//!
//! **When not to use it**: for what an old answer makes wrong rather than old (a balance before a payment, stock before an
//! order, permissions, feature switches that guard something), and for anything personal without a
//! [`principal`](LastKnownGoodBuilder::principal). Let such answers say `no-store`, or leave the layer out. It is no cache
//! either: while the service is well, every request goes to it, unless you add a [`StaleWhileRevalidateLayer`].
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
//! For functions rather than services that speak HTTP there is [`LastKnownValues`].
//!
//! In a chain of `backstop-fallback` the handle is a provider, and its freshness needs no telling:
//! `Provider::head(name!("cached"), move |head| known.answer(head)).only_reads()`, which tells the chain that a miss has
//! processed nothing. Put the layer outermost around the primary, directly inside the fallback: a request must look the same
//! to both, or nothing that is stored is found.
//!
//! # What is stored, and served
//!
//! A *shared* answer is for whoever asks; a *personal* one, by [`principal`](LastKnownGoodBuilder::principal), for one
//! principal alone. A store that knows no principals, and requests that have none, share.
//!
//! | rule | source |
//! |---|---|
//! | answers to `GET` are stored; they serve `HEAD`, too, with the length of the `GET`'s | RFC 9111 §3, RFC 9110 §8.6, §9.3.2 |
//! | … with status 200, 203 or 204; only whole ones, as long as they said they would be, up to `max_body` | RFC 9111 §3, §3.3 |
//! | … not if the request has content, which the key doesn't tell: by `Content-Length` or `Transfer-Encoding`, or by a body that holds anything or is still pending when the request comes (see [`has_content`](backstop_kit::has_content)) | RFC 9110 §9.3.1, RFC 9112 §6 |
//! | … not if the request has `Range`, or the request or the answer `no-store`, in any spelling | RFC 9111 §5.2.1.5, §5.2.2.5 |
//! | … not if the request's authority doesn't parse: userinfo, a port that is no number, several `Host` | RFC 9110 §4.2.4, §7.2, RFC 9112 §3.2 |
//! | … not if they set cookies | ours: a cookie is meant for one caller, once |
//! | … shared, not if they are `private`, even for some fields only | RFC 9111 §5.2.2.7 |
//! | … shared, in answer to `Authorization`, `Cookie`, [what else looks like a credential](LastKnownGoodBuilder::credentials) or is configured as one, only if `public` | RFC 9111 §3.5, here also of `s-maxage` and `must-revalidate` |
//! | … not if they, or a part that they are made of, were degraded or stale themselves: as reported in this process, while the body streams too, or told by `X-Data-Freshness` and `X-Fallback-Source`, in trailers too | ours |
//! | … not in place of one that was made more than a second later, and may be served: a body may end late, and another cache answer with an older copy | RFC 9111 §4 |
//! | fields about a connection are left out, trailers too | RFC 9111 §3.1 |
//! | a `Cache-Control` of more than 1,024 bytes is `no-store`, a `Vary` of more is `*`; an answer whose `Connection` has more than 256 isn't stored | ours: nobody needs more |
//! | what allows more is believed only where it is well formed: `max-age = 60` is `max-age=0`, and `public=1` nothing | RFC 9111 §5.2, §4.2.1 |
//! | `no-cache`: not stored, since nothing is revalidated; so is `Pragma: no-cache` alone | RFC 9111 §5.2.2.4, §5.4 |
//! | `must-revalidate`, and shared `proxy-revalidate` or `s-maxage`: served while fresh only | RFC 9111 §5.2.2.2, §5.2.2.8, §5.2.2.10 |
//! | `stale-if-error` of the answer: served so long after it was fresh; of the request: no longer than that | RFC 5861 §4 |
//! | else: served up to the age of `max_stale`, which bounds all of the above | RFC 9111 §4.2.4: by configuration |
//! | dates are read as leniently as RFC 9110 §5.6.7 asks; an `Expires` that is none is one in the past | RFC 9111 §4.2, §5.3 |
//! | the age is the greatest that `Age`, `Date` and the time it took allow, and goes on from there | RFC 9111 §4.2.3 |
//! | the request's fields that `Vary` names must be the same, all values in order; never with `Vary: *` | RFC 9111 §4.1 |
//! | without `Vary` too, the request must accept the answer's `Content-Encoding` and `Content-Language`, or have the same `Accept-Encoding` and `Accept-Language` as the one that it answers; without `Accept-Encoding` only what isn't coded is accepted | RFC 9110 §12.5.3, §12.5.4 |
//! | `stale-while-revalidate`: served by a [`StaleWhileRevalidateLayer`] though the service is well | RFC 5861 §3 |
//! | `no-cache` and `max-age` of a request don't matter: it was sent to the service, which failed | RFC 9111 §5.2.1: advisory |
//!
//! And forgotten:
//!
//! | when | what | source |
//! |---|---|---|
//! | a method that isn't safe succeeds (2xx, 3xx) | all that is stored of its URI, and of `Location` and `Content-Location` on the same authority, for anybody | RFC 9111 §4.4 |
//! | the service answers 404, 410 or 451 | the same variant, by every field that any stored answer of this target varies by (in every coding, if it varies by nothing else), for this principal, or shared: it is gone for whoever asks | RFC 9110 §15.5.5, §15.5.11; RFC 7725 |
//! | … to a request with credentials and no principal | the same only if the answer is `public`, else nothing: it may be hidden from this caller alone | as RFC 9111 §3.5 |
//! | 401, 403 | all variants of this principal's; nothing shared: it says who may not see it, and that may be a robot | RFC 9110 §15.5.2, §15.5.4 |
//! | 3xx (but 304) | the same variant of this principal's; nothing shared: where one is sent often depends on the scheme, the session or the region of one caller | RFC 9110 §15.4 |
//! | a good answer may no longer be stored, as it would be: `no-store`, `no-cache`, `private`, … | the same variant, for this principal, or shared; nothing shared by a request with credentials, unless the answer is `public` | ours |
//! | a 304, or a good answer to HEAD, has another `ETag` or `Last-Modified`, or HEAD another `Content-Length` | the same variant | RFC 9111 §4.3.4, §4.3.5 |
//! | an answer from before any of these ends only after it | that isn't stored, in the process that saw them. It remembers the last 4,096 URIs at least; while more than that change, an answer to any is taken for one of them | ours |
//!
//! And updated: a 304 whose request has the validator of what is stored as its condition, and an answer to HEAD with the same
//! `ETag` or `Last-Modified`, show that it is still good. Its fields are replaced by those that they have, and its age begins
//! anew (RFC 9111 §3.2, §4.3.4, §4.3.5). A 304 about another answer changes nothing.
//!
//! What is degraded or stale itself updates nothing, and withdraws nothing but by its status: what is gone is gone.
//!
//! A store that fails to forget is remembered: this process then serves nothing that was made before.
//!
//! Both are known to this process alone. Where several share a store, one of them may store an answer from before a write
//! that another one saw, and serve what another one failed to remove, up to `max_stale`: what may never outlive a write says
//! so by `no-store`, or by `must-revalidate` with a short `max-age`. Their clocks should agree: an age is wrong by as much as
//! they don't, and what was made more than 10 s ahead of a process's own clock isn't served by it.
//!
//! A URI is known by its authority, path and query; `http` and `https` of one authority are the same. The authority is that
//! of the request's target (or `:authority`), and that of `Host`: where they differ, which of them the service goes by isn't
//! known, so both count. It is normalised (RFC 3986 §6.2): a host in lower case, an IPv6 address in one form, a port without
//! leading zeros, none that is empty or its scheme's own. The scheme of `GET /path` isn't known, so a `Host` with `:80` or
//! `:443` is stored apart from one without, and a write forgets all three. Up to 64 variants by `Vary` are kept of each URI,
//! for each principal.
//!
//! So **one layer is for one space of URIs**, each with a name of its own where they share a store. Of one layer around two
//! services that are sent the path alone, each is answered with what the other said of the same path; so are routers that
//! axum nests, since inside of `nest("/a", …)` the URI begins after `/a`. Put one layer around all of the app instead, or
//! another around each.
//!
//! Whatever else of a request an answer depends on, it must name in `Vary`: a service that heeds `X-Forwarded-Host` without
//! saying so lets a caller choose what others are served. And a body that is ended by the close of its HTTP/1 connection
//! can't be told from one that broke off.
//!
//! The answer itself is what was stored: status, fields in order, its own `Date`, `Cache-Control` and validators. `Age` is
//! added. What a cache below makes of that, RFC 9111 tells; `backstop-degradation-header` writes the same age, and the
//! label.
//!
//! # Knobs
//!
//! | knob | default | allowed |
//! |---|---|---|
//! | [`max_stale`](LastKnownGoodBuilder::max_stale) | 24 h | 1 s to 365 days |
//! | [`max_body`](LastKnownGoodBuilder::max_body) | 256 KiB | 0 to 1 GiB, less than `max_bytes` |
//! | [`principal`](LastKnownGoodBuilder::principal) | none: everything is shared | a closure |
//! | [`credentials`](LastKnownGoodBuilder::credentials) | what looks like one | more of them |
//! | [`max_bytes`](LastKnownGoodBuilder::max_bytes) | 64 MiB | 1 to 1 TiB |
//! | [`max_entries`](LastKnownGoodBuilder::max_entries) | 65,536 | 1 to `max_bytes` |
//! | [`store`](LastKnownGoodBuilder::store) | [`MokaStore`], in memory | any [`Store`] |
//! | [`store_timeout`](LastKnownGoodBuilder::store_timeout) | 50 ms | 1 ms to 10 s |
//!
//! # Stores
//!
//! A [`Store`] keeps bytes under keys; what the bytes mean is versioned, and what can't be read is a miss. A store that
//! fails, or takes longer than `store_timeout`, is a miss too. The first failure is a warning in the log, see
//! [Telemetry](#telemetry).
//!
//! Nothing is spawned. A body streams on piece by piece, without delay; where the store isn't ready at once, the last piece
//! waits until the answer is stored, at most `store_timeout`, and not beyond the request's deadline. An answer after which
//! something is forgotten waits as long; a 304, or an answer to HEAD, at most twice as long: what is stored is looked for
//! first.
//!
//! # Cost
//!
//! A request of another safe method costs nothing; one that isn't safe allocates when it succeeds. A `GET` that may be stored is copied
//! as it streams, into one buffer; its key and its request's fields are kept flat until then, as `Vary` may name any of them. A `GET`
//! whose request says that it may not be stored, and a HEAD, are kept so too, and not copied.
//!
//! # Cancellation
//!
//! Dropping the future or the body stores nothing. Dropping either while the store is at work leaves the answer stored whole
//! or not at all, and what was to be forgotten isn't served.
//!
//! # Telemetry
//!
//! Each decision is one `tracing` event, target `backstop::last_known_good`, with the field `name`; nothing of a request is
//! in it.
//!
//! | event | level | fields |
//! |---|---|---|
//! | an answer was stored | `DEBUG` | `body_bytes` |
//! | an answer isn't stored | `DEBUG` | `reason` |
//! | what was stored is removed | `DEBUG` | `reason` |
//! | what is stored is updated | `DEBUG` | `body_bytes` |
//! | a stored answer is served | `DEBUG` | `age`, in seconds |
//! | no stored answer is served | `DEBUG` | `reason` |
//! | a request passes by what is stored | `DEBUG` | `reason`: `upgrade` |
//! | the store fails | `WARN` at the first failure, `DEBUG` at those after it | `operation`, `trouble` |
//! | the store works again, 1 min after its last failure | `INFO` | |
//!
//! With the feature `metrics`, `stale_served_total{name}` counts the answers that were served, and
//! `stale_store_total{name,result}` what became of each answer that was seen. `result` is the `reason` of the event:
//!
//! | `result` | why |
//! |---|---|
//! | `stored`, `updated` | it was stored; what is stored was updated |
//! | `content`, `range`, `request-no-store`, `method` | the request has content, `Range` or `no-store`, or isn't `GET` |
//! | `status` | its status says nothing of what is stored |
//! | `host` | the request's authority doesn't parse |
//! | `credentials` | the request has credentials, and the answer isn't `public` |
//! | `degraded` | it, or a part of it, is degraded or stale |
//! | `set-cookie` | it sets a cookie |
//! | `no-store`, `no-cache`, `private`, `vary`, `never-stale` | it says that it may not be stored, or not be served when it would be; `vary` also: by too much |
//! | `gone`, `forbidden`, `moved` | 404, 410, 451; 401, 403 to a principal; 3xx to a principal |
//! | `changed` | what is stored isn't what the service would answer now |
//! | `length`, `too-long`, `head`, `incomplete` | its `Content-Length` can't be read; its body is too long; the fields of it or its request are too large; its body broke off, or wasn't read to its end |
//! | `older`, `too-old` | what is stored was made later; it was too old once it was read |
//! | `removed` | what it would replace was removed meanwhile |
//! | `write`, `asked` | a write, or the handle, removed what is stored |
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
//! | `metrics` | the metric, through the `metrics` facade |

mod age;
mod body;
mod cache_control;
mod config;
mod credentials;
mod entry;
mod fields;
mod future;
mod handle;
mod headers;
mod key;
mod layer;
mod moka_store;
mod negotiation;
mod outage;
mod quality;
mod removals;
mod revalidate;
mod rules;
mod service;
mod shelf;
mod store;
mod target;
mod telemetry;
mod trouble;
mod validation;
mod values;
mod vary;
mod watch;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backstop_core::{ConfigError, Freshness, Name, name};
pub use backstop_kit::{Answer, WrapBody};

pub use config::{LastKnownGoodBuilder, LastKnownGoodConfig};
pub use future::LastKnownGoodFuture;
pub use handle::{LastKnownGoodHandle, NotStored};
pub use layer::LastKnownGoodLayer;
pub use moka_store::MokaStore;
pub use revalidate::{
    Refresh, StaleWhileRevalidate, StaleWhileRevalidateBuilder, StaleWhileRevalidateFuture, StaleWhileRevalidateLayer,
};
pub use service::LastKnownGood;
pub use store::{Store, StoreError};
pub use values::{KeepValue, LastKnownValues, LastKnownValuesBuilder, LastKnownValuesConfig};
