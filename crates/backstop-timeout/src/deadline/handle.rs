//! The handle.

use std::{sync::Arc, time::Duration};

use backstop_core::{ConfigError, Name};
use backstop_kit::Reloadable;

use super::{config::DeadlineConfig, layer_state::DeadlineSettings};
use crate::{header::DeadlineHeader, settings::check_name};

/// Shows and reloads a deadline's settings: see [`DeadlineLayer::handle`](crate::DeadlineLayer::handle).
#[derive(Clone, Debug)]
pub struct DeadlineHandle {
    name: Name,
    settings: Arc<Reloadable<DeadlineSettings>>,
}

impl DeadlineHandle {
    pub(super) const fn new(name: Name, settings: Arc<Reloadable<DeadlineSettings>>) -> Self {
        Self { name, settings }
    }

    /// The layer's name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// How long a request may take.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.settings.load().limit
    }

    /// The headers in which callers' time limits are trusted, besides gRPC's own.
    #[must_use]
    pub fn trust(&self) -> Vec<DeadlineHeader> {
        self.settings.load().trust.clone()
    }

    /// Changes the settings for requests that begin afterwards. Running requests keep their deadline.
    ///
    /// How the layer rejects isn't part of a [`DeadlineConfig`], and stays.
    ///
    /// # Errors
    /// As [`DeadlineBuilder::build`](crate::DeadlineBuilder::build), and if the name isn't the layer's. Nothing changes then.
    pub fn reload(&self, config: DeadlineConfig) -> Result<(), ConfigError> {
        let (name, settings) = config.check()?;
        check_name(&name, &self.name)?;
        self.settings.replace(settings);
        Ok(())
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &DeadlineConfig) -> Result<(), ConfigError> {
        check_name(&config.clone().check()?.0, &self.name)
    }
}
