//! Reports that nobody reads.

use std::{
    collections::HashSet,
    sync::{LazyLock, Mutex, PoisonError},
};

use crate::{Degradation, Name};

/// The chains for which a warning was logged.
static WARNED: LazyLock<Mutex<HashSet<Name>>> = LazyLock::new(Mutex::default);

/// The most chains that are remembered, in case their names are made from requests.
const MOST_CHAINS: usize = 1024;

/// Warns, once for each chain, that its answers aren't labelled.
#[cold]
pub(super) fn warn(degradation: &Degradation) {
    if is_new(degradation.chain()) {
        tracing::warn!(
            target: "backstop::scope",
            chain = %degradation.chain(),
            provider = %degradation.source(),
            "nobody reads that this answer is degraded, and it leaves without a label: is a `DegradationHeaderLayer` \
             around everything, and is the scope carried into spawned tasks?"
        );
    }
}

/// The chains of this process some of whose reports [nobody read](crate::scope#who-reads-reports), in the order of their names.
///
/// Their answers left without a label. At most 1,024 chains are remembered.
#[must_use]
pub fn unread_chains() -> Vec<Name> {
    let mut chains: Vec<_> = WARNED.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
    chains.sort();
    chains
}

fn is_new(chain: &Name) -> bool {
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    !warned.contains(chain) && warned.len() < MOST_CHAINS && warned.insert(chain.clone())
}
