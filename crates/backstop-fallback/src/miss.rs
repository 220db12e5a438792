//! Why a provider gave no answer.

use std::borrow::Cow;

use backstop_core::{ErrorRef, Outcome, Reason, SetBy};
use backstop_kit::{Elapsed, ErrorText};

use crate::{BoxError, panics::Panicked};

/// Why a result isn't an answer. Small, because every result is checked for it.
#[derive(Clone, Copy)]
pub(crate) struct Miss {
    pub(crate) reason: Reason,
    pub(crate) outcome: Outcome,
}

impl Miss {
    /// The time was up.
    pub(crate) const TIMED_OUT: Self = Self { reason: Reason::TIMEOUT, outcome: Outcome::failure() };
    /// It panicked.
    pub(crate) const PANICKED: Self = Self { reason: Reason::new("panic"), outcome: Outcome::failure() };
    /// The body of the answer broke off.
    pub(crate) const BROKE_OFF: Self = Self { reason: Reason::BODY, outcome: Outcome::failure() };
}

/// Why a provider, or the primary, gave no answer.
pub(crate) struct ProviderMiss {
    pub(crate) miss: Miss,
    /// The text of its error, or what would let it answer.
    pub(crate) error: Option<Cow<'static, str>>,
}

impl ProviderMiss {
    /// It was not asked.
    pub(crate) const fn not_asked(reason: Reason) -> Self {
        Self { miss: Miss { reason, outcome: Outcome::neutral().unprocessed() }, error: None }
    }

    /// It panicked.
    pub(crate) fn panicked(panicked: Panicked, error_text: &ErrorText) -> Self {
        // In a type that is known to be an error.
        let panicked = BoxError::from(panicked);
        Self { miss: Miss::PANICKED, error: error_text.of(ErrorRef::new(&panicked)).map(Cow::Owned) }
    }
}

/// Which limit ended the call of a provider, or of the primary.
pub(crate) const fn late(elapsed: Elapsed) -> Cow<'static, str> {
    Cow::Borrowed(match elapsed.set_by {
        SetBy::Caller => "the caller's deadline passed",
        _ => "its share of the chain's time passed",
    })
}

impl From<Miss> for ProviderMiss {
    fn from(miss: Miss) -> Self {
        Self { miss, error: None }
    }
}
