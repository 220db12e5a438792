//! What the layer tells an operator. Nothing of a request is in it.

use std::{fmt, time::Duration};

use backstop_core::{Name, NotCopied, Reason};

/// Why a result that was worth repeating was not followed by another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// As many attempts were made as are allowed.
    Attempts,
    /// The request may have been processed, and nothing says that repeating it is safe.
    NotIdempotent,
    /// Our own caller sent it in early data: the 425 is theirs to act upon (RFC 8470 §5.2).
    EarlyData,
    /// The server said not to come again.
    Pushback,
    /// The server asked for a longer delay than is waited for.
    ServerDelay,
    /// The delay doesn't fit into the time that is left.
    NoTimeLeft,
    /// The budget is empty: so much fails that repeating it would add to the trouble.
    Budget,
    /// The server answered while the body was still being sent.
    Uploading,
    /// There is no copy of the request.
    NotReplayable(NotCopied),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attempts => "max-attempts",
            Self::NotIdempotent => "not-idempotent",
            Self::EarlyData => "early-data",
            Self::Pushback => "server-said-stop",
            Self::ServerDelay => "server-delay",
            Self::NoTimeLeft => "no-time-left",
            Self::Budget => "budget",
            Self::Uploading => "uploading",
            Self::NotReplayable(_) => "not-replayable",
        })
    }
}

/// Why an earlier attempt's answer is better than what the last one came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CameToNothing {
    /// A layer further in didn't pass the attempt on.
    Refused,
    /// Its time was up, or was up before it could begin.
    OutOfTime,
}

impl fmt::Display for CameToNothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::OutOfTime => "total-passed",
        })
    }
}

/// Another attempt will be made, because of `reason`.
pub(crate) fn retrying(name: &Name, attempt: u32, delay: Duration, reason: Reason) {
    tracing::debug!(target: "backstop::retry", %name, attempt, ?delay, %reason, "the request will be sent again");
}

/// No other attempt will be made, though the result was worth it.
pub(crate) fn stopped(name: &Name, attempt: u32, stop: Stop) {
    let detail = match stop {
        Stop::NotReplayable(why) => Some(tracing::field::display(why)),
        _ => None,
    };
    tracing::debug!(target: "backstop::retry", %name, attempt, reason = %stop, detail, "the request won't be sent again");
}

/// The last attempt came to nothing: an earlier attempt's answer is returned.
pub(crate) fn gave_last_answer(name: &Name, attempt: u32, reason: CameToNothing) {
    tracing::debug!(target: "backstop::retry", %name, attempt, %reason, "an earlier attempt's answer is returned");
}
