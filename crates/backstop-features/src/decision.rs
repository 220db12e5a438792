//! What decides the state of a feature: all causes, and what follows from them.
//!
//! | the first that applies | the feature is |
//! |---|---|
//! | a flag that was set on this instance | what the flag says |
//! | a flag of the store | what the flag says |
//! | off unless known, and something isn't known | disabled |
//! | otherwise | the worst of what its tier, its components and its errors say |

use backstop_core::Level;
use tokio::time::Instant;

use crate::{
    Cause, FeatureState, Flag,
    auto_degrade::{AutoDegrade, Nanos, NextChange, Phase, Ppm, nanos},
    config::FeatureRules,
};

/// Everything that has a say.
#[derive(Debug)]
pub(crate) struct Causes {
    rules: FeatureRules,
    flags: Flags,
    level: Level,
    /// The worst of the components that it needs. `None` while it is unknown.
    component: Option<Level>,
    /// Whether its flag in the store has been read.
    is_known: bool,
    /// `None` if errors are ignored.
    auto: Option<AutoDegrade>,
}

/// The flags of a feature.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    /// Set on this instance alone. It decides, whatever the store says.
    pub(crate) here: Option<Flag>,
    /// The store's, or that of this instance if there is no store.
    pub(crate) stored: Option<Flag>,
}

impl Flags {
    /// The flag that decides.
    pub(crate) fn deciding(&self) -> Option<&Flag> {
        self.here.as_ref().or(self.stored.as_ref())
    }

    /// The flag that would decide if none was set on this instance.
    pub(crate) fn overridden(&self) -> Option<&Flag> {
        self.stored.as_ref().filter(|_| self.here.is_some())
    }

    fn end_expired(&mut self) {
        for flag in [&mut self.here, &mut self.stored] {
            _ = flag.take_if(|flag| flag.has_expired());
        }
    }

    fn next_end(&self) -> Option<Instant> {
        self.here.iter().chain(&self.stored).filter_map(Flag::expires).min()
    }
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) state: FeatureState,
    pub(crate) cause: Cause,
    /// The share of the calls that is let through all the same.
    pub(crate) share: Option<Ppm>,
}

impl Decision {
    /// Nothing is against it.
    pub(crate) const ENABLED: Self = Self::new(FeatureState::Enabled, Cause::None);

    const fn new(state: FeatureState, cause: Cause) -> Self {
        Self { state, cause, share: None }
    }
}

impl Causes {
    pub(crate) fn new(rules: FeatureRules, is_known: bool) -> Self {
        let component = rules.needs.is_empty().then_some(Level::Healthy);
        let auto = rules.errors.map(AutoDegrade::new);
        Self { rules, flags: Flags::default(), level: Level::Healthy, component, is_known, auto }
    }

    pub(crate) const fn rules(&self) -> &FeatureRules {
        &self.rules
    }

    /// Changes the rules. A degradation by errors goes on to its end, unless errors are ignored now.
    pub(crate) fn set_rules(&mut self, rules: FeatureRules) {
        match (&mut self.auto, rules.errors) {
            (Some(auto), Some(rules)) => auto.set_rules(rules),
            (auto, rules) => *auto = rules.map(AutoDegrade::new),
        }
        self.rules = rules;
    }

    pub(crate) const fn flags(&self) -> &Flags {
        &self.flags
    }

    pub(crate) const fn flags_mut(&mut self) -> &mut Flags {
        &mut self.flags
    }

    pub(crate) const fn auto(&self) -> Option<&AutoDegrade> {
        self.auto.as_ref()
    }

    /// Sets the level of the service and the worst state of the components. Returns whether one of them changed.
    pub(crate) fn set_surroundings(&mut self, level: Level, component: Option<Level>) -> bool {
        let changed = (self.level, self.component) != (level, component);
        (self.level, self.component) = (level, component);
        changed
    }

    /// Its flag in the store has been read.
    pub(crate) const fn set_known(&mut self) {
        self.is_known = true;
    }

    /// A call failed; `calls` have ended so far, with this one. Returns whether it counts: failed probes of a feature that the
    /// level or a component keeps off say nothing new.
    pub(crate) fn count_error(&mut self, now: Nanos, calls: u64) -> bool {
        let counts = !self.is_shed();
        if let Some(auto) = self.auto.as_mut().filter(|_| counts) {
            auto.error(now, calls);
        }
        counts
    }

    /// The store says that the fleet is degraded for this long.
    pub(crate) fn follow_fleet(&mut self, now: Nanos, remaining: Nanos) {
        let is_shed = self.is_shed();
        match &mut self.auto {
            Some(auto) if is_shed => auto.ignore_fleet(now, remaining),
            Some(auto) => auto.follow_fleet(now, remaining),
            None => {}
        }
    }

    /// Makes the changes that time brings. Returns what follows from all causes.
    pub(crate) fn advance(&mut self, now: Nanos, calls: u64) -> Decision {
        self.flags.end_expired();
        let is_shed = self.is_shed();
        if let Some(auto) = &mut self.auto {
            auto.advance(now, calls);
            if is_shed {
                auto.put_down_to_shedding(now);
            }
        }
        self.decide()
    }

    /// When time or calls alone may change something.
    pub(crate) fn next_change(&self, now: Nanos, base: Instant) -> NextChange {
        let auto = self.auto.as_ref().map_or(NextChange::NEVER, |auto| auto.next_change(now));
        let flag = self.flags.next_end().map_or(Nanos::MAX, |at| nanos(at.saturating_duration_since(base)));
        NextChange { at: auto.at.min(flag), ..auto }
    }

    /// Whether the level or a component keeps it off.
    fn is_shed(&self) -> bool {
        self.by_level().max(self.by_component()) > FeatureState::Enabled
    }

    fn by_level(&self) -> FeatureState {
        self.rules.tier.at(self.level)
    }

    fn by_component(&self) -> FeatureState {
        match self.component {
            // If it is unknown, it may well work. If it must be known, that is a cause of its own.
            None | Some(Level::Healthy) => FeatureState::Enabled,
            Some(Level::Degraded) => FeatureState::Degraded,
            _ => FeatureState::Disabled,
        }
    }

    fn by_errors(&self) -> Decision {
        match &self.auto {
            Some(auto) => match auto.phase() {
                Phase::On => Decision::ENABLED,
                Phase::Degraded { .. } => Decision::new(FeatureState::Degraded, Cause::Errors),
                Phase::Returning { .. } => {
                    Decision { share: auto.share(), ..Decision::new(FeatureState::Degraded, Cause::Recovering) }
                }
            },
            None => Decision::ENABLED,
        }
    }

    fn decide(&self) -> Decision {
        if let Some(flag) = self.flags.deciding() {
            return Decision::new(flag.state(), Cause::Operator);
        }
        if self.rules.off_unless_known && !(self.is_known && self.component.is_some()) {
            return Decision::new(FeatureState::Disabled, Cause::Unknown);
        }
        let (by_level, by_component, by_errors) = (self.by_level(), self.by_component(), self.by_errors());
        // The first of the worst.
        let worst = by_level.max(by_component).max(by_errors.state);
        if worst == FeatureState::Enabled {
            Decision::ENABLED
        } else if by_level == worst {
            Decision::new(by_level, Cause::Level)
        } else if by_component == worst {
            Decision::new(by_component, Cause::Component)
        } else {
            by_errors
        }
    }
}
