//! What a response says about its attempts.

use std::fmt;

use backstop_kit::NotCopied;

/// How many attempts an answer took, and why there were no more. An extension of the response.
///
/// A response has it if there was more than one attempt, or if another one was worth it and was not made. Others don't, to save
/// the allocation. With several retry layers it is from the outermost one that set it. If that is an inner layer, its attempts
/// were all within the outer layer's last one.
///
/// Errors and other types have no extensions. With [`discard_replaced`](crate::RetryBuilder::discard_replaced), responses don't
/// have it either.
///
/// ```
/// use axum::{body::Body, http::Request};
/// use backstop_retry::{Retried, RetryLayer, StopReason, name};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let down = service_fn(async |_: Request<Body>| {
///     Ok::<_, std::convert::Infallible>(axum::http::Response::builder().status(503).body(Body::empty()).unwrap())
/// });
/// let response = RetryLayer::new(name!("ml_service")).layer(down).oneshot(Request::new(Body::empty())).await?;
/// let retried = response.extensions().get::<Retried>().ok_or("no other attempt was worth it")?;
/// assert_eq!((retried.attempts(), retried.stop()), (3, Some(StopReason::MaxAttempts)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retried {
    attempts: u32,
    stop: Option<StopReason>,
}

impl Retried {
    pub(crate) const fn new(attempts: u32, stop: Option<StopReason>) -> Self {
        Self { attempts, stop }
    }

    /// How many attempts were made, the first one included.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Why another attempt was not made, or wasn't better. `None` if the answer was not worth one.
    #[must_use]
    pub const fn stop(&self) -> Option<StopReason> {
        self.stop
    }
}

/// Why an answer that was worth repeating was returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// All allowed attempts were made.
    MaxAttempts,
    /// The request may have been processed, and nothing says that repeating it is safe.
    NotIdempotent,
    /// The result wasn't worth it: the [judge](backstop_core::Classify) calls it no success, and not
    /// [transient](backstop_core::Outcome::transient). Only in events and metrics.
    NotTransient,
    /// The request is CONNECT, or asks for another protocol on its connection.
    Upgrade,
    /// The [`attempt_header`](crate::RetryBuilder::attempt_header) says that the request is a retry of an outer tier.
    OuterTier,
    /// Our own caller sent it in early data, so the 425 is for the caller to handle (RFC 8470 §5.2).
    EarlyData,
    /// The server said not to retry.
    ServerSaidStop,
    /// The server asked for a delay longer than [`max_retry_after`](crate::RetryBuilder::max_retry_after).
    ServerDelay,
    /// The delay doesn't fit into the time left.
    NoTimeLeft,
    /// The [budget](crate::RetryBudget) is empty, or was when the request was sent: so much fails that retries would make it worse.
    Budget,
    /// The server answered while the body was still being sent.
    Uploading,
    /// There is no copy of the request.
    NotReplayable(NotCopied),
    /// A layer inside refused the last attempt: this is the answer before it.
    Refused,
    /// The time was up during the last attempt, or before it began: this is the answer before it.
    TotalPassed,
}

impl StopReason {
    /// As events and metrics spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxAttempts => "max-attempts",
            Self::NotIdempotent => "not-idempotent",
            Self::NotTransient => "not-transient",
            Self::Upgrade => "upgrade",
            Self::OuterTier => "outer-tier",
            Self::EarlyData => "early-data",
            Self::ServerSaidStop => "server-said-stop",
            Self::ServerDelay => "server-delay",
            Self::NoTimeLeft => "no-time-left",
            Self::Budget => "budget",
            Self::Uploading => "uploading",
            Self::NotReplayable(_) => "not-replayable",
            Self::Refused => "refused",
            Self::TotalPassed => "total-passed",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
