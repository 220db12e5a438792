//! The words: states, tiers, causes.

use std::fmt;

use backstop_core::{Level, Reason, Value};

/// The reason of a refusal because a feature is degraded.
pub const FEATURE_DEGRADED: Reason = Reason::new("feature-degraded");
/// The reason of a refusal because a feature is disabled.
pub const FEATURE_DISABLED: Reason = Reason::new("feature-disabled");

/// Whether a feature may be used. Ordered: greater is worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FeatureState {
    /// Use it.
    #[default]
    Enabled,
    /// Use what stands in for it: a stored answer, a default.
    Degraded,
    /// Leave it out.
    Disabled,
}

impl FeatureState {
    pub(crate) const ALL: [Self; 3] = [Self::Enabled, Self::Degraded, Self::Disabled];

    /// As it is written in logs, metrics and stores: `enabled`, `degraded`, `disabled`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Degraded => "degraded",
            Self::Disabled => "disabled",
        }
    }

    /// The reason of a refusal in this state.
    pub(crate) const fn refusal(self) -> Option<Reason> {
        match self {
            Self::Enabled => None,
            Self::Degraded => Some(FEATURE_DEGRADED),
            Self::Disabled => Some(FEATURE_DISABLED),
        }
    }
}

impl fmt::Display for FeatureState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<FeatureState> for Value {
    fn from(state: FeatureState) -> Self {
        state.as_str().into()
    }
}

/// How long a feature stays on while the service gets worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Tier {
    /// On even if the service is critical.
    Core,
    /// On while the service is healthy or degraded.
    Standard,
    /// On while the service is healthy.
    NiceToHave,
}

impl Tier {
    /// As it is written in logs and lists: `core`, `standard`, `nice_to_have`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Standard => "standard",
            Self::NiceToHave => "nice_to_have",
        }
    }

    /// What the tier allows at this level of the service.
    #[must_use]
    pub const fn at(self, level: Level) -> FeatureState {
        match (self, level) {
            (Self::Core, _) | (_, Level::Healthy) | (Self::Standard, Level::Degraded) => FeatureState::Enabled,
            _ => FeatureState::Disabled,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a feature is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Nothing is against it.
    None,
    /// An operator's flag decides.
    Operator,
    /// Its tier, at the current level of the service.
    Level,
    /// A component that it needs.
    Component,
    /// Its own errors.
    Errors,
    /// Its errors have stopped, and it returns in steps.
    Recovering,
    /// It is [off unless known](crate::FeatureConfig::off_unless_known), and something isn't known yet.
    Unknown,
}

impl Cause {
    /// As it is written in logs and lists.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Operator => "operator",
            Self::Level => "level",
            Self::Component => "component",
            Self::Errors => "errors",
            Self::Recovering => "recovering",
            Self::Unknown => "unknown",
        }
    }

    /// Whether calls go through as probes. What an operator has decided isn't probed.
    pub(crate) const fn is_probed(self) -> bool {
        matches!(self, Self::Level | Self::Component | Self::Errors)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_says_down_to_which_level_a_feature_stays_on() {
        let on = |tier: Tier| {
            [Level::Healthy, Level::Degraded, Level::Critical].map(|level| tier.at(level) == FeatureState::Enabled)
        };
        assert_eq!(on(Tier::Core), [true, true, true]);
        assert_eq!(on(Tier::Standard), [true, true, false]);
        assert_eq!(on(Tier::NiceToHave), [true, false, false]);
    }
}
