//! Where the level and the states of components come from.

use std::{collections::HashMap, fmt, sync::Arc};

use backstop_core::{ConfigError, Level, Name};
use backstop_health::{ComponentHandle, ComponentState, Health};

use crate::config::{FeatureRules, in_feature};

#[derive(Clone, Default)]
pub(crate) struct Sources {
    level: Option<LevelSource>,
    components: Option<ComponentsSource>,
}

type LevelSource = Arc<dyn Fn() -> Level + Send + Sync>;
type StateSource = Arc<dyn Fn(&Name) -> Option<Level> + Send + Sync>;

#[derive(Clone)]
enum ComponentsSource {
    Health(Health),
    Closure(StateSource),
}

impl Sources {
    pub(crate) fn of_health(health: &Health) -> Self {
        let of_level = health.clone();
        Self {
            level: Some(Arc::new(move || of_level.level())),
            components: Some(ComponentsSource::Health(health.clone())),
        }
    }

    pub(crate) fn set_level(&mut self, level: impl Fn() -> Level + Send + Sync + 'static) {
        self.level = Some(Arc::new(level));
    }

    pub(crate) fn set_components(&mut self, state: impl Fn(&Name) -> Option<Level> + Send + Sync + 'static) {
        self.components = Some(ComponentsSource::Closure(Arc::new(state)));
    }

    pub(crate) const fn are_none(&self) -> bool {
        self.level.is_none() && self.components.is_none()
    }

    pub(crate) fn level(&self) -> Level {
        self.level.as_ref().map_or(Level::Healthy, |level| level())
    }

    /// Finds the components that these features need.
    pub(crate) fn needs(&self, features: &[(Name, FeatureRules)]) -> Result<Needs, ConfigError> {
        let mut needs = Needs { components: Vec::new(), of_features: Vec::with_capacity(features.len()) };
        let mut found = HashMap::new();
        for (name, rules) in features {
            let mut indices = Vec::with_capacity(rules.needs.len());
            for need in &rules.needs {
                let index = match found.get(need) {
                    Some(index) => *index,
                    None => {
                        let component = self.component(need).ok_or_else(|| {
                            in_feature(name, ConfigError::new("needs", need.clone(), "a component of `health`"))
                        })?;
                        needs.components.push(component);
                        found.insert(need, needs.components.len() - 1);
                        needs.components.len() - 1
                    }
                };
                indices.push(index);
            }
            needs.of_features.push(indices);
        }
        Ok(needs)
    }

    fn component(&self, name: &Name) -> Option<Component> {
        match self.components.as_ref()? {
            ComponentsSource::Health(health) => health.component(name.as_str()).map(Component::Health),
            ComponentsSource::Closure(state) => Some(Component::Closure(name.clone(), Arc::clone(state))),
        }
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// The components that features need.
pub(crate) struct Needs {
    /// Each component once.
    components: Vec<Component>,
    /// The indices of a feature's components, in the order of declaration.
    of_features: Vec<Vec<usize>>,
}

enum Component {
    Health(ComponentHandle),
    Closure(Name, StateSource),
}

impl Needs {
    /// Asks each component once. Returns the worst state of each feature's components, in the order of declaration.
    pub(crate) fn ask(&self) -> impl Iterator<Item = Option<Level>> {
        let states: Vec<_> = self.components.iter().map(Component::state).collect();
        self.of_features.iter().map(move |indices| worst(indices.iter().map(|index| states[*index])))
    }
}

impl Component {
    /// `None` while it is unknown.
    fn state(&self) -> Option<Level> {
        match self {
            Self::Health(component) => {
                // The level is damped, so that the feature doesn't flap. It also counts while the state is unknown for a moment
                // because a report has ended.
                let level = component.level();
                (level != Level::Healthy || component.state() != ComponentState::Unknown).then_some(level)
            }
            Self::Closure(name, state) => state(name),
        }
    }
}

/// The worst of some states. An unknown one is better than a bad one, and worse than a good one.
fn worst(states: impl Iterator<Item = Option<Level>>) -> Option<Level> {
    let rank = |state: &Option<Level>| match state {
        Some(Level::Healthy) => 0,
        None => 1,
        Some(Level::Degraded) => 2,
        Some(_) => 3,
    };
    states.max_by_key(rank).unwrap_or(Some(Level::Healthy))
}
