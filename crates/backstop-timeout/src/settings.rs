//! The settings that both time limits have.

use std::{borrow::Cow, fmt::DebugStruct, ops::RangeInclusive, time::Duration};

use backstop_core::{ConfigError, Name, Rejection};
use backstop_kit::{Elapsed, Reject, polled_again};

use crate::telemetry;

/// A layer's settings. Every service and every future has a copy: they are small, and counting references would be most of
/// the cost of a call. `X` is its strategy, or its protocol.
#[derive(Clone)]
pub(crate) struct Settings<X> {
    pub(crate) name: Name,
    pub(crate) limit: Duration,
    pub(crate) strategy: X,
}

impl<X> Settings<X> {
    /// Checks the name, and that the limit is in `range`, which `allowed` describes.
    pub(crate) fn checked(
        name: Cow<'static, str>,
        limit: Duration,
        (range, allowed): (RangeInclusive<Duration>, &'static str),
        strategy: X,
    ) -> Result<Self, ConfigError> {
        let limit = ConfigError::check_range("limit", limit, range, allowed)?;
        Ok(Self { name: Name::new(name)?, limit, strategy })
    }

    /// The rejection of a call that `elapsed` ended. Records it.
    pub(crate) fn rejection(&self, elapsed: Elapsed) -> Rejection {
        telemetry::rejection(&self.name, Some(self.limit), elapsed)
    }

    /// Leaves out the strategy, which may be a closure.
    pub(crate) fn show<'f, 'a, 'b>(&self, f: &'f mut DebugStruct<'a, 'b>) -> &'f mut DebugStruct<'a, 'b> {
        f.field("name", &self.name).field("limit", &self.limit)
    }
}

/// Rejects a call by `strategy`, which takes the call's context. Panics if that was taken already: `future` is polled again.
pub(crate) fn reject<Req, Res, E, R: Reject<Req, Res, E>>(
    strategy: &R,
    context: &mut Option<R::Context>,
    rejection: Rejection,
    future: &'static str,
) -> Result<Res, E> {
    let Some(context) = context.take() else { polled_again(future) };
    strategy.reject(context, rejection)
}
