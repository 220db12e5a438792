//! How much time there is, in one word, because every poll of every layer replaces it.
//!
//! | the word | means |
//! |---|---|
//! | below 2⁶² | a limit whose time hasn't begun |
//! | 2⁶² and above | a deadline |
//! | the maximum minus 1 | no end |
//! | the maximum | no scope |
//!
//! Of two limits, or of two deadlines, the lesser one applies.

use std::num::NonZero;

use tokio::time::Instant;

use super::{Deadline, EARLIEST_NANOS, Limit, Word, since_origin};

/// How much time a scope has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(Word);

impl Time {
    pub(crate) const NO_SCOPE: Self = Self(Word(NonZero::<u64>::MAX));
    pub(crate) const ENDLESS: Self = match NonZero::new(u64::MAX - 1) {
        Some(bits) => Self(Word(bits)),
        None => Self::NO_SCOPE,
    };

    pub(crate) const fn limited(limit: Limit) -> Self {
        Self(limit.word)
    }

    pub(crate) const fn until(deadline: Deadline) -> Self {
        Self(deadline.word)
    }

    pub(crate) const fn is_limit(self) -> bool {
        self.0.nanos() < EARLIEST_NANOS
    }

    pub(crate) fn limit(self) -> Option<Limit> {
        self.is_limit().then_some(Limit { word: self.0 })
    }

    pub(crate) fn deadline(self) -> Option<Deadline> {
        let is_deadline = !self.is_limit() && self < Self::ENDLESS;
        is_deadline.then_some(Deadline { word: self.0 })
    }

    /// With its time begun at `moment`.
    pub(crate) fn begun_at(self, moment: Moment) -> Self {
        self.limit().map_or(self, |limit| Self::until(limit.begun_at(moment)))
    }
}

/// A moment, in the nanoseconds of deadlines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(super) nanos: u64,
}

impl Moment {
    /// No moment.
    pub(crate) const NONE: Self = Self { nanos: 0 };

    pub(crate) fn now() -> Self {
        Self { nanos: since_origin(Instant::now()) }
    }
}
