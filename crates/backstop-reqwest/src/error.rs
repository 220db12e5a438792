//! The error of a call.

use std::{error::Error as StdError, fmt, io, iter};

use backstop_core::{Blame, Outcome, Reason, Rejection, SetBy, grpc::GrpcCode, name};
use backstop_kit::{Elapsed, Progress};
use http::StatusCode;

/// Whether an error of a call may prove that the request was not processed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Proof {
    /// While no redirect was followed.
    UntilRedirected,
    /// The client may have sent the request before, or another one after it.
    Never,
}

/// Why a call of a [`ReqwestClient`](crate::ReqwestClient) failed: a [`reqwest::Error`].
///
/// Its causes are reqwest's if it may prove that the request was not processed: see the [crate docs](crate#what-an-error-proves).
#[derive(Debug)]
pub struct Error {
    error: reqwest::Error,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    /// reqwest's.
    Shown,
    /// The texts of reqwest's causes. The errors themselves would be taken as proof.
    Hidden(Texts),
    /// One of reqwest's time limits, or a request that can't be sent.
    Rejected(Rejection),
}

impl Error {
    pub(crate) fn new(error: reqwest::Error, proof: Proof) -> Self {
        let cause = match proof {
            _ if is_own_limit(&error) => {
                Cause::Rejected(Elapsed::new(SetBy::Us, Progress::Called).rejection(name!("reqwest")))
            }
            // A scheme that it doesn't have, for example.
            Proof::UntilRedirected if error.is_builder() => return Self::unsendable(error),
            Proof::UntilRedirected => Cause::Shown,
            Proof::Never => Cause::Hidden(Texts::of(&error)),
        };
        Self { error, cause }
    }

    /// reqwest can't send such a request. Nothing was sent.
    pub(crate) fn unsendable(error: reqwest::Error) -> Self {
        const UNSENDABLE: Reason = Reason::new("unsendable");
        let outcome = Outcome::neutral().unprocessed().blaming(Blame::Request);
        let rejection = Rejection::new(name!("reqwest"), UNSENDABLE, outcome)
            .with_status(StatusCode::INTERNAL_SERVER_ERROR, GrpcCode::INTERNAL);
        Self { error, cause: Cause::Rejected(rejection) }
    }

    /// reqwest's error.
    #[must_use]
    pub const fn get_ref(&self) -> &reqwest::Error {
        &self.error
    }

    /// reqwest's error.
    #[must_use]
    pub fn into_inner(self) -> reqwest::Error {
        self.error
    }
}

/// Whether one of reqwest's own time limits ended the call.
///
/// `is_timeout` is also true if the operating system or the request's body says so further down. reqwest's own error is the
/// only cause, and isn't an `io::Error`. Nothing was sent before there was a connection.
fn is_own_limit(error: &reqwest::Error) -> bool {
    let only_cause = error.source().filter(|cause| cause.source().is_none());
    error.is_timeout() && !error.is_connect() && only_cause.is_some_and(|cause| !cause.is::<io::Error>())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.cause {
            Cause::Shown => self.error.source(),
            Cause::Hidden(texts) => Some(texts),
            Cause::Rejected(rejection) => Some(rejection),
        }
    }
}

impl From<Error> for reqwest::Error {
    fn from(error: Error) -> Self {
        error.error
    }
}

/// The texts of an error's causes.
#[derive(Debug)]
struct Texts(String);

impl Texts {
    fn of(error: &reqwest::Error) -> Self {
        let texts: Vec<_> =
            iter::successors(error.source(), |&cause| cause.source()).map(ToString::to_string).collect();
        Self(texts.join(": "))
    }
}

impl fmt::Display for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Texts {}
