//! Reports that nobody reads.

use std::{
    collections::HashSet,
    sync::{LazyLock, Mutex, PoisonError},
};

use crate::{Degradation, Name};

/// The chains that were warned of.
static WARNED: LazyLock<Mutex<HashSet<Name>>> = LazyLock::new(Mutex::default);

/// Names come from configuration. This bounds the memory in case they are made up as requests come.
const MOST_CHAINS: usize = 1024;

/// Warns, once for each chain, that its answers leave without a label.
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

fn is_new(chain: &Name) -> bool {
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    !warned.contains(chain) && warned.len() < MOST_CHAINS && warned.insert(chain.clone())
}
