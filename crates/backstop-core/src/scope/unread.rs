//! Reports that nobody reads.

use std::{
    collections::HashSet,
    sync::{LazyLock, Mutex, PoisonError},
};

use crate::{Degradation, Name};

/// The chains of which it was said.
static WARNED: LazyLock<Mutex<HashSet<Name>>> = LazyLock::new(Mutex::default);

/// Names come from configuration. Should somebody make them up, this bounds what they cost.
const MOST_CHAINS: usize = 1024;

/// Says, once for each chain, that its answers leave without a label.
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
