//! The handle.

use std::{fmt, sync::Arc, time::Duration};

use backstop_core::{ConfigError, Name, OperationRequest, Reason};
use backstop_kit::episode::Current;

use crate::{FallbackConfig, Forcing, LastProven, control::Control, telemetry};

/// Shows a chain's state, and forces requests to a provider. All handles of a chain, its clones and its layers share one state.
///
/// A fallback that is never used may be broken without anyone noticing. If a small share of the traffic is forced to it, it is
/// used every day, and a failure shows while the primary works:
///
/// ```
/// use backstop_fallback::{FallbackChain, Provider, name};
///
/// # fn main() -> Result<(), backstop_fallback::ConfigError> {
/// let prices: FallbackChain<u32, &str> = FallbackChain::builder("prices")
///     .provider(Provider::from_fn(name!("live"), |_item| async { "9.99" }))
///     .provider(Provider::value(name!("list"), || async { "9.50" }))
///     .build()?;
///
/// let handle = prices.handle();
/// handle.force("list", 0.01)?;
/// assert_eq!(handle.forcing().map(|it| it.provider), Some(name!("list")));
/// assert_eq!(handle.force("lits", 0.01).unwrap_err().allowed, "live, list");
/// handle.stop_forcing();
/// # Ok(())
/// # }
/// ```
///
/// | request | is forced |
/// |---|---|
/// | [safe to repeat](crate#side-effects), such as a `GET` behind a layer | its share |
/// | in a [handler](crate::FallbackChain::execute) | its share, **whatever the request**, unless [`repeat_only_if`](crate::FallbackChainBuilder::repeat_only_if) says that it isn't safe |
/// | any other | never: the provider may process a part of what the primary then processes again |
/// | with a body that may be streamed, if the provider needs it | never: the primary might find it read. Axum's and tonic's bodies may be streamed; `Full` and empty bodies aren't |
/// | an upgrade, `CONNECT` | never |
///
/// The provider has a share of the time as if it stood before the primary. Its [`concurrency`](crate::Provider::concurrency)
/// applies; [`only_when`](crate::Provider::only_when) doesn't, since nothing has failed. If it has no answer, the request goes
/// to the primary and along the chain as usual, and a `WARN` event says so. Its answers are degradations with the reason
/// [`FORCED`](backstop_core::Reason::FORCED).
#[derive(Clone)]
pub struct FallbackHandle(Arc<Control>, Ends);

/// What a chain has before its first provider, and after its last one.
#[derive(Clone, Default)]
struct Ends {
    /// The service that a layer wraps.
    primary: Option<Name>,
    has_default: bool,
}

/// The state of a chain: see [`FallbackHandle::status`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackStatus {
    /// The running [episode](crate#in-logs) of degraded answers; `None` while the chain is healthy.
    pub episode: Option<DegradedEpisode>,
    /// When each provider of the chain, in its order, last answered, and who asked it; `None` until it has. The first provider in a
    /// handler is proven only by [`prove_each_provider`](crate::FallbackChain::prove_each_provider).
    pub last_proven: Vec<(Name, Option<LastProven>)>,
}

/// An [episode](crate#in-logs) of degraded answers, so far.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DegradedEpisode {
    /// How long ago it began.
    pub duration: Duration,
    /// How long ago the last answer was degraded, or missing.
    pub last_degraded: Duration,
    /// Why the first provider didn't answer then.
    pub last_reason: Reason,
    /// How long ago the primary last answered in this episode; `None` if it hasn't.
    pub last_primary_answer: Option<Duration>,
    /// All calls of the chain since then.
    pub calls: u64,
    /// Calls that another provider than the primary answered.
    pub degraded: u64,
    /// Calls that no provider answered.
    pub exhausted: u64,
    /// The calls of about the last five minutes of the episode.
    pub recent: RecentCalls,
}

/// Who answered the calls of about the last five minutes of an [episode](DegradedEpisode): whole minutes, and the running one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecentCalls {
    /// All of them.
    pub calls: u64,
    /// Those that the primary answered.
    pub primary: u64,
    /// Those that other providers answered, by provider.
    pub providers: Vec<(Name, u64)>,
    /// Those that no provider answered.
    pub exhausted: u64,
}

impl RecentCalls {
    /// The share of the calls that `provider` answered, 0 to 1. The primary has no name here: its share is
    /// [`primary`](Self::primary) by [`calls`](Self::calls).
    #[must_use]
    pub fn share(&self, provider: &str) -> f64 {
        let answers = self.providers.iter().find(|(name, _)| name == provider).map_or(0, |(_, answers)| *answers);
        if self.calls == 0 { 0.0 } else { answers as f64 / self.calls as f64 }
    }
}

impl FallbackHandle {
    pub(crate) const fn new(control: Arc<Control>) -> Self {
        Self(control, Ends { primary: None, has_default: false })
    }

