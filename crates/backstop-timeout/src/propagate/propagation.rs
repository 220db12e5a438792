//! How long the receiver of a request has, and the headers that say so.

use std::{fmt, time::Duration};

use backstop_core::Name;
use http::{HeaderMap, Request};

use crate::header::{self, DeadlineHeader};

/// The settings of a layer, shared by its services.
pub(crate) struct Propagation<J> {
    pub(crate) name: Name,
    pub(crate) margin: Duration,
    pub(crate) send: Vec<DeadlineHeader>,
    pub(crate) reject: J,
}

impl<J> Propagation<J> {
    /// Writes into a request how long its receiver has. `None` if that is no time at all.
    pub(crate) fn write<B>(&self, request: &mut Request<B>, left: Duration) -> Option<Duration> {
        let left = left.checked_sub(self.margin).filter(|left| !left.is_zero())?;
        let mut headers = header::of(request, &self.send);
        headers.try_fold(left, |least, header| Some(least.min(write_header(header, request.headers_mut(), left)?)))
    }

    /// Leaves out the strategy, which may be a closure.
    pub(crate) fn debug(&self, f: &mut fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("name", &self.name).field("margin", &self.margin).field("send", &self.send).finish_non_exhaustive()
    }
}

fn write_header(header: &DeadlineHeader, headers: &mut HeaderMap, left: Duration) -> Option<Duration> {
    let (sent, value) = header.write(left)?;
    // The request may have a shorter limit already.
    if !matches!(header.read(headers), Ok(Some(own)) if own <= sent) {
        headers.insert(header.name(), value);
    }
    Some(sent)
}
