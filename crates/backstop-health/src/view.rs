//! What is known at one moment, to be shown.

use std::{sync::Arc, time::Duration};

use backstop_core::{Level, Name};
use tokio::time::Instant;

use crate::{ComponentState, Readiness, engine::Engine, operator::Operator};

/// What is known of the service: see [`Health::view`](crate::Health::view).
#[derive(Clone, Debug)]
pub struct HealthView {
    status: Level,
    level: Level,
    readiness: Readiness,
    pin: Option<PinView>,
    components: Box<[Arc<ComponentView>]>,
}

/// What is known of one component.
#[derive(Clone, Debug)]
pub struct ComponentView {
    pub(crate) name: Name,
    pub(crate) state: ComponentState,
    pub(crate) level: Level,
    pub(crate) since: Instant,
    pub(crate) is_essential: bool,
    pub(crate) is_local: bool,
    pub(crate) message: Option<Arc<str>>,
}

/// A level that an operator has set.
#[derive(Clone, Debug)]
pub struct PinView {
    level: Level,
    pub(crate) until: Instant,
    operator: Operator,
}

impl HealthView {
    pub(crate) fn of(engine: &Engine) -> Self {
        let pin =
            engine.pin().map(|pin| PinView { level: pin.level, until: pin.until, operator: pin.operator.clone() });
        Self {
            status: engine.status(),
            level: engine.level(),
            readiness: engine.readiness(),
            pin,
            components: engine.components().iter().map(|tracked| Arc::clone(&tracked.view)).collect(),
        }
    }

    /// The worst of all components, without damping. It is shown, and moves nothing.
    #[must_use]
    pub const fn status(&self) -> Level {
        self.status
    }

    /// The service's level.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Whether the instance should get requests.
    #[must_use]
    pub const fn readiness(&self) -> Readiness {
        self.readiness
    }

    /// The level that an operator has set, if one has.
    #[must_use]
    pub const fn pin(&self) -> Option<&PinView> {
        self.pin.as_ref()
    }

    /// The components, in the order of their declaration.
    #[must_use]
    pub fn components(&self) -> impl ExactSizeIterator<Item = &ComponentView> {
        self.components.iter().map(|component| &**component)
    }
}

impl ComponentView {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// The worst of its sources, without damping.
    #[must_use]
    pub const fn state(&self) -> ComponentState {
        self.state
    }

    /// The level that it counts as, after damping.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// How long it has been in this state.
    #[must_use]
    pub fn time_in_state(&self) -> Duration {
        self.since.elapsed()
    }

    /// Whether it is essential.
    #[must_use]
    pub const fn is_essential(&self) -> bool {
        self.is_essential
    }

    /// Whether it belongs to this instance alone.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        self.is_local
    }

    /// Why it is in this state.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }
}

impl PinView {
    /// The level.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// How long it still lasts.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Who set it.
    #[must_use]
    pub fn who(&self) -> &str {
        &self.operator.who
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.operator.reason
    }
}
