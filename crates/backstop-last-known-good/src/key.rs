//! Under which key an answer is stored.
//!
//! A key is built as it is walked, each part with its length, so that no two paths make the same key:
//!
//! ```text
//! name, authority, path and query                 → node: generation, selectors
//!   generation, principal (where one is asked for) → node: generation, selectors
//!     generation, place of the variant             → answer
//! ```
//!
//! Removing a node makes all below it unreachable: its generation never comes again. Neither is a node ever changed.

use std::fmt;

use crate::rules::Sharing;

/// Appends `text` so that where it ends can't be mistaken.
pub(crate) fn push(to: &mut Vec<u8>, tag: u8, text: &[u8]) {
    // No field and no target is that long; one that were would make a key that nothing else has, too.
    let [l0, l1, l2, l3] = u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
    to.extend_from_slice(&[tag, l0, l1, l2, l3]);
    to.extend_from_slice(text);
}

/// Whose an answer is.
#[derive(Clone)]
pub(crate) enum Owner {
    /// Nobody is asked for who they are.
    Everyone,
    /// This request came from nobody in particular.
    Nobody,
    Principal(Box<[u8]>),
}

impl Owner {
    pub(crate) const fn sharing(&self) -> Sharing {
        match self {
            Self::Everyone | Self::Nobody => Sharing::Shared,
            Self::Principal(_) => Sharing::Personal,
        }
    }

    /// Appends it to a key. Whether there is a node for it.
    pub(crate) fn add_to(&self, key: &mut Vec<u8>) -> bool {
        match self {
            Self::Everyone => return false,
            Self::Nobody => push(key, b'e', &[]),
            Self::Principal(principal) => push(key, b'p', principal),
        }
        true
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Everyone => "Everyone",
            Self::Nobody => "Nobody",
            Self::Principal(_) => "Principal(..)",
        })
    }
}
