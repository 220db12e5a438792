//! The handle.

use std::{collections::BTreeMap, sync::Arc};

use backstop_core::{ConfigError, Name};
use backstop_kit::Reloadable;

use crate::{DegradationHeaderConfig, layer_state::LabelledChains, settings::Settings};

/// Reloads a layer's settings: see [`DegradationHeaderLayer::handle`](crate::DegradationHeaderLayer::handle).
#[derive(Clone, Debug)]
pub struct DegradationHeaderHandle {
    settings: Arc<Reloadable<Settings>>,
    labelled: Arc<LabelledChains>,
}

impl DegradationHeaderHandle {
    pub(crate) const fn new(settings: Arc<Reloadable<Settings>>, labelled: Arc<LabelledChains>) -> Self {
        Self { settings, labelled }
    }

    /// The chains whose answers were labelled, and whether some were stale.
    pub(crate) fn labelled(&self) -> BTreeMap<Name, bool> {
        self.labelled.all()
    }

    /// The settings, as a file has them.
    #[must_use]
    pub fn config(&self) -> DegradationHeaderConfig {
        self.settings.load().config()
    }

    /// Changes the settings while requests run. Each response is labelled by those that hold when it is ready, all of them
    /// old or all of them new.
    ///
    /// [`public_names`](crate::DegradationHeaderLayer::public_names) isn't part of a [`DegradationHeaderConfig`], and stays.
    ///
    /// ```
    /// use backstop_degradation_header::{DegradationHeaderConfig, DegradationHeaderLayer, Report};
    ///
    /// let headers = DegradationHeaderLayer::new().handle();
    /// let mut config = DegradationHeaderConfig::default();
    /// config.report = Report::Always;
    /// headers.reload(config.clone())?;
    /// assert_eq!(headers.config(), config);
    /// # Ok::<(), backstop_degradation_header::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`DegradationHeaderBuilder::build`](crate::DegradationHeaderBuilder::build). Nothing changes then.
    pub fn reload(&self, config: DegradationHeaderConfig) -> Result<(), ConfigError> {
        self.settings.replace(config.check()?);
        Ok(())
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &DegradationHeaderConfig) -> Result<(), ConfigError> {
        config.clone().check().map(drop)
    }
}
