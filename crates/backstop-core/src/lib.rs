//! The vocabulary that Backstop's layers share: names, outcomes, rejections, degradations, deadlines, and bodies that
//! replay or wrap.
//!
//! You need this crate to write a layer of your own, a [classifier](Classify), or a body that Backstop can
//! [replay](ReplayableBody) or [wrap](WrapBody). To use the layers, the crate `backstop` re-exports all that is needed.
//!
//! Layers know nothing of one another. They meet in what is defined here:
//!
//! | what | tells | who says it | who reads it |
//! |---|---|---|---|
//! | [`Outcome`] | what a finished attempt counts as | a [`Classify`] | every layer |
//! | [`Rejection`] | that a layer answered itself, and why | the layer, by a [`Reject`] strategy | the layers further out |
//! | [`Degradation`] | that an answer isn't the primary's fresh one | a chain | the degradation headers, your handlers |
//! | [`Deadline`] | when nobody waits any more, and who set it | the edge, retries, chains | everything further in |
//! | [`Scope`] | deadline and degradations of the request being served | the edge, and every [`Attempt`] | everything further in |
//! | [`proof`] | that a request was certainly not processed | a layer that refuses, and [`client`] | retries and chains |
//!
//! and share one way to copy requests ([`CopyRequest`]), to keep the answer of last resort ([`KeepAnswer`]), and to run
//! a call with its time limit ([`Attempt`]).
//!
//! # Example
//!
//! What a layer or a handler of your own says, all others understand:
//!
//! ```
//! use backstop_core::{Classify, Degradation, Freshness, HttpClassify, Scope, Verdict, name, scope};
//! use http::{Response, StatusCode};
//!
//! // Judged as the others judge it: nothing but a failure is a reason to answer from elsewhere.
//! let mut response = Response::new(());
//! *response.status_mut() = StatusCode::BAD_GATEWAY;
//! let judge = HttpClassify::new();
//! assert_eq!(judge.classify(Ok(&response)).verdict, Verdict::Failure);
//! let reason = judge.reason(Ok(&response));
//!
//! // The scope is the edge's: what is reported in it, the degradation headers show.
//! let mut scope = Scope::new();
//! scope.enter(|| {
//!     scope::report(Degradation::new(name!("prices"), name!("list"), 1, reason, Freshness::Degraded));
//! });
//! assert_eq!(*scope.take_reports()[0].source(), "list");
//! ```
//!
//! # Features
//!
//! None is on by default. A feature adds support for a body type, or knowledge of a client's errors. Behind [`client`]
//! those errors can [prove](proof) that a request was never processed. Without the feature an error counts as "failure,
//! possibly processed", unless an [`std::io::Error`] along its `source()` says that the connection was refused.
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | `axum::body::Body` can be wrapped and replayed; `axum_core::Error` is seen through; `AllProvidersFailed` is a response |
//! | `hyper-util` | behind [`client`], the errors of hyper, of hyper-util's client and of h2 prove what they can; copies leave hyper's upgrade handle out |
//! | `tonic` | `tonic::body::Body` can be wrapped and replayed; a `tonic::Status` that came as an error is judged by its code |
//! | `tonic-transport` | `tonic` and `hyper-util`, and the same of the errors of tonic's `Channel` |

pub mod caching;
pub mod grpc;
pub mod proof;
pub mod scope;

mod answer;
mod attempt;
mod body;
mod classify;
mod client;
mod config_error;
mod copy;
mod deadline;
mod degradation;
mod eager_call;
mod error_ref;
mod error_text;
mod http_classify;
mod http_date;
mod judge;
mod keep;
mod name;
mod outcome;
mod protocol;
mod reject;
mod rejection;
mod retry_after;
mod transport;

pub use answer::Answer;
pub use attempt::{Attempt, Call, Elapsed, ServiceCall, Timer, polled_again};
pub use body::{
    AbortBody, Ahead, Held, NotReplayable, ReadAhead, Replay, ReplayError, ReplayableBody, Upload, WaitTime, WrapBody,
    has_content, split_by_recording,
};
pub use classify::{Classify, ClassifyFn};
pub use client::{Client, ClientFuture, client};
pub use config_error::ConfigError;
pub use copy::{CloneCopy, CopyAs, CopyRequest, HttpCopy, HttpKept, Keep, LeftOut, NotCopied, Repeat, RequestFacts};
pub use deadline::{Deadline, Limit, SetBy};
pub use degradation::{Degradation, Freshness, Reason, X_DATA_FRESHNESS, X_FALLBACK_SOURCE};
pub use eager_call::EagerCall;
pub use error_ref::ErrorRef;
pub use error_text::ErrorText;
pub use grpc::WireProtocol;
pub use http_classify::HttpClassify;
pub use http_date::http_date;
pub use judge::{HttpJudge, Judge, PlainJudge, ResultClassify, WithClassifier, judge_error};
pub use keep::{DiscardReplaced, KeepAnswer, KeepReplaced, Keeping};
pub use name::Name;
pub use outcome::{Blame, Outcome, Pushback, Verdict};
pub use protocol::{Http, Plain, Protocol, Strategies};
pub use reject::{HttpReject, ProblemDetails, Reject, RejectAsError, RejectWith};
pub use rejection::{
    AllProvidersFailed, CircuitState, Progress, ProviderFailure, Rejection, RejectionKind, RequestFailure,
};
pub use retry_after::retry_after;
pub use scope::Scope;
