//! The vocabulary that Backstop's layers and their users share: names, outcomes, reasons, rejections, degradations, deadlines.
//!
//! You need this crate to write a [classifier](Classify) or a custom layer. The toolbox for layers is `backstop-kit`.
//! If you only use the layers, depend on `backstop`, which re-exports everything you need.
//!
//! Layers don't depend on each other. They communicate through these types:
//!
//! | what | meaning | who makes it | who reads it |
//! |---|---|---|---|
//! | [`Outcome`] | what a finished attempt counts as | a [`Classify`] | every layer |
//! | [`Reason`] | why a response isn't the requested one | layers, classifiers | logs, metrics, headers, chains |
//! | [`Rejection`] | an answer that a layer made itself, and why | the layer | the layers further out |
//! | [`Degradation`] | an answer that isn't the primary's fresh one | a chain | the degradation headers, your handlers |
//! | [`Deadline`] | when the caller stops waiting, and who set it | the edge, retries, chains | everything further in |
//! | [`Scope`] | deadline and degradations of the request being served | the edge, every attempt | everything further in |
//! | [`Inspect`] | a layer's kind, settings and current state | every layer's handle | inventories, operators |
//!
//! Everything here is open: your layer can define its own reasons and rejections without changing this crate.
//!
//! # Example
//!
//! Other layers understand what your layer or handler reports:
//!
//! ```
//! use backstop_core::{Classify, Degradation, Freshness, HttpClassify, Scope, Verdict, name, scope};
//! use http::{Response, StatusCode};
//!
//! // Judge the response as the other layers do: only a failure is a reason to use another source.
//! let mut response = Response::new(());
//! *response.status_mut() = StatusCode::BAD_GATEWAY;
//! let judge = HttpClassify::new();
//! assert_eq!(judge.classify(Ok(&response)).verdict, Verdict::Failure);
//! let reason = judge.reason(Ok(&response));
//!
//! // The edge's scope: the degradation headers show what is reported in it.
//! let mut scope = Scope::new();
//! scope.enter(|| {
//!     scope::report(Degradation::new(name!("prices"), name!("list"), 1, reason, Freshness::Degraded));
//! });
//! assert_eq!(*scope.take_reports()[0].source(), "list");
//! ```
//!
//! # Features
//!
//! None is on by default. A feature adds support for a client's errors. Without it, an error counts as "failure,
//! possibly processed", unless an [`std::io::Error`] along its `source()` says that the connection was refused.
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | `axum_core::Error` is seen through |
//! | `hyper-util` | errors of hyper, hyper-util's client and h2 can prove that a request was not processed |
//! | `tonic` | a `tonic::Status` returned as an error is judged by its code |
//! | `tonic-transport` | `tonic` and `hyper-util`, and the same for errors of tonic's `Channel` |

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod grpc;
pub mod scope;

mod classify;
mod config_error;
mod deadline;
mod degradation;
mod error_ref;
mod http_classify;
mod http_date;
mod inspect;
mod name;
mod outcome;
mod reason;
mod rejection;
mod result_classify;
mod retry_after;
mod transport;

pub use classify::{Classify, ClassifyFn};
pub use config_error::ConfigError;
pub use deadline::{Deadline, Limit, SetBy};
pub use degradation::{Degradation, Freshness, SourcePath, X_DATA_FRESHNESS, X_FALLBACK_SOURCE};
pub use error_ref::{ErrorRef, see_through, see_through_as};
pub use http_classify::HttpClassify;
pub use http_date::http_date;
pub use inspect::{
    Event, EventLog, Inspect, Lasts, Level, Operation, OperationError, OperationFuture, OperationRequest, Reach, Value,
};
pub use name::Name;
pub use outcome::{Blame, Outcome, Pushback, Verdict};
pub use reason::Reason;
pub use rejection::{Rejection, RejectionDetail};
pub use result_classify::{ResultClassify, judge_error};
pub use retry_after::retry_after;
pub use scope::Scope;
