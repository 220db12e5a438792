//! Standard stacks for all dependencies, from one file: see [`Stacks`].

mod error;
mod file;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use backstop_core::{ConfigError, Name};

pub use error::StacksError;

use crate::{
    BulkheadLayer, CircuitBreakerLayer, PropagateDeadlineLayer, RetryLayer, Standard, StandardConfig, StandardHandle,
    TimeoutLayer,
};

/// A [standard stack](crate::standard()) for each dependency, described by one TOML file.
///
/// ```
/// use backstop::Stacks;
///
/// let stacks = Stacks::from_toml(r#"
///     [default]                       # for all of them
///     timeout = "1s"
///     retry.total = "5s"
///
///     [ml_service]
///     retry.max_attempts = 2
///     bulkhead.max_concurrent = 20
///
///     [payments]
///     retry = false                   # sent once
///     timeout = "3s"
/// "#)?;
/// let ml_service = stacks.get("ml_service")?;
/// # let _ = ml_service;
///
/// // Later, while calls run:
/// stacks.reload("[ml_service]\n timeout = '500ms'\n [payments]\n retry = false")?;
/// assert_eq!(stacks.handle("ml_service")?.timeout().unwrap().limit().as_millis(), 500);
/// # Ok::<(), backstop::StacksError>(())
/// ```
///
/// # The file
///
/// Each table is a dependency, and its name is the stack's. The table `default` holds what all of them have unless they say
/// otherwise, setting by setting. A [`StandardConfig`] says what a table may contain: the tables `retry`, `circuit_breaker`,
/// `bulkhead`, `timeout` and `propagate_deadline` have the fields of [`RetryConfig`](crate::RetryConfig) and its siblings, and
/// `false` in place of a table leaves the part out. `timeout = "1s"` is short for `timeout.limit = "1s"`. A time is a text
/// such as `"250ms"`. Unknown fields are errors.
///
/// All clones share the stacks.
#[derive(Clone, Debug)]
pub struct Stacks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    stacks: BTreeMap<String, Stack>,
    /// Makes reloads run one after another.
    reloading: Mutex<()>,
}

#[derive(Debug)]
struct Stack {
    layer: Standard,
    handle: StandardHandle,
}

impl Stacks {
    /// Builds the stacks that a TOML document describes.
    ///
    /// # Errors
    /// [`StacksError`] with the path of the setting: a document that isn't TOML, an unknown or malformed field, a name that is no
    /// [`Name`], a value that isn't allowed, and settings that contradict one another.
    pub fn from_toml(text: &str) -> Result<Self, StacksError> {
        let build = |(name, config): (String, StandardConfig)| {
            check_values(&config).map_err(|error| StacksError::refused(&name, error))?;
            let layer = Standard::from_config(config).map_err(|error| StacksError::refused(&name, ("", error)))?;
            let handle = layer.handle();
            Ok((name, Stack { layer, handle }))
        };
        let stacks = file::read(text)?.into_iter().map(build).collect::<Result<_, StacksError>>()?;
        Ok(Self { inner: Arc::new(Inner { stacks, reloading: Mutex::new(()) }) })
    }

    /// The stack of a dependency. All calls return the same stack: its circuit, its budget and its permits are shared.
    ///
    /// # Errors
    /// [`StacksError`] if the file has no such dependency. It lists those that it has.
    pub fn get(&self, dependency: &str) -> Result<Standard, StacksError> {
        self.find(dependency).map(|stack| stack.layer.clone())
    }

    /// The handle of a dependency's stack.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn handle(&self, dependency: &str) -> Result<StandardHandle, StacksError> {
        self.find(dependency).map(|stack| stack.handle.clone())
    }

    /// The names of the dependencies.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.inner.stacks.values().map(|stack| stack.handle.name())
    }

    /// Changes the settings of all stacks while calls run: see [`StandardHandle::reload`]. Either all of them, or none.
    ///
    /// # Errors
    /// As [`from_toml`](Self::from_toml). Also if the document has another set of dependencies than the one that the stacks
    /// were built from, or changes what can't be reloaded, such as whether a stack has a retry. Nothing changes then.
    pub fn reload(&self, text: &str) -> Result<(), StacksError> {
        let configs = file::read(text)?;
        let _reloading = self.inner.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(missing) = self.inner.stacks.keys().find(|name| !configs.contains_key(*name)) {
            return Err(StacksError::missing(missing));
        }
        let reloads = configs
            .into_iter()
            .map(|(name, config)| Ok((self.find(&name)?, name, config)))
            .collect::<Result<Vec<_>, StacksError>>()?;
        for (stack, name, config) in &reloads {
            stack.handle.check_parts(config).map_err(|error| StacksError::refused(name, error))?;
        }
        for (stack, name, config) in reloads {
            // Accepted above, and that doesn't depend on other reloads.
            stack.handle.reload(config).map_err(|error| StacksError::refused(&name, ("", error)))?;
        }
        Ok(())
    }

    fn find(&self, dependency: &str) -> Result<&Stack, StacksError> {
        let stacks = &self.inner.stacks;
        stacks.get(dependency).ok_or_else(|| {
            let known: Vec<_> = stacks.keys().map(String::as_str).collect();
            StacksError::unknown(dependency, &known)
        })
    }
}

/// Checks the settings of each part, to say which part is wrong.
fn check_values(config: &StandardConfig) -> Result<(), (&'static str, ConfigError)> {
    fn check<C: Clone, L>(
        part: &'static str,
        config: Option<&C>,
        build: impl FnOnce(C) -> Result<L, ConfigError>,
    ) -> Result<(), (&'static str, ConfigError)> {
        config.map_or(Ok(()), |config| build(config.clone()).map(drop).map_err(|error| (part, error)))
    }

    Name::new(config.name.clone()).map_err(|error| ("", error))?;
    check("retry", config.retry.as_ref(), RetryLayer::from_config)?;
    check("circuit_breaker", config.circuit_breaker.as_ref(), CircuitBreakerLayer::from_config)?;
    check("bulkhead", config.bulkhead.as_ref(), BulkheadLayer::from_config)?;
    check("timeout", config.timeout.as_ref(), TimeoutLayer::from_config)?;
    check("propagate_deadline", config.propagate_deadline.as_ref(), PropagateDeadlineLayer::from_config)
}
