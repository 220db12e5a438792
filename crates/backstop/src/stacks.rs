//! Standard stacks for all dependencies, from one file: see [`Stacks`].

mod error;
mod file;
mod stack;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use backstop_core::Name;

pub use error::StacksError;
use stack::Stack;

use crate::{DeadlineHandle, DeadlineLayer, Standard, StandardHandle};

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
/// otherwise, setting by setting.
///
/// | table | fields | if it isn't there | what it is for |
/// |---|---|---|---|
/// | `retry`, `circuit_breaker`, `bulkhead`, `timeout`, `propagate_deadline` | those of [`RetryConfig`](crate::RetryConfig) and its siblings | defaults; `false` leaves the part out | the standard stack, [`get`](Self::get) |
/// | `deadline` | [`DeadlineConfig`](crate::DeadlineConfig) | none | [`deadline`](Self::deadline) |
/// | `last_known_good` | `LastKnownGoodConfig` | none | `last_known_good`, with the feature `last-known-good` |
/// | `fallback` | `FallbackConfig` | everything as the code has it | `chain`, with the feature `fallback` |
///
/// `timeout = "1s"` is short for `timeout.limit = "1s"`, and so is a `deadline`. A time is a text such as `"250ms"`. Unknown
/// fields are errors, and so is a part with a name of its own.
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

impl Stacks {
    /// Builds the stacks that a TOML document describes.
    ///
    /// # Errors
    /// [`StacksError`] with the path of the setting: a document that isn't TOML, an unknown or malformed field, a name that is no
    /// [`Name`], a value that isn't allowed, and settings that contradict one another.
    pub fn from_toml(text: &str) -> Result<Self, StacksError> {
        let stacks = file::read(text)?
            .into_iter()
            .map(|(name, described)| Ok((name.clone(), Stack::new(&name, described)?)))
            .collect::<Result<_, StacksError>>()?;
        Ok(Self { inner: Arc::new(Inner { stacks, reloading: Mutex::new(()) }) })
    }

    /// The stack of a dependency. All calls return the same stack: its circuit, its budget and its permits are shared.
    ///
    /// # Errors
    /// [`StacksError`] if the file has no such dependency. It lists those that it has.
    pub fn get(&self, dependency: &str) -> Result<Standard, StacksError> {
        self.find(dependency).map(|stack| stack.standard.clone())
    }

    /// The handle of a dependency's stack.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn handle(&self, dependency: &str) -> Result<StandardHandle, StacksError> {
        self.find(dependency).map(|stack| stack.handle.clone())
    }

    /// The deadline of a dependency's table `deadline`, for the edge: it goes around the routes that use the dependency.
    ///
    /// ```
    /// use backstop::Stacks;
    ///
    /// let stacks = Stacks::from_toml("[search]\n deadline = '2s'")?;
    /// let edge = stacks.deadline("search")?;
    /// assert_eq!(edge.handle().limit().as_secs(), 2);
    /// # Ok::<(), backstop::StacksError>(())
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get), and if the file has no such table.
    pub fn deadline(&self, dependency: &str) -> Result<DeadlineLayer, StacksError> {
        let deadline = self.find(dependency)?.deadline.clone();
        deadline.ok_or_else(|| StacksError::no_table(dependency, "deadline"))
    }

    /// The handle of a dependency's deadline.
    ///
    /// # Errors
    /// As [`deadline`](Self::deadline).
    pub fn deadline_handle(&self, dependency: &str) -> Result<DeadlineHandle, StacksError> {
        self.deadline(dependency).map(|deadline| deadline.handle())
    }

    /// The stored good answers of a dependency's table `last_known_good`, with the embedded store, for
    /// [`Standard::last_known_good`].
    ///
    /// ```
    /// use backstop::Stacks;
    ///
    /// let stacks = Stacks::from_toml("[search.last_known_good]\n max_stale = '1h'")?;
    /// let known = stacks.last_known_good("search")?;
    /// let search = stacks.get("search")?.last_known_good(known.clone());
    /// # let _ = search;
    /// # Ok::<(), backstop::StacksError>(())
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get), and if the file has no such table.
    #[cfg(feature = "last-known-good")]
    #[cfg_attr(docsrs, doc(cfg(feature = "last-known-good")))]
    pub fn last_known_good(&self, dependency: &str) -> Result<crate::LastKnownGoodLayer, StacksError> {
        let known = self.find(dependency)?.last_known_good.clone();
        known.ok_or_else(|| StacksError::no_table(dependency, "last_known_good"))
    }

    /// Builds a dependency's fallback chain, with the times and limits of its table `fallback`. The chain's name must be the
    /// dependency's. [`reload`](Self::reload) reaches the chain that was built last.
    ///
    /// ```
    /// use backstop::{FallbackChain, Provider, Stacks, name};
    ///
    /// let stacks = Stacks::from_toml("[prices.fallback]\n total = '2s'\n providers.live.timeout = '500ms'")?;
    /// let chain = FallbackChain::<u32, &str>::builder("prices")
    ///     .provider(Provider::from_fn(name!("live"), |_item| async { "9.99" }))
    ///     .provider(Provider::value(name!("list"), || async { "9.50" }));
    /// let prices = stacks.chain("prices", chain)?;
    /// assert_eq!(prices.handle().total().as_secs(), 2);
    /// # Ok::<(), backstop::StacksError>(())
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get), and those of [`FallbackChainBuilder::build`](crate::FallbackChainBuilder::build).
    #[cfg(feature = "fallback")]
    #[cfg_attr(docsrs, doc(cfg(feature = "fallback")))]
    pub fn chain<Req, T>(
        &self,
        dependency: &str,
        chain: crate::FallbackChainBuilder<Req, T>,
    ) -> Result<crate::FallbackChain<Req, T>, StacksError> {
        // No reload comes between the configuration and the handle.
        let _reloading = self.inner.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        self.find(dependency)?.fallback.build(chain).map_err(|error| StacksError::refused(dependency, error))
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
        let described = file::read(text)?;
        let _reloading = self.inner.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(missing) = self.inner.stacks.keys().find(|name| !described.contains_key(*name)) {
            return Err(StacksError::missing(missing));
        }
        let reloads = described
            .into_iter()
            .map(|(name, described)| Ok((self.find(&name)?, name, described)))
            .collect::<Result<Vec<_>, StacksError>>()?;
        for (stack, name, described) in &reloads {
            stack.check(described).map_err(|error| StacksError::refused(name, error))?;
        }
        for (stack, name, described) in reloads {
            // Accepted above. Only a reload of a single handle may have come between.
            stack.reload(described).map_err(|error| StacksError::refused(&name, error))?;
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
