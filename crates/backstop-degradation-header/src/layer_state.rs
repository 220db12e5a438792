//! What the services of a layer share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use backstop_core::{Degradation, Freshness, Name};
use backstop_kit::Reloadable;

use crate::settings::{PublicNames, Settings};

/// What the services of a layer share.
#[derive(Clone, Debug)]
pub(crate) struct LayerState {
    /// Shared with the handles.
    pub(crate) settings: Arc<Reloadable<Settings>>,
    /// A closure, which a reload leaves alone.
    pub(crate) public_names: PublicNames,
    /// Shared with the handles.
    pub(crate) labelled: Arc<LabelledChains>,
}

/// The most chains that are remembered, in case their names are made from requests.
const MOST_CHAINS: usize = 1024;

/// The chains whose degradations were labelled, and whether some as stale. Only degraded answers take the lock.
#[derive(Debug, Default)]
pub(crate) struct LabelledChains(Mutex<BTreeMap<Name, bool>>);

impl LabelledChains {
    pub(crate) fn add(&self, reports: &[Degradation]) {
        let mut chains = self.lock();
        for report in reports {
            let is_stale = matches!(report.freshness(), Freshness::Stale { .. });
            if let Some(was_stale) = chains.get_mut(report.chain()) {
                *was_stale |= is_stale;
            } else if chains.len() < MOST_CHAINS {
                chains.insert(report.chain().clone(), is_stale);
            }
        }
    }

    pub(crate) fn all(&self) -> BTreeMap<Name, bool> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
