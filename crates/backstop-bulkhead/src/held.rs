//! What a call holds of a bulkhead: a place in line, a permit, a permit that expires. Each gives itself back.

use std::{fmt, sync::Arc, task::Waker};

use backstop_core::{Progress, Rejection, SetBy};
use tokio::time::Instant;

use crate::{
    permits::{Asked, Queued, Ticket},
    room::Room,
};

/// What a call gets that asks for a permit.
pub(crate) enum Entry {
    Admitted(Permit),
    Queued(Place),
    Full,
}

impl Entry {
    pub(crate) fn ask(room: &Arc<Room>, waker: &Waker) -> Self {
        if let Some(permit) = Permit::try_acquire(room) {
            return Self::Admitted(permit);
        }
        room.take_back_expired();
        match room.permits().acquire(waker) {
            Asked::Admitted => Self::Admitted(Permit::new(Arc::clone(room))),
            Asked::Queued(ticket) => Self::Queued(Place { room: Arc::clone(room), ticket: Some(ticket) }),
            Asked::Full => Self::Full,
        }
    }
}

/// A place in line.
pub(crate) struct Place {
    room: Arc<Room>,
    // `None` once it has become a permit.
    ticket: Option<Ticket>,
}

/// What a place in line has become.
pub(crate) enum InLine {
    Admitted(Permit),
    /// It is one still. Something but a call's end may make room: then, at the latest, it has to ask again.
    Waiting {
        look_again: Option<Instant>,
    },
}

impl Place {
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    pub(crate) fn poll(&mut self, waker: &Waker) -> InLine {
        let Some(ticket) = self.ticket else {
            return InLine::Waiting { look_again: None };
        };
        self.room.take_back_expired();
        match self.room.permits().poll(ticket, waker) {
            Queued::Waiting { look_again } => InLine::Waiting { look_again },
            Queued::Admitted => {
                self.ticket = None;
                InLine::Admitted(Permit::new(Arc::clone(&self.room)))
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else {
            return;
        };
        if !self.room.permits().leave(ticket) {
            drop(Permit::new(Arc::clone(&self.room)));
        }
    }
}

/// A call's permit, until its response head is there.
#[derive(Default)]
#[expect(unnameable_types, reason = "only our own markers get one")]
pub struct Permit {
    // `None` where it is none, or none any more.
    room: Option<Arc<Room>>,
}

impl Permit {
    /// No permit.
    pub(crate) const NONE: Self = Self { room: None };

    #[inline]
    fn new(room: Arc<Room>) -> Self {
        room.show_in_use();
        Self { room: Some(room) }
    }

    /// A permit, where there is room and nobody waits.
    #[inline]
    pub(crate) fn try_acquire(room: &Arc<Room>) -> Option<Self> {
        room.permits().try_acquire().then(|| Self::new(Arc::clone(room)))
    }

    pub(crate) const fn is_held(&self) -> bool {
        self.room.is_some()
    }

    /// Gives it back, if it is one.
    // Not inlined, so that a response that is handed on stays where it is.
    #[inline(never)]
    pub(crate) fn give_back(&mut self) {
        *self = Self::NONE;
    }

    /// The response head is there, and the body is still to come.
    pub(crate) fn go_on_with_body(&mut self) -> Option<BodyPermit> {
        let room = self.room.take()?;
        let since = Instant::now();
        let until = since + room.max_hold();
        let ticket = room.permits().start_body(until);
        Some(BodyPermit { room, ticket, since, until })
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if let Some(room) = &self.room {
            room.permits().release();
            room.show_in_use();
        }
    }
}

/// A response body's permit, which expires.
pub(crate) struct BodyPermit {
    room: Arc<Room>,
    ticket: Ticket,
    since: Instant,
    until: Instant,
}

impl BodyPermit {
    /// When the response head was there.
    pub(crate) const fn since(&self) -> Instant {
        self.since
    }

    /// When it expires.
    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    /// Gives it back because it has expired, unless a newcomer has taken it. `kept_by` is who held up the body for most of
    /// the time.
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
