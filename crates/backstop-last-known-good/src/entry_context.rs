//! What the tiers of a layer share: the clock, the removals, and how long answers last.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    age::Clock,
    path::Path,
    removals::{KeyHash, Removals},
    rules::Lifetime,
    staleness::Staleness,
    vary::SelectingFields,
};

/// Ages and dates are in whole seconds. Of two answers made within one second, the later arrival counts as newer.
const RESOLUTION: Duration = Duration::from_secs(1);

pub(crate) struct EntryContext {
    pub(crate) clock: Clock,
    pub(crate) removals: Removals,
    pub(crate) staleness: Staleness,
    /// What the answer varied by that was found last and varied by something.
    last_selecting: Mutex<SelectingFields>,
}

impl EntryContext {
    pub(crate) fn new(staleness: Staleness) -> Self {
        let (clock, removals) = (Clock::start(), Removals::default());
        Self { clock, removals, staleness, last_selecting: Mutex::default() }
    }

    /// A guess at what an answer varies by, so that it is read together with its nodes.
    pub(crate) fn last_selecting(&self) -> SelectingFields {
        self.last_selecting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn guess_selecting(&self, selecting: &SelectingFields) {
        self.last_selecting.lock().unwrap_or_else(PoisonError::into_inner).clone_from(selecting);
    }

    /// The keys by which an answer can be removed: its target, its owner's part, and its variant.
    pub(crate) fn removal_hashes(&self, path: &Path, variant: &[u8]) -> [KeyHash; 3] {
        let hash = |key: &[u8]| self.removals.hash(key);
        [hash(path.target()), hash(path.owner()), hash(&path.variant(variant))]
    }

    /// Whether the stored answer may be the newer one. An answer made just now is stored without a look at it.
    pub(crate) fn may_be_older(&self, lifetime: &Lifetime) -> bool {
        self.clock.now().since(lifetime.created) > RESOLUTION
    }

    /// Whether the stored answer was made later than the other.
    pub(crate) fn is_newer(&self, stored: &Lifetime, other: &Lifetime) -> bool {
        stored.created.since(other.created) > RESOLUTION
    }

    /// Whether the stored answer stays in place of the other: the newest that may be served is to be used (RFC 9111 §4).
    pub(crate) fn supersedes(&self, stored: &Lifetime, other: &Lifetime) -> bool {
        let now = self.clock.now();
        self.is_newer(stored, other) && stored.left(now).is_some() && !stored.is_ahead(now)
    }

    /// A node lives long, because all answers under it are lost when it expires.
    pub(crate) fn node_life(&self) -> Duration {
        self.staleness.longest() * 32
    }
}
