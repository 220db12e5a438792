//! What a call holds of a bulkhead: a place in line, a permit, or the expiring permit of a response body. Dropping it gives
//! it back.

use std::{fmt, sync::Arc, task::Waker};

use backstop_core::{Rejection, SetBy};
use backstop_kit::Progress;
use tokio::time::Instant;

use crate::{
    limiter::Limiter,
    permits::{Acquired, Ticket, TicketState},
};

/// The result of asking for a permit.
pub(crate) enum Acquire {
    Admitted(Permit),
    Queued(Waiter),
    Full,
}

impl Acquire {
    pub(crate) fn ask(limiter: &Arc<Limiter>, waker: &Waker) -> Self {
        if let Some(permit) = Permit::try_acquire(limiter) {
            return Self::Admitted(permit);
        }
        limiter.take_back_expired();
        match limiter.permits().acquire(waker) {
            Acquired::Admitted => Self::Admitted(Permit::new(Arc::clone(limiter))),
            Acquired::Queued(ticket) => Self::Queued(Waiter { limiter: Arc::clone(limiter), ticket: Some(ticket) }),
            Acquired::Full => Self::Full,
        }
    }
}

/// A place in line.
pub(crate) struct Waiter {
    limiter: Arc<Limiter>,
    // `None` once it was exchanged for a permit.
    ticket: Option<Ticket>,
}

/// The state of a place in line.
pub(crate) enum WaiterState {
    Admitted(Permit),
    /// Still waiting. At `look_again` a permit may expire. That doesn't wake the task, so poll again then.
    Waiting {
        look_again: Option<Instant>,
    },
}

impl Waiter {
    pub(crate) fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    pub(crate) fn poll(&mut self, waker: &Waker) -> WaiterState {
        let Some(ticket) = self.ticket else {
            return WaiterState::Waiting { look_again: None };
        };
        self.limiter.take_back_expired();
        match self.limiter.permits().poll(ticket, waker) {
            TicketState::Waiting { look_again } => WaiterState::Waiting { look_again },
            TicketState::Admitted => {
                self.ticket = None;
                WaiterState::Admitted(Permit::new(Arc::clone(&self.limiter)))
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else {
            return;
        };
        if !self.limiter.permits().leave(ticket) {
            drop(Permit::new(Arc::clone(&self.limiter)));
        }
    }
}

/// A call's permit, until its response head has arrived.
#[derive(Default)]
#[expect(unnameable_types, reason = "only our own markers get one")]
pub struct Permit {
    // `None` if there is no permit, or it was given back.
    limiter: Option<Arc<Limiter>>,
}

impl Permit {
    /// No permit.
    pub(crate) const NONE: Self = Self { limiter: None };

    #[inline]
    fn new(limiter: Arc<Limiter>) -> Self {
        limiter.show_in_use();
        Self { limiter: Some(limiter) }
    }

    /// Takes a permit if one is free and no call waits.
    #[inline]
    pub(crate) fn try_acquire(limiter: &Arc<Limiter>) -> Option<Self> {
        limiter.permits().try_acquire().then(|| Self::new(Arc::clone(limiter)))
    }

    pub(crate) const fn is_held(&self) -> bool {
        self.limiter.is_some()
    }

    /// Gives it back.
    // Not inlined, so that the response isn't moved.
    #[inline(never)]
    pub(crate) fn give_back(&mut self) {
        *self = Self::NONE;
    }

    /// Exchanges the permit for that of a response body, which expires after `max_hold`.
    pub(crate) fn take_body_permit(&mut self) -> Option<BodyPermit> {
        let limiter = self.limiter.take()?;
        let (since, max_hold) = (Instant::now(), limiter.max_hold());
        let until = since + max_hold;
        let ticket = limiter.permits().start_body(until, max_hold);
        Some(BodyPermit { limiter, ticket, since, until, has_expired: false })
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
        if let Some(limiter) = &self.limiter {
            limiter.permits().release();
            limiter.show_in_use();
        }
    }
}

/// A function's permit. It borrows the bulkhead, and so counts no reference.
pub(crate) struct BorrowedPermit<'a> {
    // `None` if there is no permit, or it was given back.
    limiter: Option<&'a Limiter>,
}

impl<'a> BorrowedPermit<'a> {
    /// No permit.
    pub(crate) const NONE: Self = Self { limiter: None };

    /// Takes a permit if one is free and no call waits.
    #[inline]
    pub(crate) fn try_acquire(limiter: &'a Limiter) -> Option<Self> {
        limiter.permits().try_acquire().then(|| {
            limiter.show_in_use();
            Self { limiter: Some(limiter) }
        })
    }

    /// Takes over a permit of the same bulkhead.
    pub(crate) fn of(mut permit: Permit, limiter: &'a Limiter) -> Self {
        Self { limiter: permit.limiter.take().map(|_| limiter) }
    }

    pub(crate) const fn is_held(&self) -> bool {
        self.limiter.is_some()
    }

    /// Gives it back.
    #[inline]
    pub(crate) fn give_back(&mut self) {
        *self = Self::NONE;
    }
}

impl Drop for BorrowedPermit<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(limiter) = self.limiter {
            limiter.permits().release();
            limiter.show_in_use();
        }
    }
}

/// The permit of a response body. It expires.
pub(crate) struct BodyPermit {
    limiter: Arc<Limiter>,
    ticket: Ticket,
    since: Instant,
    until: Instant,
    has_expired: bool,
}

impl BodyPermit {
    /// When the response head arrived.
    pub(crate) const fn since(&self) -> Instant {
        self.since
    }

    /// When it expires.
    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    /// Marks the permit as expired. Dropping it gives it back, unless another call has taken it. `kept_by` is who held up the
    /// body for most of the time.
    pub(crate) fn expire(&mut self, kept_by: SetBy) -> Rejection {
        self.has_expired = true;
        self.limiter.too_late(kept_by, Progress::Called)
    }
}

impl Drop for BodyPermit {
    fn drop(&mut self) {
        if self.has_expired {
            self.limiter.take_back_expired();
        }
        if self.limiter.permits().end_body(self.ticket) {
            self.limiter.show_in_use();
        }
    }
}
