//! What a file describes of one dependency, as it was built.

use backstop_core::ConfigError;

use super::{error::StacksError, file::Described};
use crate::{DeadlineHandle, DeadlineLayer, Standard, StandardHandle};
#[cfg(feature = "last-known-good")]
use crate::{LastKnownGoodHandle, LastKnownGoodLayer};

/// The layers of one dependency.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) standard: Standard,
    pub(super) handle: StandardHandle,
    pub(super) deadline: Option<DeadlineLayer>,
    #[cfg(feature = "last-known-good")]
    pub(super) last_known_good: Option<LastKnownGoodLayer>,
    #[cfg(feature = "fallback")]
    pub(super) fallback: chain::Fallback,
}

impl Stack {
    pub(super) fn new(name: &str, described: Described) -> Result<Self, StacksError> {
        Self::build(name, described).map_err(|error| StacksError::refused(name, error))
    }

    fn build(name: &str, described: Described) -> Result<Self, ConfigError> {
        let standard = Standard::from_config(described.standard)?;
        let deadline = described.deadline.map(DeadlineLayer::from_config).transpose();
        #[cfg(feature = "last-known-good")]
        let known = described.last_known_good.map(LastKnownGoodLayer::from_config).transpose();
        #[cfg(not(feature = "fallback"))]
        let _ = name;
        Ok(Self {
            handle: standard.handle(),
            standard,
            deadline: deadline.map_err(|error| error.inside("deadline"))?,
            #[cfg(feature = "last-known-good")]
            last_known_good: known.map_err(|error| error.inside("last_known_good"))?,
            #[cfg(feature = "fallback")]
            fallback: chain::Fallback::new(name, described.fallback),
        })
    }

    /// Whether [`reload`](Self::reload) would accept `described`.
    pub(super) fn check(&self, described: &Described) -> Result<(), ConfigError> {
        self.handle.check(&described.standard)?;
        let deadline = self.deadline.as_ref().map(DeadlineLayer::handle);
        check("deadline", deadline, described.deadline.as_ref(), DeadlineHandle::check)?;
        #[cfg(feature = "last-known-good")]
        {
            let known = self.last_known_good.as_ref().map(LastKnownGoodLayer::handle);
            check("last_known_good", known, described.last_known_good.as_ref(), LastKnownGoodHandle::check)?;
        }
        #[cfg(feature = "fallback")]
        self.fallback.check(described.fallback.as_ref())?;
        Ok(())
    }

    /// Changes the settings of all layers. Nothing fails that was checked.
    pub(super) fn reload(&self, described: Described) -> Result<(), ConfigError> {
        self.handle.reload(described.standard)?;
        if let (Some(deadline), Some(config)) = (&self.deadline, described.deadline) {
            deadline.handle().reload(config)?;
        }
        #[cfg(feature = "last-known-good")]
        if let (Some(known), Some(config)) = (&self.last_known_good, described.last_known_good) {
            known.handle().reload(config)?;
        }
        #[cfg(feature = "fallback")]
        self.fallback.reload(described.fallback)?;
        Ok(())
    }
}

fn check<H, C>(
    part: &'static str,
    handle: Option<H>,
    config: Option<&C>,
    check: impl FnOnce(&H, &C) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    match (handle, config) {
        (Some(handle), Some(config)) => check(&handle, config).map_err(|error| error.inside(part)),
        (None, None) => Ok(()),
        (Some(_), None) => Err(ConfigError::new(part, "left out", "a table: a reload can't remove it")),
        (None, Some(_)) => Err(ConfigError::new(part, "a table", "left out: a reload can't add it")),
    }
}

#[cfg(feature = "fallback")]
mod chain {
    //! The settings of a dependency's chain, which is built later: its providers are code.

    use std::sync::{Mutex, MutexGuard, PoisonError};

    use backstop_core::ConfigError;

    use crate::{FallbackChain, FallbackChainBuilder, FallbackConfig, FallbackHandle};

    #[derive(Debug)]
    pub(in crate::stacks) struct Fallback {
        name: String,
        state: Mutex<(FallbackConfig, Option<FallbackHandle>)>,
    }

    impl Fallback {
        pub(super) fn new(name: &str, config: Option<FallbackConfig>) -> Self {
            let config = config.unwrap_or_else(|| FallbackConfig::new(name.to_owned()));
            Self { name: name.to_owned(), state: Mutex::new((config, None)) }
        }

        /// Builds the chain with the settings of now, and remembers its handle.
        pub(in crate::stacks) fn build<Req, T>(
            &self,
            chain: FallbackChainBuilder<Req, T>,
        ) -> Result<FallbackChain<Req, T>, ConfigError> {
            let mut state = self.lock();
            let chain = chain.with_config(state.0.clone()).build().map_err(|error| error.inside("fallback"))?;
            state.1 = Some(chain.handle());
            Ok(chain)
        }

        pub(super) fn check(&self, config: Option<&FallbackConfig>) -> Result<(), ConfigError> {
            let Some(handle) = &self.lock().1 else { return Ok(()) };
            let checked = match config {
                Some(config) => handle.check(config),
                None => handle.check(&self.as_built()),
            };
            checked.map_err(|error| error.inside("fallback"))
        }

        pub(super) fn reload(&self, config: Option<FallbackConfig>) -> Result<(), ConfigError> {
            let mut state = self.lock();
            state.0 = config.unwrap_or_else(|| self.as_built());
            state.1.as_ref().map_or(Ok(()), |handle| handle.reload(state.0.clone()))
        }

        /// Without a table, everything is as the code has it.
        fn as_built(&self) -> FallbackConfig {
            FallbackConfig::new(self.name.clone())
        }

        fn lock(&self) -> MutexGuard<'_, (FallbackConfig, Option<FallbackHandle>)> {
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
