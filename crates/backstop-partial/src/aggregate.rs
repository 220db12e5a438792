//! Pages made of several parts.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use backstop_core::{ConfigError, Name};
use backstop_kit::{ErrorText, Registration, Reloadable};

use crate::{
    AggregateBuilder, AggregateConfig, AggregateHandle, Gather, GatherPart, GatherParts, config, gather::set::Many,
    stats::Stats,
};

/// Makes pages of several parts, which are answered even if a part fails: see [the crate](crate).
///
/// Build it once. Clones share one state.
#[derive(Clone)]
pub struct Aggregate(Arc<Shared>);

/// What an aggregate, its handles and its pages share.
pub(crate) struct Shared {
    pub(crate) name: Name,
    pub(crate) settings: Reloadable<Settings>,
    pub(crate) stats: Stats,
    pub(crate) error_text: ErrorText,
    _registration: Registration,
}

/// What a reload replaces. A page has the same settings for its whole life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) total: Duration,
    pub(crate) max_concurrent: usize,
}

impl Aggregate {
    /// All parts at once, 5 s for all.
    #[must_use]
    pub fn new(name: Name) -> Self {
        Self::with(name, config::DEFAULT, ErrorText::default())
    }

    /// Builds an aggregate with other settings.
    pub fn builder(name: impl Into<Cow<'static, str>>) -> AggregateBuilder {
        AggregateBuilder::of(AggregateConfig::new(name))
    }

    /// Builds an aggregate from plain data.
    ///
    /// # Errors
    /// As [`AggregateBuilder::build`].
    pub fn from_config(config: AggregateConfig) -> Result<Self, ConfigError> {
        AggregateBuilder::of(config).build()
    }

    pub(crate) fn with(name: Name, settings: Settings, error_text: ErrorText) -> Self {
        Self(Arc::new(Shared {
            settings: Reloadable::new(settings),
            stats: Stats::new(name.clone()),
            _registration: Registration::new("aggregate", name.clone()),
            error_text,
            name,
        }))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.0.name
    }

    /// Its handle.
    #[must_use]
    pub fn handle(&self) -> AggregateHandle {
        AggregateHandle::new(Arc::clone(&self.0))
    }

    /// Makes a page of a tuple of 1 to 12 parts, which run together in the current task.
    ///
    /// Nothing happens before the future is polled.
    ///
    /// # Errors
    /// [`RequiredPartFailed`](crate::RequiredPartFailed) if a required part failed. The others are dropped then.
    ///
    /// # Cancellation
    /// Dropping the future drops all parts.
    #[inline]
    pub fn gather<P: GatherParts>(&self, parts: P) -> Gather<'_, P::Set> {
        Gather::new(&self.0, parts.into_set())
    }

    /// Makes a page of as many parts as `parts` has, all of one type. Their values are in the same order.
    ///
    /// For a set that isn't known before, such as a page's items. Each part is boxed. Set
    /// [`max_concurrent`](AggregateBuilder::max_concurrent) if there may be many.
    ///
    /// ```
    /// use backstop_partial::{Aggregate, name, part};
    ///
    /// # async fn price(item: u32) -> Result<u32, &'static str> { if item == 8 { Err("unknown") } else { Ok(item * 100) } }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let prices = Aggregate::builder("prices").max_concurrent(10).build()?;
    /// let parts = [7, 8].map(|item| part(name!("price"), price(item)).optional());
    /// assert_eq!(prices.gather_all(parts).await?.into_data(), [Some(700), None]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    ///
    /// # Cancellation
    /// As [`gather`](Self::gather).
    pub fn gather_all<P: GatherPart>(&self, parts: impl IntoIterator<Item = P>) -> Gather<'_, Many<P::Slot>> {
        Gather::new(&self.0, Many::new(parts))
    }
}

impl fmt::Debug for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregate")
            .field("name", self.name())
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}
