//! The upstreams, and the simulated ones that can be broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::BaseUrl;
use crate::upstream::{Simulated, Upstream};

/// All upstreams, and the store of remembered answers.
#[derive(Debug, Clone)]
pub struct Chaos {
    places: Arc<[(Upstream, Place)]>,
    store: StoreSwitch,
}

/// Breaks and mends the store of remembered answers. Clones are one switch.
#[derive(Debug, Clone, Default)]
pub struct StoreSwitch(Arc<AtomicBool>);

impl StoreSwitch {
    /// While it is down, the store has no answers.
    pub fn set_down(&self, is_down: bool) {
        self.0.store(is_down, Ordering::Relaxed);
    }

    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.0.load(Ordering::Relaxed) { Err("simulated: the store is down") } else { Ok(()) }
    }
}

/// An upstream's place.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Place {
    /// Simulated in this process, with faults that can be set.
    Simulated(Simulated),
    /// A real service, whose faults can't be set.
    Real(BaseUrl),
}

impl Chaos {
    pub(crate) fn new(places: impl IntoIterator<Item = (Upstream, Place)>, store: StoreSwitch) -> Self {
        Self { places: places.into_iter().collect(), store }
    }

    /// The store of remembered answers.
    #[must_use]
    pub const fn store(&self) -> &StoreSwitch {
        &self.store
    }

    /// The place of this upstream.
    #[must_use]
    pub fn place(&self, upstream: Upstream) -> Option<&Place> {
        self.places.iter().find_map(|(known, place)| (*known == upstream).then_some(place))
    }

    /// This upstream, if it is simulated.
    #[must_use]
    pub fn simulated(&self, upstream: Upstream) -> Option<&Simulated> {
        match self.place(upstream)? {
            Place::Simulated(simulated) => Some(simulated),
            Place::Real(_) => None,
        }
    }

    /// All simulated upstreams.
    pub fn all_simulated(&self) -> impl Iterator<Item = &Simulated> {
        self.places.iter().filter_map(|(_, place)| match place {
            Place::Simulated(simulated) => Some(simulated),
            Place::Real(_) => None,
        })
    }
}
