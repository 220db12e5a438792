//! What a call holds of a bulkhead: a place in line, a permit, a permit that expires. Each gives itself back.

use std::{fmt, sync::Arc, task::Waker};

use backstop_core::{Progress, Rejection, SetBy};
use tokio::time::Instant;

use crate::{
    layer::Shared,
    permits::{Asked, Queued, Ticket},
    room::Room,
};

/// What a call gets that asks for a permit.
pub(crate) enum Entry<J> {
    Admitted(Permit<J>),
    Queued(Place<J>),
    Full(Arc<Shared<J>>),
}

impl<J> Entry<J> {
    pub(crate) fn ask(shared: Arc<Shared<J>>, waker: &Waker) -> Self {
        let shared = match Permit::try_acquire(shared) {
            Ok(permit) => return Self::Admitted(permit),
            Err(shared) => shared,
        };
        let room = &shared.room;
        room.take_back_expired();
        match room.permits().acquire(waker) {
            Asked::Admitted => Self::Admitted(Permit::new(shared)),
            Asked::Queued(ticket) => Self::Queued(Place { shared, ticket: Some(ticket) }),
            Asked::Full => Self::Full(shared),
        }
    }
}

/// A place in line.
pub(crate) struct Place<J> {
    shared: Arc<Shared<J>>,
    // `None` once it has become a permit.
    ticket: Option<Ticket>,
}

/// What a place in line has become.
pub(crate) enum InLine<J> {
    Admitted(Permit<J>),
    /// It is one still. Something but a call's end may make room: then, at the latest, it has to ask again.
    Waiting {
        look_again: Option<Instant>,
    },
}

impl<J> Place<J> {
    pub(crate) const fn shared(&self) -> &Arc<Shared<J>> {
        &self.shared
    }

    pub(crate) fn poll(&mut self, waker: &Waker) -> InLine<J> {
        let Some(ticket) = self.ticket else {
            return InLine::Waiting { look_again: None };
        };
        let room = &self.shared.room;
        room.take_back_expired();
        match room.permits().poll(ticket, waker) {
            Queued::Waiting { look_again } => InLine::Waiting { look_again },
            Queued::Admitted => {
                self.ticket = None;
                InLine::Admitted(Permit::new(Arc::clone(&self.shared)))
            }
        }
    }
}

impl<J> Drop for Place<J> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else {
            return;
        };
        if !self.shared.room.permits().leave(ticket) {
            drop(Permit::new(Arc::clone(&self.shared)));
        }
    }
}

/// A call's permit, until its response head is there.
#[expect(unnameable_types, reason = "only our own markers get one")]
pub struct Permit<J> {
    // `None` once it has gone over to the body.
    shared: Option<Arc<Shared<J>>>,
}

impl<J> Permit<J> {
    fn new(shared: Arc<Shared<J>>) -> Self {
        shared.room.show_in_use();
        Self { shared: Some(shared) }
    }

    /// A permit, where there is room and nobody waits; else what to ask with again.
    pub(crate) fn try_acquire(shared: Arc<Shared<J>>) -> Result<Self, Arc<Shared<J>>> {
        if shared.room.permits().try_acquire() { Ok(Self::new(shared)) } else { Err(shared) }
    }

    /// The response head is there, and the body is still to come.
    pub(crate) fn go_on_with_body(mut self) -> Option<BodyPermit> {
        let room = Arc::clone(&self.shared.take()?.room);
        let until = Instant::now() + room.max_hold();
        let ticket = room.permits().start_body(until);
        Some(BodyPermit { room, ticket, until })
    }
}

impl<J> fmt::Debug for Permit<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

impl<J> Drop for Permit<J> {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.room.permits().release();
            shared.room.show_in_use();
        }
    }
}

/// A response body's permit, which expires.
pub(crate) struct BodyPermit {
    room: Arc<Room>,
    ticket: Ticket,
    until: Instant,
}

impl BodyPermit {
    /// When it expires.
    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    /// Gives it back because it has expired, unless a newcomer has taken it. `kept_by` is who took so long.
    pub(crate) fn expire(self, kept_by: SetBy) -> Rejection {
        self.room.take_back_expired();
        self.room.too_late(kept_by, Progress::Called)
    }
}

impl Drop for BodyPermit {
    fn drop(&mut self) {
        if self.room.permits().end_body(self.ticket) {
            self.room.show_in_use();
        }
    }
}
