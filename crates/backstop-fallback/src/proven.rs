//! When each provider of a chain last answered, and who asked it.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use backstop_core::Name;
use backstop_kit::{WallClock, telemetry::Series};

use crate::metrics;

/// When a provider last answered, and who asked it: see [`FallbackStatus::last_proven`](crate::FallbackStatus::last_proven).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastProven {
    /// Unix time, in seconds.
    pub at: u64,
    /// Who asked it.
    pub by: ProvenBy,
}

/// What has shown that a provider works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProvenBy {
    /// The chain was built: a [`value`](crate::Provider::value) whose function returns no error always answers.
    Built,
    /// Its answer was an answer of the chain, because those before it failed.
    Activation,
    /// It answered a [forced](crate::FallbackHandle::force) request.
    Forced,
    /// It answered a [drill](crate::Drill).
    Drill,
    /// It answered [`prove_each_provider`](crate::FallbackChain::prove_each_provider).
    Proof,
}

impl ProvenBy {
    const ALL: [Self; 5] = [Self::Built, Self::Activation, Self::Forced, Self::Drill, Self::Proof];

    /// As it is shown to operators: `built`, `activation`, `forced`, `drill`, `proof`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Activation => "activation",
            Self::Forced => "forced",
            Self::Drill => "drill",
            Self::Proof => "proof",
        }
    }
}

impl fmt::Display for ProvenBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The proofs of a chain's providers, in its order.
#[derive(Debug)]
pub(crate) struct Proofs {
    clock: WallClock,
    providers: Vec<Proof>,
}

#[derive(Debug)]
struct Proof {
    /// A [`LastProven`], or [`NONE`]. No other memory depends on it, so `Relaxed` is enough.
    last: AtomicU64,
    gauge: Series,
}

/// Seconds above, the index of a [`ProvenBy`] plus one below.
const BY_BITS: u32 = 3;
const NONE: u64 = 0;

impl Proofs {
    pub(crate) fn new(chain: &Name, providers: &[Name]) -> Self {
        let proof = |provider| Proof { last: AtomicU64::new(NONE), gauge: metrics::last_proven(chain, provider) };
        Self { clock: WallClock::default(), providers: providers.iter().map(proof).collect() }
    }

    /// Notes that this provider has answered now.
    pub(crate) fn prove(&self, provider: usize, by: ProvenBy) {
        let Some(proof) = self.providers.get(provider) else { return };
        let by = ProvenBy::ALL.iter().position(|one| *one == by).map_or(0, |index| index as u64 + 1);
        let at = self.clock.now() / 1_000;
        proof.last.store(at << BY_BITS | by, Relaxed);
        proof.gauge.set(at as f64);
    }

    /// The last proof of each provider.
    pub(crate) fn last(&self) -> impl Iterator<Item = Option<LastProven>> {
        self.providers.iter().map(|proof| {
            let word = proof.last.load(Relaxed);
            let by = (word & ((1 << BY_BITS) - 1)).checked_sub(1)?;
            let by = ProvenBy::ALL.get(by as usize)?;
            let last = LastProven { at: word >> BY_BITS, by: *by };
            // A recorder may have been installed since.
            proof.gauge.set(last.at as f64);
            Some(last)
        })
    }
}
