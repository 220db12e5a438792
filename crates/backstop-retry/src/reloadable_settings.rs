//! The settings of a layer, which its handle reloads while calls run.

use std::sync::{Mutex, MutexGuard, PoisonError};

use backstop_core::{ConfigError, Name};
use backstop_kit::{KeepReplaced, Reloadable, Snapshot};

use crate::{Backoff, Budget, RetryBudget, RetryConfig, config::Settings};

/// Settings that a layer shares with its handles. They don't depend on its protocol.
#[derive(Debug)]
pub(crate) struct ReloadableSettings {
    name: Name,
    current: Reloadable<Settings>,
    /// What a reload can't change.
    built: Built,
    /// The budget as configured last. The lock also makes reloads run one after another.
    budget: Mutex<Budget>,
}

#[derive(Debug)]
struct Built {
    max_body: usize,
    seed: Option<u64>,
    keep_within: Option<KeepReplaced>,
    /// Whether a closure computes the waits.
    has_backoff_fn: bool,
}

impl ReloadableSettings {
    /// The defaults.
    pub(crate) fn new(name: Name) -> Self {
        let config = RetryConfig::new("");
        Self::with(name, Settings::new(), &config, None)
    }

    /// The settings of a checked `config`.
    pub(crate) fn with(
        name: Name,
        settings: Settings,
        config: &RetryConfig,
        keep_within: Option<KeepReplaced>,
    ) -> Self {
        let RetryConfig { max_body, seed, ref budget, .. } = *config;
        let has_backoff_fn = matches!(config.backoff, Backoff::Custom(_));
        Self {
            name,
            current: Reloadable::new(settings),
            built: Built { max_body, seed, keep_within, has_backoff_fn },
            budget: Mutex::new(budget.clone()),
        }
    }

    pub(crate) const fn name(&self) -> &Name {
        &self.name
    }

    /// The settings that a call begins with.
    #[inline]
    pub(crate) fn snapshot(&self) -> Snapshot<Settings> {
        self.current.snapshot()
    }

    /// The settings of a call that runs.
    #[inline]
    pub(crate) fn at<'a>(&'a self, snapshot: &'a Snapshot<Settings>) -> &'a Settings {
        self.current.at(snapshot)
    }

    /// The budget that pays for retries, including those of calls that began before a reload.
    pub(crate) fn budget(&self) -> Option<RetryBudget> {
        self.current.load().budget.clone()
    }

    /// The settings for a reload. What is accepted doesn't depend on earlier reloads.
    pub(crate) fn check(&self, mut config: RetryConfig) -> Result<(Settings, Budget), ConfigError> {
        let refused = |field, value: String, allowed| Err(ConfigError::new(field, value, allowed));
        if self.built.has_backoff_fn {
            match config.backoff {
                Backoff::Custom(_) => {}
                Backoff::FullJitter => config.backoff.clone_from(self.current.load().waits.backoff()),
                other => return refused("backoff", format!("{other:?}"), "full_jitter: a closure computes the waits"),
            }
        }
        let budget = config.budget.clone();
        let (max_body, seed) = (config.max_body, config.seed);
        let (name, mut settings) = Settings::check(config, self.built.keep_within)?;
        if name != self.name {
            return refused("name", name.to_string(), "the layer's own");
        }
        if max_body != self.built.max_body {
            return refused("max_body", max_body.to_string(), "what the layer was built with: it can't be reloaded");
        }
        if seed != self.built.seed {
            return refused("seed", format!("{seed:?}"), "what the layer was built with: it can't be reloaded");
        }
        let same_sharing = match (&*self.lock(), &budget) {
            (Budget::Shared(built), Budget::Shared(budget)) => built == budget,
            (built, budget) => !built.is_shared() && !budget.is_shared(),
        };
        if !same_sharing {
            return refused(
                "budget",
                format!("{budget:?}"),
                "the shared budget that the layer was built with, or no shared one",
            );
        }
        settings.repeat = settings.repeat.with_closure_of(&self.current.load().repeat);
        Ok((settings, budget))
    }

    /// Changes the settings for calls that begin afterwards.
    pub(crate) fn reload(&self, config: RetryConfig) -> Result<(), ConfigError> {
        let (mut settings, budget) = self.check(config)?;
        let mut configured = self.lock();
        match (&*configured, &budget, self.budget()) {
            // The budget stays.
            (old, new, current) if old == new => settings.budget = current,
            (Budget::Own(_), Budget::Own(new), Some(current)) => {
                current.reload(new)?;
                settings.budget = Some(current);
            }
            _ => {}
        }
        *configured = budget;
        self.current.replace(settings);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
