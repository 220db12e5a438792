//! Which upstreams can be broken, and breaking them.

use std::sync::Arc;

use crate::config::BaseUrl;
use crate::upstream::{Simulated, Upstream};

/// Where each upstream is.
#[derive(Debug, Clone)]
pub struct Chaos(Arc<[(Upstream, Place)]>);

/// Where an upstream is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Place {
    /// In this process, with a switch for its faults.
    Simulated(Simulated),
    /// Somewhere else, out of our hands.
    Real(BaseUrl),
}

impl Chaos {
    pub(crate) fn new(places: impl IntoIterator<Item = (Upstream, Place)>) -> Self {
        Self(places.into_iter().collect())
    }

    /// Where this upstream is.
    #[must_use]
    pub fn place(&self, upstream: Upstream) -> Option<&Place> {
        self.0.iter().find_map(|(known, place)| (*known == upstream).then_some(place))
    }

    /// The switch of this upstream, where it is simulated.
    #[must_use]
    pub fn simulated(&self, upstream: Upstream) -> Option<&Simulated> {
        match self.place(upstream)? {
            Place::Simulated(simulated) => Some(simulated),
            Place::Real(_) => None,
        }
    }

    /// Every switch.
    pub fn all_simulated(&self) -> impl Iterator<Item = &Simulated> {
        self.0.iter().filter_map(|(_, place)| match place {
            Place::Simulated(simulated) => Some(simulated),
            Place::Real(_) => None,
        })
    }
}
