//! The handle.

use std::{sync::Arc, time::Duration};

use backstop_core::{ConfigError, Name};
use backstop_kit::{Reloadable, StackOf};

use super::{config::PropagateDeadlineConfig, propagation::Sent};
use crate::{header::DeadlineHeader, settings::check_name};

/// Shows and reloads the settings of deadline propagation: see
/// [`PropagateDeadlineLayer::handle`](crate::PropagateDeadlineLayer::handle).
#[derive(Clone, Debug)]
pub struct PropagateDeadlineHandle {
    name: Name,
    sent: Arc<Reloadable<Sent>>,
    stack: StackOf<PropagateDeadlineConfig>,
}

impl PropagateDeadlineHandle {
    pub(super) const fn new(name: Name, sent: Arc<Reloadable<Sent>>) -> Self {
        Self { name, sent, stack: StackOf::none() }
    }

    backstop_kit::define_in_stack!(PropagateDeadlineConfig);

    /// The layer's name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// How much is taken off the time that is left.
    #[must_use]
    pub fn margin(&self) -> Duration {
        self.sent.load().margin
    }

    /// The headers that are sent with every request, besides gRPC's own.
    #[must_use]
    pub fn send(&self) -> Vec<DeadlineHeader> {
        self.sent.load().send.clone()
    }

    /// Changes the settings for calls that begin afterwards.
    ///
    /// How the layer rejects isn't part of a [`PropagateDeadlineConfig`], and stays.
    ///
    /// # Errors
    /// As [`PropagateDeadlineBuilder::build`](crate::PropagateDeadlineBuilder::build), and if the name isn't the layer's.
    /// Nothing changes then.
    pub fn reload(&self, config: PropagateDeadlineConfig) -> Result<(), ConfigError> {
        self.stack.reload(config, |config| {
            let (name, sent) = config.check()?;
            check_name(&name, &self.name)?;
            self.sent.replace(sent);
            Ok(())
        })
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &PropagateDeadlineConfig) -> Result<(), ConfigError> {
        self.stack.check(config, |config| check_name(&config.clone().check()?.0, &self.name))
    }
}