    /// The handle of a chain behind this service.
    pub(crate) fn behind(self, primary: &Name) -> Self {
        Self(self.0, Ends { primary: Some(primary.clone()), ..self.1 })
    }

    /// The handle of a chain that ends with a default.
    pub(crate) fn with_default(self) -> Self {
        Self(self.0, Ends { has_default: true, ..self.1 })
    }

    pub(crate) fn control(&self) -> &Control {
        &self.0
    }

    /// What the chain asks first: the service that its layer wraps, or its first provider.
    pub(crate) fn primary(&self) -> &Name {
        self.1.primary.as_ref().or_else(|| self.0.providers.first()).unwrap_or(self.0.name())
    }

    /// All that the chain asks, in order: the service that its layer wraps, and its providers.
    pub(crate) fn all_providers(&self) -> impl Iterator<Item = &Name> {
        self.1.primary.iter().chain(&self.0.providers)
    }

    /// Whether the chain may be left without an answer when it asks its last provider.
    pub(crate) fn last_may_fail(&self) -> bool {
        self.0.last_may_fail && !self.1.has_default
    }

    /// The name of the chain.
    #[must_use]
    pub fn name(&self) -> &Name {
        self.0.name()
    }

    /// The names of the chain's providers, in order.
    pub fn providers(&self) -> impl Iterator<Item = &Name> {
        self.0.providers.iter()
    }

    /// Sends a `share` of the requests, 0 to 1, to `provider` first, although the primary works.
    ///
    /// It replaces what was forced before. In a [handler](crate::FallbackChain::execute)'s chain, forcing the first provider
    /// changes nothing, and every request may be forced, even a payment, unless
    /// [`repeat_only_if`](crate::FallbackChainBuilder::repeat_only_if) says otherwise.
    ///
    /// # Errors
    /// [`ConfigError`] with the field `share` if it isn't from 0 to 1, or `provider` if the chain has none with that name; it
    /// lists those that it has.
    pub fn force(&self, provider: &str, share: f64) -> Result<(), ConfigError> {
        self.force_by(provider, share, None)
    }

    pub(crate) fn force_by(
        &self,
        provider: &str,
        share: f64,
        request: Option<&OperationRequest>,
    ) -> Result<(), ConfigError> {
        ConfigError::check_range("share", share, 0.0..=1.0, "0 to 1")?;
        let Some(index) = self.providers().position(|name| name == provider) else {
            let names: Vec<_> = self.providers().map(Name::as_str).collect();
            return Err(ConfigError::new("provider", provider.to_owned(), names.join(", ")));
        };
        self.set(index, share, request);
        Ok(())
    }

    /// The least time between two [drills](crate::Drill); `None` without them.
    #[must_use]
    pub fn drill_every(&self) -> Option<Duration> {
        self.0.drill_every()
    }

    /// The time of all providers together, the primary included.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.0.settings.load().total
    }

    /// Changes the chain's times and limits for requests that begin afterwards. No request waits for it, and each has the
    /// same settings for its whole life.
    ///
    /// What `config` leaves out is as the code of the chain and its layers has it, whatever earlier reloads said.
    /// Episodes, [forcing](Self::force) and the requests that a provider has stay. A lower `concurrency` ends none of them.
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop_fallback::{FallbackChain, FallbackConfig, Provider, name};
    ///
    /// let prices: FallbackChain<u32, &str> = FallbackChain::builder("prices")
    ///     .provider(Provider::from_fn(name!("live"), |_item| async { "9.99" }))
    ///     .provider(Provider::value(name!("list"), || async { "9.50" }))
    ///     .build()?;
    /// let handle = prices.handle();
    ///
    /// let mut config = FallbackConfig::new("prices");
    /// config.total = Some(Duration::from_millis(300));
    /// config.providers.entry("live".to_owned()).or_default().timeout = Some(Duration::from_millis(200));
    /// handle.reload(config)?;
    /// assert_eq!(handle.total(), Duration::from_millis(300));
    ///
    /// let mut config = FallbackConfig::new("prices");
    /// config.providers.entry("live".to_owned()).or_default().timeout = Some(Duration::from_secs(9));
    /// assert_eq!(
    ///     handle.reload(config).unwrap_err().to_string(),
    ///     "providers.live.timeout is 9s, allowed is: more than 0 s, up to the chain's total, which is 5s",
    /// );
    /// # Ok::<(), backstop_fallback::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`FallbackChainBuilder::build`](crate::FallbackChainBuilder::build), for another name than the chain's, for a
    /// provider that the chain doesn't have, and for a total that is too short for a layer of the chain. Nothing changes then.
    #[expect(clippy::needless_pass_by_value, reason = "all handles take a configuration to keep")]
    pub fn reload(&self, config: FallbackConfig) -> Result<(), ConfigError> {
        self.0.reload(&config)
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &FallbackConfig) -> Result<(), ConfigError> {
        self.0.check(config)
    }

    /// Ends [`force`](Self::force).
    pub fn stop_forcing(&self) {
        self.stop_forcing_by(None);
    }

    pub(crate) fn stop_forcing_by(&self, request: Option<&OperationRequest>) {
        self.set(0, 0.0, request);
    }

    /// Whether the chain's answers are degraded, since when, why, and who gives them.
    ///
    /// While no episode runs, nothing is counted: the primary answers, or nobody asks.
    #[must_use]
    pub fn status(&self) -> FallbackStatus {
        let episode =
            self.0.episodes.current().map(|Current { summary, last_degraded, last_reason, last_fresh, recent }| {
                DegradedEpisode {
                    duration: summary.duration,
                    last_degraded,
                    last_reason,
                    last_primary_answer: last_fresh,
                    calls: summary.calls,
                    degraded: summary.degraded,
                    exhausted: summary.exhausted,
                    recent: RecentCalls {
                        calls: recent.calls,
                        primary: recent.calls - recent.degraded - recent.exhausted,
                        providers: recent.providers,
                        exhausted: recent.exhausted,
                    },
                }
            });
        let last_proven = self.providers().cloned().zip(self.0.proofs.last()).collect();
        FallbackStatus { episode, last_proven }
    }

    /// What is forced, if anything.
    #[must_use]
    pub fn forcing(&self) -> Option<Forcing> {
        self.0.forcing()
    }

    fn set(&self, provider: usize, share: f64, request: Option<&OperationRequest>) {
        self.0.force(provider, share);
        telemetry::forcing(&self.0, self.forcing().as_ref(), request);
    }
}

