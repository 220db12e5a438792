//! The toolbox for writing layers like Backstop's.
//!
//! You need this crate to write a custom layer, or a body that Backstop can [replay](ReplayableBody) or
//! [wrap](WrapBody). [Writing a layer](writing_a_layer) walks through an example. The crate stays at 0.x because it
//! changes more often than [`backstop_core`], which it builds on. If you only use the layers, depend on `backstop`,
//! which re-exports everything you need.
//!
//! | task | use |
//! |---|---|
//! | call a service once it is ready | [`ServiceCall`] |
//! | end a call when its time is up | [`Attempt`] |
//! | limit the load that retries and hedges add | [`RetryBudget`] |
//! | prove that a request was not processed | [`proof`], [`client`], [`http_client`] |
//! | decide whether a request [may be sent again](repeating) | [`RepeatRule`], [`RequestFacts`] |
//! | send a request again | [`CopyRequest`], [`ReplayableBody`] |
//! | keep an answer as a last resort | [`KeepAnswer`] |
//! | reject a call | [`Reject`] |
//! | refuse a call that waits in the queue of a layer further in | [`queue`] |
//! | judge a result before the classifier does | [`Judge`], [`judge_error`](backstop_core::judge_error) |
//! | support HTTP and plain functions with one type parameter | [`Protocol`] |
//! | protect calls of functions without a service | [`function`] |
//! | watch or wrap a body | [`Upload`], [`WrapBody`], [`AbortBody`], [`WaitTime`], [`ClientBody`] |
//! | control how caches treat a degraded answer | [`caching`] |
//! | record metrics, and durations in events | [`telemetry`] |
//! | log an outage in a few lines, however many calls it hits | [`episode`] |
//! | log the text of an error | [`ErrorText`] |
//! | add a random part to a wait | [`Jitter`] |
//! | date what outlives the process | [`WallClock`] |
//! | warn of layers that share a name, or are built per request | [`Registration`] |
//! | reload settings while calls run | [`Reloadable`], [`AtomicDuration`] |
//!
//! # Features
//!
//! None is on by default. A feature adds support for a body type, and the feature of the same name of `backstop-core`.
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | `axum::body::Body` can be wrapped and replayed |
//! | `hyper-util` | [`http_client`] turns hyper's `Incoming` into a [`ClientBody`]; behind [`client`], errors of hyper, hyper-util's client and h2 can prove that a request was not processed; copies leave hyper's upgrade handle out |
//! | `metrics` | a [`Series`](telemetry::Series) records through the crate `metrics`; without it, it is empty |
//! | `serde` | a [`RepeatRule`] and a [`RetryBudgetConfig`] can be read from a file, and written to one |
//! | `tonic` | `tonic::body::Body` can be wrapped and replayed |
//! | `tonic-transport` | `tonic` and `hyper-util`, and the same for errors of tonic's `Channel` |

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "serde")]
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
pub mod as_text;
pub mod caching;
pub mod episode;
pub mod function;
pub mod proof;
pub mod queue;
#[doc = include_str!("repeating.md")]
pub mod repeating {}
pub mod telemetry;
#[doc = include_str!("writing_a_layer.md")]
pub mod writing_a_layer {}

mod answer;
mod attempt;
mod body;
mod bounded;
mod budget;
mod client;
mod copy;
mod error_text;
mod http_client;
mod jitter;
mod judge;
mod keep;
mod live;
mod macros;
mod operator;
mod protocol;
mod registration;
mod reject;
mod reload_part;
mod repeat;
mod service_call;
mod store_error;
mod until;
mod wall_clock;

pub use answer::Answer;
pub use attempt::{Attempt, Elapsed, Progress, Timer, polled_again};
#[cfg(feature = "tonic")]
pub use body::errors_as_trailers;
pub use body::{
    AbortBody, Ahead, BodyAction, BodyGuard, BodyStep, ClientBody, GuardedBody, IntoWrapBody, NotReplayable, ReadAhead,
    Replay, ReplayError, ReplayState, ReplayableBody, RequestFailure, SyncBody, Upload, WaitTime, WrapBody,
    has_content, split_by_recording,
};
pub use bounded::bounded;
pub use budget::{RetryBudget, RetryBudgetBuilder, RetryBudgetConfig};
pub use client::{Client, ClientFuture, client};
pub use copy::{
    CloneCopy, CopyAs, CopyRequest, HttpCopy, HttpKept, Keep, KeptRequest, LeftOut, NotCopied, RequestFacts,
};
pub use error_text::{ErrorText, is_printable, log_text};
pub use function::CallError;
pub use http_client::{HttpClient, HttpClientFuture, http_client};
pub use jitter::{Jitter, random_token};
pub use judge::{HttpJudge, Judge, JudgeRequest, PlainJudge, WithClassifier};
pub use keep::{DiscardReplaced, KeepAnswer, KeepReplaced, Keeping};
pub use live::{AtomicDuration, Loaded, Reloadable, Snapshot};
pub use operator::{REASON_MAX, WHO_MAX, check_operator, check_request, operation_fields};
pub use protocol::{Http, Plain, Protocol, Strategies};
pub use registration::Registration;
pub use reject::{
    ContextOf, HttpReject, ProblemDetails, Reject, RejectAsError, RejectWith, http_response, problem_response,
};
pub use reload_part::{ReloadPart, StackOf};
pub use repeat::{Repeat, RepeatIf, RepeatRule};
pub use service_call::{Call, EagerCall, Readiness, ServiceCall, Waiting};
pub use store_error::StoreError;
pub use until::{UntilBodyEnd, UntilFirstFrame, UntilHeaders};
pub use wall_clock::WallClock;
