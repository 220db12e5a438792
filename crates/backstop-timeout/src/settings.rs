//! What both time limits were told.

use std::{fmt::DebugStruct, time::Duration};

use backstop_core::{Elapsed, Name, Rejection};

use crate::telemetry;

/// A layer's settings. Every service and every future has its own: they are small, and to count references to shared ones
/// would be most of what a call costs.
#[derive(Clone)]
pub(crate) struct Settings<J> {
    pub(crate) name: Name,
    pub(crate) limit: Duration,
    pub(crate) reject: J,
}

impl<J> Settings<J> {
    /// The rejection of a call whose time was up, told to whoever listens.
    pub(crate) fn rejection(&self, elapsed: Elapsed) -> Rejection {
        telemetry::rejection(&self.name, Some(self.limit), elapsed)
    }

    /// Strategies may be closures, which have nothing to show.
    pub(crate) fn show<'f, 'a, 'b>(&self, f: &'f mut DebugStruct<'a, 'b>) -> &'f mut DebugStruct<'a, 'b> {
        f.field("name", &self.name).field("limit", &self.limit)
    }
}
