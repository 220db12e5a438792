//! What a chain and its handles share.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_core::{ConfigError, EventLog, Name};
use backstop_kit::{Jitter, Registration, episode::Episodes, telemetry::Series};

use crate::{
    AllProvidersFailed, FallbackConfig,
    chain::settings::{ReloadableSettings, check_name},
    drill::Drills,
    eligibility::Eligibility,
    metrics,
    proven::Proofs,
    telemetry,
};

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
    pub(crate) settings: ReloadableSettings,
    /// How long their answers take.
    latencies: Vec<Series>,
    /// A [`ForcedShare`]. No other memory depends on it, so `Relaxed` is enough.
    forced: AtomicU64,
    jitter: Jitter,
    /// Whether the first failure of the forced provider was logged.
    pub(crate) forced_failure_logged: AtomicBool,
    pub(crate) episodes: Episodes,
    pub(crate) eligibility: Eligibility,
    pub(crate) last_may_fail: bool,
    pub(crate) log: OnceLock<EventLog>,
    pub(crate) proofs: Proofs,
    pub(crate) drills: Drills,
    /// Whether the last drill of each provider failed.
    pub(crate) drill_failed: Vec<AtomicBool>,
    _registration: Registration,
}

/// The share of the requests, in units of 2⁻³², in the low 33 bits, and the provider's index above. A share of 0 forces none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ForcedShare(u64);

const SHARE_BITS: u32 = 33;
const ALL: u64 = 1 << 32;

impl ForcedShare {
    const NONE: Self = Self(0);

    /// A share above 0 stays above 0, however small.
    fn new(index: usize, share: f64) -> Self {
        let share = (share * ALL as f64).ceil() as u64;
        if share == 0 { Self::NONE } else { Self((index as u64) << SHARE_BITS | share) }
    }

    const fn index(self) -> usize {
        (self.0 >> SHARE_BITS) as usize
    }

    const fn share(self) -> u64 {
        self.0 & ((1 << SHARE_BITS) - 1)
    }
}

impl Control {
    pub(crate) fn new(
        chain: Name,
        providers: Vec<Name>,
        settings: ReloadableSettings,
        seed: Option<u64>,
        last_may_fail: bool,
    ) -> Self {
        backstop_core::see_through::<AllProvidersFailed>();
        telemetry::built(&chain);
        Self {
            _registration: Registration::new(telemetry::KIND, chain.clone()),
            latencies: providers.iter().map(|provider| metrics::latency(&chain, provider)).collect(),
            proofs: Proofs::new(&chain, &providers),
            drills: Drills::default(),
            drill_failed: providers.iter().map(|_| AtomicBool::new(false)).collect(),
            chain,
            providers,
            settings,
            forced: AtomicU64::new(ForcedShare::NONE.0),
            jitter: Jitter::new(seed),
            forced_failure_logged: AtomicBool::new(false),
            episodes: Episodes::new(),
            eligibility: Eligibility::new(),
            last_may_fail,
            log: OnceLock::new(),
        }
    }

    pub(crate) const fn name(&self) -> &Name {
        &self.chain
    }

    /// The metric of this provider's latency.
    pub(crate) fn latency_of(&self, provider: &Name) -> Option<&Series> {
        let at = self.providers.iter().position(|name| name == provider)?;
        self.latencies.get(at)
    }

    /// Whether [`reload`](Self::reload) would accept `config`.
    pub(crate) fn check(&self, config: &FallbackConfig) -> Result<(), ConfigError> {
        check_name(config, &self.chain)?;
        self.settings.check(config, &self.providers)
    }

    /// Changes the settings for requests that begin afterwards.
    pub(crate) fn reload(&self, config: &FallbackConfig) -> Result<(), ConfigError> {
        check_name(config, &self.chain)?;
        self.settings.reload(config, &self.providers)
    }

    /// The time between two drills. `None` while nothing drills the chain.
    pub(crate) fn drill_every(&self) -> Option<Duration> {
        let built = self.drills.every()?;
        Some(self.settings.load().drill_every.unwrap_or(built))
    }

    /// Draws whether to force the next request, and to which provider.
    #[inline]
    pub(crate) fn draw(&self) -> Option<usize> {
        let forced = ForcedShare(self.forced.load(Relaxed));
        // The path of every request while none is forced.
        if forced == ForcedShare::NONE {
            return None;
        }
        (self.jitter.number(0..ALL) < forced.share()).then(|| forced.index())
    }

    /// Forces this share of the requests to `provider`. With 0, none.
    pub(crate) fn force(&self, provider: usize, share: f64) {
        self.forced.store(ForcedShare::new(provider, share).0, Relaxed);
        self.forced_failure_logged.store(false, Relaxed);
    }

    /// What is forced, if anything.
    pub(crate) fn forcing(&self) -> Option<Forcing> {
        let forced = ForcedShare(self.forced.load(Relaxed));
        if forced == ForcedShare::NONE {
            return None;
        }
        let provider = self.providers.get(forced.index())?.clone();
        Some(Forcing { provider, share: forced.share() as f64 / ALL as f64 })
    }
}
