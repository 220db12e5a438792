//! The upstreams, and the simulated ones that can be broken.

use std::sync::Arc;

use crate::config::BaseUrl;
use crate::upstream::{Simulated, Upstream};

/// All upstreams.
#[derive(Debug, Clone)]
pub struct Chaos(Arc<[(Upstream, Place)]>);

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
    pub(crate) fn new(places: impl IntoIterator<Item = (Upstream, Place)>) -> Self {
        Self(places.into_iter().collect())
    }

    /// The place of this upstream.
    #[must_use]
    pub fn place(&self, upstream: Upstream) -> Option<&Place> {
        self.0.iter().find_map(|(known, place)| (*known == upstream).then_some(place))
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
        self.0.iter().filter_map(|(_, place)| match place {
            Place::Simulated(simulated) => Some(simulated),
            Place::Real(_) => None,
        })
    }
}
