//! What a chain and its handles share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use backstop_core::Name;

use crate::{AllProvidersFailed, eligibility::Eligibility, episode::Episodes};

/// A provider that some requests go to first: see [`FallbackHandle::force`](crate::FallbackHandle::force).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Forcing {
    /// The provider.
    pub provider: Name,
    /// The share of the requests, more than 0, up to 1.
    pub share: f64,
}

/// What a chain and its handles share.
#[derive(Debug)]
pub(crate) struct Control {
    chain: Name,
    pub(crate) providers: Vec<Name>,
    /// Alone in what it tells, so `Relaxed` is enough.
    forced: AtomicU64,
    next_seed: AtomicU64,
    /// Whether it was logged that the provider forced now had no answer.
    pub(crate) forced_failure_logged: AtomicBool,
    pub(crate) episodes: Episodes,
    pub(crate) eligibility: Eligibility,
}

/// The share of the requests in 2⁻³² in the low 33 bits, and the provider's index above. A share of 0 forces nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ForcedShare(u64);

const SHARE_BITS: u32 = 33;
const ALL: u64 = 1 << 32;

/// 2⁶⁴ divided by the golden ratio, made odd: seeds that are this far apart never repeat, and share no pattern
/// (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

impl ForcedShare {
    const NOBODY: Self = Self(0);

    /// A share above 0 stays above 0, however small.
    fn new(index: usize, share: f64) -> Self {
        let share = (share * ALL as f64).ceil() as u64;
        if share == 0 { Self::NOBODY } else { Self((index as u64) << SHARE_BITS | share) }
    }

    const fn index(self) -> usize {
        (self.0 >> SHARE_BITS) as usize
    }

    const fn share(self) -> u64 {
        self.0 & ((1 << SHARE_BITS) - 1)
    }
}

impl Control {
    pub(crate) fn new(chain: Name, providers: Vec<Name>, seed: Option<u64>) -> Self {
        backstop_core::see_through::<AllProvidersFailed>();
        let next_seed = AtomicU64::new(seed.unwrap_or_else(|| fastrand::u64(..)));
        Self {
            chain,
            providers,
            forced: AtomicU64::new(ForcedShare::NOBODY.0),
            next_seed,
            forced_failure_logged: AtomicBool::new(false),
            episodes: Episodes::new(),
            eligibility: Eligibility::new(),
        }
    }

    pub(crate) const fn name(&self) -> &Name {
        &self.chain
    }

    /// The provider that the next request goes to first, if it is to be forced.
    pub(crate) fn draw(&self) -> Option<usize> {
        let forced = ForcedShare(self.forced.load(Relaxed));
        // The path of every request while nobody is forced.
        if forced == ForcedShare::NOBODY {
            return None;
        }
        let seed = self.next_seed.fetch_add(GAMMA, Relaxed);
        let drawn = fastrand::Rng::with_seed(seed).u64(..ALL);
        (drawn < forced.share()).then(|| forced.index())
    }

    /// Sends this share of the requests to this provider first; with a share of 0, all go to the primary.
    pub(crate) fn force(&self, provider: usize, share: f64) {
        self.forced.store(ForcedShare::new(provider, share).0, Relaxed);
        self.forced_failure_logged.store(false, Relaxed);
    }

    /// What is forced, if anything.
    pub(crate) fn forcing(&self) -> Option<Forcing> {
        let forced = ForcedShare(self.forced.load(Relaxed));
        if forced == ForcedShare::NOBODY {
            return None;
        }
        let provider = self.providers.get(forced.index())?.clone();
        Some(Forcing { provider, share: forced.share() as f64 / ALL as f64 })
    }
}