impl fmt::Debug for FallbackHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackHandle").field("name", self.name()).field("forcing", &self.forcing()).finish()
    }
}

#[cfg(test)]
mod tests {
    use backstop_core::name;

    use super::*;
    use crate::{
        ProviderConfig,
        chain::settings::{ReloadableSettings, Settings},
    };

    fn control(seed: u64) -> Arc<Control> {
        let names = vec![name!("one"), name!("two"), name!("three")];
        let settings = Settings::new(Duration::from_secs(5), vec![ProviderConfig::default(); names.len()]);
        let settings = ReloadableSettings::new(settings, None, &names).unwrap();
        Arc::new(Control::new(name!("chain"), names, settings, Some(seed), true))
    }

    #[test]
    fn the_share_of_the_draws_is_the_share_that_was_asked_for() {
        for share in [0.0, 1e-12, 0.01, 0.1, 0.5, 0.99, 1.0] {
            let control = control(4);
            FallbackHandle::new(Arc::clone(&control)).force("three", share).unwrap();
            let drawn: Vec<_> = (0..100_000).filter_map(|_| control.draw()).collect();
            assert!(drawn.iter().all(|index| *index == 2));
            let off = drawn.len() as f64 / 100_000.0 - share;
            // Five standard deviations; none where the share is all or nothing.
            let allowed = 5.0 * (share * (1.0 - share) / 100_000.0).sqrt() + f64::EPSILON;
            assert!(off.abs() <= allowed, "{share} is off by {off}");
        }
    }

    #[test]
    fn a_share_is_read_as_it_was_set_and_the_smallest_isn_t_lost() {
        let handle = FallbackHandle::new(control(4));
        assert_eq!(handle.forcing(), None);
        for share in [1.0, 0.5, 0.01, f64::MIN_POSITIVE] {
            handle.force("two", share).unwrap();
            let forcing = handle.forcing().unwrap();
            assert_eq!(forcing.provider, "two");
            assert!(forcing.share > 0.0 && (forcing.share - share).abs() < 1e-9);
        }
        handle.force("one", 0.0).unwrap();
        assert_eq!(handle.forcing(), None, "a share of nothing ends it, as `stop_forcing` does");
        handle.force("one", 1.0).unwrap();
        handle.stop_forcing();
        assert_eq!(handle.forcing(), None);
    }

    #[test]
    fn what_can_t_be_forced_is_refused_and_changes_nothing() {
        let handle = FallbackHandle::new(control(4));
        handle.force("two", 0.5).unwrap();
        for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(handle.force("two", share).unwrap_err().field, "share");
        }
        let unknown = handle.force("primary", 0.5).unwrap_err();
        assert_eq!(unknown.to_string(), "provider is primary, allowed is: one, two, three");
        assert_eq!(handle.forcing().map(|it| it.provider), Some(name!("two")));
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let draws = |seed| {
            let control = control(seed);
            FallbackHandle::new(Arc::clone(&control)).force("two", 0.5).unwrap();
            (0..64).map(|_| control.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draws(4), draws(4));
        assert_ne!(draws(4), draws(5));
    }
}
