//! The keys of a store.
//!
//! A lookup reads one or two nodes and the answer. Each part of a key carries its length, so no two paths give the same key:
//!
//! ```text
//! format, name, authority, path and query               → node: generation, selecting fields
//!   the same, principal (if configured)                 → node: generation, its parent's generation, selecting fields
//!     the same, slot of the variant                     → answer, with the generation of its node
//! ```
//!
//! All keys follow from the request and the selecting fields, so that one round trip reads all of them. What has another
//! generation than the node above it doesn't exist: removing a node makes everything below it unreachable, since its generation
//! is never used again.
//!
//! The format is part of the key. So processes of two versions can share a store: each misses what the other stored.

use std::fmt;

/// The version of [stored values](crate::entry), and what their keys begin with.
pub(crate) const FORMAT: u8 = 3;

/// Appends `text` with its length, so that its end is unambiguous.
pub(crate) fn push(to: &mut Vec<u8>, tag: u8, text: &[u8]) {
    // No field and no target is longer than this. If one were, its key would still be unique.
    let [l0, l1, l2, l3] = u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
    to.extend_from_slice(&[tag, l0, l1, l2, l3]);
    to.extend_from_slice(text);
}

/// Who may get a stored answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Every caller.
    Shared,
    /// One principal.
    Personal,
}

/// Whom an answer is stored for.
#[derive(Clone)]
pub(crate) enum Owner {
    /// No principal is configured.
    Unpartitioned,
    /// The request has no principal.
    Anonymous,
    Principal(Box<[u8]>),
}

impl Owner {
    pub(crate) const fn sharing(&self) -> Sharing {
        match self {
            Self::Unpartitioned | Self::Anonymous => Sharing::Shared,
            Self::Principal(_) => Sharing::Personal,
        }
    }

    /// Appends the owner to a key. Returns whether it has a node of its own.
    pub(crate) fn add_to(&self, key: &mut Vec<u8>) -> bool {
        match self {
            Self::Unpartitioned => return false,
            Self::Anonymous => push(key, b'e', &[]),
            Self::Principal(principal) => push(key, b'p', principal),
        }
        true
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unpartitioned => "Everyone",
            Self::Anonymous => "Nobody",
            Self::Principal(_) => "Principal(..)",
        })
    }
}
