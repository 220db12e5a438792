//! The settings that both time limits have.

use std::{borrow::Cow, fmt::DebugStruct, ops::RangeInclusive, time::Duration};

use backstop_core::{ConfigError, Name, Rejection};
use backstop_kit::{Elapsed, Reject, polled_again};

use crate::telemetry;

/// The settings of a call. Every future has a copy, because they are small, and a reference count would be most
/// of the cost of a call. `X` is the deadline's way to reject, or the timeout's protocol.
#[derive(Clone)]
pub(crate) struct Settings<X> {
    pub(crate) name: Name,
    pub(crate) limit: Duration,
    pub(crate) strategy: X,
}

impl<X> Settings<X> {
    /// Makes and records the rejection of a call that `elapsed` ended.
    pub(crate) fn rejection(&self, elapsed: Elapsed) -> Rejection {
        telemetry::rejection(&self.name, Some(self.limit), elapsed)
    }

    /// Without the strategy, which may be a closure.
    pub(crate) fn show<'f, 'a, 'b>(&self, f: &'f mut DebugStruct<'a, 'b>) -> &'f mut DebugStruct<'a, 'b> {
        f.field("name", &self.name).field("limit", &self.limit)
    }
}

/// Checks a name and a limit. `allowed` describes `range`.
pub(crate) fn check(
    name: Cow<'static, str>,
    limit: Duration,
    (range, allowed): (RangeInclusive<Duration>, &'static str),
) -> Result<(Name, Duration), ConfigError> {
    let limit = ConfigError::check_range("limit", limit, range, allowed)?;
    Ok((Name::new(name)?, limit))
}

/// Checks that a reload is meant for this layer.
pub(crate) fn check_name(name: &Name, layers_own: &Name) -> Result<(), ConfigError> {
    if name == layers_own { Ok(()) } else { Err(ConfigError::new("name", name.clone(), "the layer's own")) }
}

/// Rejects a call. Panics if the context was already taken, because then `future` was polled after its end.
pub(crate) fn reject<Req, Res, E, R: Reject<Req, Res, E>>(
    strategy: &R,
    context: &mut Option<R::Context>,
    rejection: Rejection,
    future: &'static str,
) -> Result<Res, E> {
    let Some(context) = context.take() else { polled_again(future) };
    strategy.reject(context, rejection)
}
