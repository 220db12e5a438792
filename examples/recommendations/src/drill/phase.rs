//! The script: what is broken, in which order.

use std::io;

use super::proxy::Proxy;
use crate::chaos::Chaos;
use crate::upstream::{Fault, FaultKind, Upstream};

/// A phase of the drill. Each begins with everything well.
#[derive(Debug)]
pub(super) struct Phase {
    pub(super) name: &'static str,
    pub(super) faults: &'static [(Upstream, FaultKind)],
    /// Whether the store of remembered answers is down.
    store_is_down: bool,
    pub(super) redis_is_down: bool,
}

const fn phase(name: &'static str, faults: &'static [(Upstream, FaultKind)]) -> Phase {
    Phase { name, faults, store_is_down: false, redis_is_down: false }
}

const BOTH_REFUSE: &[(Upstream, FaultKind)] =
    &[(Upstream::Ml, FaultKind::Refuse), (Upstream::Catalog, FaultKind::Refuse)];

pub(super) static SCRIPT: [Phase; 7] = [
    phase("healthy", &[]),
    phase("ML errors", &[(Upstream::Ml, FaultKind::Status)]),
    phase("ML hangs", &[(Upstream::Ml, FaultKind::Hang)]),
    phase("ML and catalog down", BOTH_REFUSE),
    // Only what needs no I/O is left.
    Phase { store_is_down: true, ..phase("store down, too", BOTH_REFUSE) },
    Phase { redis_is_down: true, ..phase("Redis down, ML errors", &[(Upstream::Ml, FaultKind::Status)]) },
    phase("recovered", &[]),
];

impl Phase {
    pub(super) fn breaks(&self, upstream: Upstream) -> bool {
        self.faults.iter().any(|(broken, _)| *broken == upstream)
    }

    pub(super) async fn begin(&self, chaos: &Chaos, redis: Option<&Proxy>) -> io::Result<()> {
        self.set(chaos, redis, |kind| kind, true).await
    }

    pub(super) async fn end(&self, chaos: &Chaos, redis: Option<&Proxy>) -> io::Result<()> {
        self.set(chaos, redis, |_| FaultKind::None, false).await
    }

    async fn set(
        &self,
        chaos: &Chaos,
        redis: Option<&Proxy>,
        to: fn(FaultKind) -> FaultKind,
        is_down: bool,
    ) -> io::Result<()> {
        chaos.store().set_down(self.store_is_down && is_down);
        if let Some(redis) = redis {
            redis.set_down(self.redis_is_down && is_down);
        }
        for (upstream, kind) in self.faults {
            if let Some(simulated) = chaos.simulated(*upstream) {
                simulated.set_fault(Fault::new(to(*kind))).await?;
            }
        }
        Ok(())
    }
}
