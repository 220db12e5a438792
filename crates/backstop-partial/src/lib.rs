//! Pages made of several parts, which are answered even if a part fails.
//!
//! A dashboard shows a profile, orders and recommendations, and each comes from another service. With `try_join!`, the page
//! is as available as all of them together: three services that are up 99.9 % of the time make a page that is up 99.7 %. But
//! nobody needs recommendations to see their orders. An [`Aggregate`] gathers the parts, replaces the ones that fail, and says
//! so: in the page, and in its headers.
//!
//! ```
//! use std::time::Duration;
//!
//! use backstop_partial::{Aggregate, name, part};
//!
//! # mod users { pub async fn profile(_: u64) -> Result<&'static str, std::io::Error> { Ok("Ada") } }
//! # mod orders { pub async fn recent(_: u64) -> Result<Vec<u32>, std::io::Error> { Err(std::io::Error::other("down")) } }
//! # mod recs { pub async fn fetch(_: u64) -> Result<Vec<u32>, std::io::Error> { Ok(vec![7]) } }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let id = 1;
//! // Once, when the service starts.
//! let dashboard = Aggregate::builder("dashboard").total(Duration::from_secs(3)).build()?;
//!
//! // In a handler.
//! let page = dashboard
//!     .gather((
//!         part(name!("profile"), users::profile(id)).required(),
//!         part(name!("orders"), orders::recent(id)).or(Vec::new()).warn("Order history is temporarily unavailable"),
//!         part(name!("recommendations"), recs::fetch(id)).or_default(), // silent: nobody misses them
//!     ))
//!     .await?; // an error only if a required part failed
//!
//! assert_eq!(*page.data(), ("Ada", vec![], vec![7]));
//! assert_eq!(page.status().warnings(), ["Order history is temporarily unavailable"]);
//! # Ok(())
//! # }
//! ```
//!
//! Return the page from the handler: with the feature `axum` it is a JSON response that caches treat correctly. Or
//! [map](Page::map) it into a struct of your own, and serialise that with the feature `serde`.
//!
//! # When not to use it
//!
//! - For one call: that is a fallback chain. A part may be a chain.
//! - Where a page with a hole misleads. A statement without some of its bookings is wrong, not partial: make those parts
//!   [required](Part::required).
//! - **To invent a quantity.** A balance, a stock or a dose that isn't known is `null`, not 0: use
//!   [`optional`](Part::optional), not [`or_default`](Part::or_default).
//! - For work that must be done. Parts are dropped when the time is up, when a required part fails, and when the caller
//!   leaves.
//! - For calls that block the thread: see [how parts run](#how-parts-run).
//!
//! # What a page has of a part
//!
//! | the part is | it answers | it fails | label |
//! |---|---|---|---|
//! | [`required`](Part::required) | its value | [no page](#when-a-required-part-fails) | |
//! | [`or(value)`](Part::or), [`or_else(…)`](Part::or_else), [`or_default()`](Part::or_default) | its value | the other value | `orders/default` |
//! | [`optional`](Part::optional) | `Some` of its value | `None` | `orders/none` |
//!
//! It has failed, with this reason, if
//!
//! | what happens | reason |
//! |---|---|
//! | its future resolves to an error | that of the [`Rejection`] in it, such as `circuit-open` or `all-providers-failed`; `status-404` for a `StatusCode`; else `error` |
//! | it is a [`response`](Part::response) that isn't a success | `status-503`, `grpc-14` |
//! | it takes longer than its [`timeout`](Part::timeout) or the [total](AggregateBuilder::total) | `timeout` |
//! | it panics, or the destructor of its future does | `panic` |
//! | it hadn't begun when the time was up, because of [`max_concurrent`](AggregateBuilder::max_concurrent) | `not-started` |
//!
//! A part that fails changes no other part's value.
//!
//! # How parts run
//!
//! In the task that awaits the page: nothing is spawned. So parts may borrow from the handler, share its scope and its span,
//! and end with it. All begin at once, in order, or [`max_concurrent`](AggregateBuilder::max_concurrent) at a time: then the
//! required ones are first.
//!
//! Only parts that were woken are polled, and each at most once in a poll of the page. So no part starves another, if it
//! yields. A part that blocks its thread blocks the page: use `tokio::task::spawn_blocking` in it.
//!
//! **A panic** fails its part alone, which is caught here and nowhere else. With `panic = "abort"` it ends the process.
//! The function of [`or_else`](Part::or_else) isn't a part of the part: its panic propagates.
//!
//! # Time
//!
//! | limit | default | |
//! |---|---|---|
//! | [`total`](AggregateBuilder::total) | 5 s | for all parts, from [the first wait](backstop_core::scope#when-time-begins) on |
//! | the deadline of the [scope](backstop_core::scope), less 50 ms | | where it is earlier: the page must still be sent |
//! | [`Part::timeout`] | none | where it is shorter, from the part's own first wait on |
//!
//! Each part sees its time as the deadline of its scope, and is ended there. It is polled at least once, unless it waits for its
//! turn. When our own limit ends a part, a circuit breaker inside counts a failure; when the caller's deadline does, it counts
//! nothing.
//!
//! # When a required part fails
//!
//! There is no page, but a [`RequiredPartFailed`]. The other parts are dropped as *replaced*, which is nobody's failure, and
//! parts that wait for their turn don't begin. As a response it is
//!
//! | the part failed because | status | |
//! |---|---|---|
//! | the caller is to blame, by a response (404, 403), a `StatusCode`, a gRPC status or [a rule](Part::is_answer) | that of the response or the `StatusCode`; else 400 | the response of the part as it was, where it is an axum response; [`into_original`](RequiredPartFailed::into_original) has every error and response |
//! | its time was up | 504 | a problem document (RFC 9457) that names the part |
//! | of anything else | 503; or that of the rejection | the same |
//!
//! `Retry-After` is the greatest wait that a required part asked for which had failed by then. Of several that fail in the
//! same poll, one that blames the caller decides, then the first one.
//!
//! # What caches and clients are told
//!
//! Each part has a [scope](backstop_core::scope) of its own. What is reported there, by a chain for example, becomes the page's
//! with the part's name in front:
//!
//! | the part | source | freshness |
//! |---|---|---|
//! | was answered by the provider `cached` of a chain | `recommendations/cached` | the provider's |
//! | has a stored copy, as an [`answer`](Part::answer) | `recommendations` | the answer's |
//! | was replaced, or left out | `orders/default`, `orders/none` | degraded |
//! | failed after reports of its own | those are dropped | |
//!
//! The layer of `backstop-degradation-header` writes them into `X-Fallback-Source` and `X-Data-Freshness`, which has the worst
//! freshness, and `Age`, which is the oldest part's. A page with a part that was replaced or left out, **a silent one too**, is
//! `no-store` and has no validators: a cache would keep the hole after the part is back. [`Page`] and [`PageStatus`] see to
//! that by themselves, where they are the response.
//!
//! A path has at most 3 names. A page has at most 16 labels: beyond that, the last one is `others`, and as bad as the worst of
//! them.
//!
//! # In the body
//!
//! ```json
//! {
//!   "data": {"profile": {"name": "Ada"}, "orders": [], "balance": null},
//!   "degraded": true,
//!   "partial_failure": true,
//!   "warnings": ["Order history is temporarily unavailable"],
//!   "failed_services": [{"service": "orders", "reason": "timeout"}, {"service": "balance", "reason": "circuit-open"}]
//! }
//! ```
//!
//! | member | |
//! |---|---|
//! | `degraded` | a part was replaced or left out, or isn't fresh |
//! | `partial_failure` | a part was replaced or left out |
//! | `warnings` | what users should read: the [`warn`](Part::warn) of parts that failed. Silence concerns only these |
//! | `failed_services` | the parts that were replaced or left out, and the reasons |
//!
//! No text of an error is in it, unless [`Page::explain`] puts it there.
//!
//! # Cancellation
//!
//! Dropping the page's future drops all parts, at once, wherever they are. Nothing is reported, logged or counted then.
//!
//! # Knobs
//!
//! | knob | default | allowed |
//! |---|---|---|
//! | [`AggregateBuilder::total`] | 5 s | more than 0 s, up to 24 h |
//! | [`AggregateBuilder::max_concurrent`] | all parts | 1 or more |
//! | [`AggregateBuilder::error_text`] | the error and its causes, without secrets in URLs | |
//! | [`Part::timeout`] | none | |
//! | [`Part::warn`] | silence | |
//! | [`Part::is_answer`] | every error is a failure, unless it blames the caller by itself | |
//! | [`Part::response`], [`Part::answer`] | every `Ok` is an answer, and fresh | |
//!
//! The first two can come from a file, as an [`AggregateConfig`], and be [reloaded](AggregateHandle::reload).
//!
//! # What an operator sees
//!
//! ## In logs
//!
//! A part that fails is logged as an *episode*, under the target `backstop::partial`: an outage is a few lines, however many
//! pages it hits. Each part has its own. An episode begins with the first failure, and ends with the first answer at least
//! 1 min after the last failure. If the next one begins within 10 min, that minute doubles, up to 10 min.
//!
//! | level | when | fields |
//! |---|---|---|
//! | `WARN` | an episode begins | `aggregate`, `part`, `reason`, `error` |
//! | `WARN` | for the first time in an episode, a page fails with the part | the same |
//! | `WARN` | the last minute's share of failures is at least 5 %, and four times that of the last line | `aggregate`, `part`, `pages`, `replaced`, `failed`, `last_minute`, `duration_ms` |
//! | `INFO` | an episode goes on: after 1 min, then 2, 4, … 32 min later, then hourly | the same |
//! | `INFO` | it ends | the same; `duration_ms` is the time until the last failure, which was `since_ms` ago |
//! | `DEBUG` | any other failure | `aggregate`, `part`, `reason`, `error` |
//!
//! `error` is the text of the part's error, cut, escaped, and stripped of secrets in URLs. Nothing else of a request is
//! logged. [`AggregateHandle::failing`] shows the running episodes. Alert on shares in the metrics, not on episodes.
//!
//! ## In metrics
//!
//! With the feature `metrics`:
//!
//! | metric | labels | counts |
//! |---|---|---|
//! | `parts_total` | `aggregate`, `part`, `result` | the parts of all pages |
//!
//! | `result` | |
//! |---|---|
//! | `answered` | its own value, or the answer that blames the caller |
//! | `replaced` | another value, or none |
//! | `failed` | the part is required, and there is no page |
//! | `unfinished` | another part is required, and there is no page |
//!
//! An aggregate tells 64 names of parts apart, in metrics and episodes. Further ones count as `others`: give the parts of a
//! [set](Aggregate::gather_all) one name, not one for each item.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | `serde`, and `IntoResponse` for [`Page`] and [`RequiredPartFailed`], `IntoResponseParts` for [`PageStatus`] |
//! | `metrics` | the metric above, through the facade of that name |
//! | `serde` | pages are serialised, and the configuration can be read from a file |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod aggregate;
mod config;
mod gather;
mod handle;
mod inspect;
mod metrics;
mod outcome;
mod page;
mod part;
mod required;
mod stats;
mod telemetry;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backstop_core::{ConfigError, Degradation, Freshness, Name, Reason, Rejection, name};
pub use backstop_kit::Answer;

pub use aggregate::Aggregate;
pub use config::{AggregateBuilder, AggregateConfig};
pub use gather::{Gather, set::GatherParts};
pub use handle::{AggregateHandle, FailingPart};
#[cfg(feature = "metrics")]
pub use metrics::describe_metrics;
pub use page::{Page, PageStatus};
pub use part::{
    GatherPart, OfAnswer, OfResponse, OfResult, Optional, Or, OrDefault, OrElse, Part, PartFailure, PartJudge, Recover,
    Required, Undecided, part,
};
pub use required::RequiredPartFailed;

/// The reason of a part that had not begun when the time of its page was up.
pub const NOT_STARTED: Reason = Reason::new("not-started");

/// The types of parts while they run. They change at any time.
#[doc(hidden)]
pub mod running {
    pub use crate::{
        gather::set::{Cons, Flatten, Many, Nil, Slots, TakeValues},
        part::{
            Miss,
            slot::{RunSlot, Slot, Status, TakeValue},
        },
    };
}
