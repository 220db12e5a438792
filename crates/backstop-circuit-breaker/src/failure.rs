//! How a call failed, for the metrics and the log.

use std::borrow::Cow;

use backstop_core::{ErrorRef, Reason};
use backstop_kit::ErrorText;

/// How a call failed.
#[derive(Clone, Copy)]
pub(crate) enum Failure<'a> {
    /// By its response.
    Response(Reason),
    /// The service returned an error.
    Error(ErrorRef<'a>),
    /// The service returned an error from `poll_ready`.
    NotReady(ErrorRef<'a>),
    /// The response body broke off.
    Body(ErrorRef<'a>),
    /// The trailers of a gRPC answer have a bad status.
    Trailers(Reason),
    /// The body of a gRPC answer ended without a status.
    NoStatus,
    /// A gRPC answer has neither a status nor a body.
    NoBody,
    Dropped,
    Panic,
    /// The call succeeded, but took too long.
    Slow,
    /// A prober's call returned an error.
    Probe(ErrorRef<'a>),
    /// A prober's call outlived its lease.
    ProbeTimeout,
}

impl Failure<'_> {
    /// The label `reason` of the metric.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Response(_) | Self::NoBody => "response",
            Self::Error(_) => "error",
            Self::NotReady(_) => "not-ready",
            Self::Body(_) | Self::Trailers(_) | Self::NoStatus => "body",
            Self::Dropped => "dropped",
            Self::Panic => "panic",
            Self::Slow => "slow",
            Self::Probe(_) | Self::ProbeTimeout => "probe",
        }
    }

    /// The text of the log field `error`.
    pub(crate) fn text(self, error_text: &ErrorText) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Error(error) | Self::NotReady(error) | Self::Body(error) | Self::Probe(error) => {
                return error_text.of(error).map(Cow::Owned);
            }
            Self::Response(reason) | Self::Trailers(reason) => Cow::Owned(reason.to_string().replace('-', " ")),
            Self::NoStatus | Self::NoBody => Cow::Borrowed("the response ended without a gRPC status"),
            Self::Dropped => Cow::Borrowed("the call was dropped"),
            Self::Panic => Cow::Borrowed("the call panicked"),
            Self::Slow => Cow::Borrowed("the call was slow"),
            Self::ProbeTimeout => Cow::Borrowed("the probe outlived its lease"),
        })
    }
}
