//! The limit of a request's receiver, and the headers that contain it.

use std::{fmt, sync::Arc, time::Duration};

use backstop_core::{Deadline, Limit, Name, SetBy};
use backstop_kit::Reloadable;
use http::{HeaderMap, Request};

use crate::header::{self, DeadlineHeader};

/// The settings of a layer, shared by its services.
pub(crate) struct Propagation<R> {
    pub(crate) name: Name,
    pub(crate) sent: Arc<Reloadable<Sent>>,
    pub(crate) reject: R,
}

/// What a reload replaces.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) margin: Duration,
    pub(crate) send: Vec<DeadlineHeader>,
}

/// How long the receiver of a request has, and who set that limit.
#[derive(Clone, Copy)]
pub(crate) struct ReceiverLimit {
    pub(crate) limit: Duration,
    pub(crate) set_by: SetBy,
    /// Whether the request says so.
    pub(crate) is_told: bool,
}

impl<R> Propagation<R> {
    pub(super) fn new(name: Name, sent: Sent, reject: R) -> Self {
        Self { name, sent: Arc::new(Reloadable::new(sent)), reject }
    }

    /// Whether nothing is to be done for a request: its receiver isn't told of `limit`, which leaves time beyond the margin.
    pub(crate) fn can_ignore<B>(&self, limit: Limit, request: &Request<B>) -> bool {
        let sent = self.sent.load();
        let least = Limit::new(sent.margin + Duration::from_nanos(1), SetBy::Us);
        least.narrowed_by(Some(limit)) == least && header::of(request, &sent.send).next().is_none()
    }

    /// Writes into a request how long its receiver has. `None` if no time is left.
    pub(crate) fn write<B>(&self, request: &mut Request<B>, deadline: Deadline) -> Option<ReceiverLimit> {
        let sent = self.sent.load();
        let limit = deadline.left().checked_sub(sent.margin).filter(|left| !left.is_zero())?;
        let ours = ReceiverLimit { limit, set_by: deadline.set_by(), is_told: false };
        let mut headers = header::of(request, &sent.send);
        headers.try_fold(ours, |least, header| Some(least.shorter(write_header(header, request.headers_mut(), ours)?)))
    }

    /// Reads how long the receiver of a request has, if the request says so.
    pub(crate) fn read<B>(&self, request: &Request<B>) -> Option<ReceiverLimit> {
        let sent = self.sent.load();
        let limits = header::of(request, &sent.send).filter_map(|header| header.read(request.headers()).ok()?);
        limits.min().map(ReceiverLimit::by_caller)
    }

    /// Without the strategy, which may be a closure.
    pub(crate) fn debug(&self, f: &mut fmt::DebugStruct<'_, '_>) -> fmt::Result {
        let Sent { margin, send } = &*self.sent.load();
        f.field("name", &self.name).field("margin", margin).field("send", send).finish_non_exhaustive()
    }
}

impl ReceiverLimit {
    /// The limit that a request already had.
    const fn by_caller(limit: Duration) -> Self {
        Self { limit, set_by: SetBy::Caller, is_told: true }
    }

    fn shorter(self, other: Self) -> Self {
        let shorter = if other.limit < self.limit { other } else { self };
        Self { is_told: self.is_told || other.is_told, ..shorter }
    }
}

/// Writes our limit into the header, unless it already has a shorter one. Returns the limit that it has now.
fn write_header(header: &DeadlineHeader, headers: &mut HeaderMap, ours: ReceiverLimit) -> Option<ReceiverLimit> {
    let (limit, value) = header.write(ours.limit)?;
    if let Ok(Some(own)) = header.read(headers)
        && own <= limit
    {
        return Some(ReceiverLimit::by_caller(own));
    }
    headers.insert(header.name(), value);
    Some(ReceiverLimit { limit, is_told: true, ..ours })
}
