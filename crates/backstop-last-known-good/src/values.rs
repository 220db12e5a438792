//! The last good values of a function, by key.

mod builder;
mod keep;

use std::{
    borrow::{Borrow, Cow},
    fmt, future,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use backstop_core::{ConfigError, Name};
use backstop_kit::Answer;
use moka::sync::Cache;

use crate::{
    NotStored,
    age::{Clock, Moment},
    telemetry,
};

pub use builder::{LastKnownValuesBuilder, LastKnownValuesConfig};
pub use keep::KeepValue;

use builder::Settings;

/// Remembers the last good value of a function for each key, for when the function fails.
///
/// For handlers that call their dependencies by functions, where [`LastKnownGoodLayer`](crate::LastKnownGoodLayer) is for
/// services that speak HTTP. [`keep`](Self::keep) runs a call and remembers what it gives; [`get`](Self::get), or a
/// [`provider`](Self::provider) in a chain, gives that again, as [stale](backstop_core::Freshness::Stale) by its true age.
///
/// ```
/// use std::time::Duration;
///
/// use backstop_last_known_good::{Freshness, LastKnownValues, name};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// async fn price(item: u32) -> Result<u32, &'static str> {
///     if item == 7 { Ok(999) } else { Err("no such item") }
/// }
///
/// let prices: LastKnownValues<u32, u32> = LastKnownValues::new(name!("prices"));
/// assert_eq!(prices.keep(7, price(7)).await, Ok(999));
/// assert_eq!(prices.keep(8, price(8)).await, Err("no such item"));
///
/// tokio::time::advance(Duration::from_secs(60)).await;
/// let known = prices.get(&7).unwrap();
/// assert_eq!((known.freshness(), known.into_value()), (Some(Freshness::stale(Duration::from_secs(60))), 999));
/// assert!(prices.get(&8).is_none());
/// # }
/// ```
///
/// # When not to use it
///
/// For what an old value makes wrong rather than old (balances, stock at the till, permissions), and as a cache: while
/// the function is well, each call is made. What is for one user only belongs under a key with that user's verified id in
/// it, or one is shown what was another's.
///
/// # What is remembered
///
/// | when | then |
/// |---|---|
/// | a call that was [kept](Self::keep) succeeds | its value, as of the moment at which the call began |
/// | … and something further in was stale or degraded while it ran | nothing: it isn't the best there is |
/// | … and a later call, or [`remember`](Self::remember), was there before it | the later value stays |
/// | … and the key was [forgotten](Self::forget), or all was [cleared](Self::clear), meanwhile | nothing: it may be what was to be forgotten |
/// | a call fails, or is dropped | what was remembered before |
/// | a value is as old as `max_stale` allows | nothing from then on |
/// | there are too many | those that nobody has remembered or asked for in the longest time make room |
///
/// # Knobs
///
/// | knob | default | allowed |
/// |---|---|---|
/// | [`max_stale`](LastKnownValuesBuilder::max_stale) | 24 h | 1 s to 365 days |
/// | [`max_entries`](LastKnownValuesBuilder::max_entries) | 10,000 | 1 to 16,777,216 |
/// | [`max_bytes`](LastKnownValuesBuilder::max_bytes) | not bounded | 1 to 1 TiB |
///
/// # Cost
///
/// Values are cloned when they are remembered and when they are given: put large ones into an [`Arc`]. Clones of this
/// share what is remembered. It is kept in memory, by the crate `moka`, and nothing is spawned.
///
/// # Telemetry
///
/// As of [the layer](crate#telemetry): what is served, and what isn't and why, and the metric `stale_served_total`.
pub struct LastKnownValues<K, V> {
    inner: Arc<Inner<K, V>>,
}

struct Inner<K, V> {
    name: Name,
    settings: Settings,
    values: Cache<K, Known<V>>,
    clock: Clock,
    /// How many calls and changes have begun.
    begun: AtomicU64,
    /// What began before this one isn't given, whenever it came.
    cleared: AtomicU64,
}

/// When something began: of two the later one has the higher number, also within a tick of the clock.
#[derive(Clone, Copy)]
struct Begun {
    number: u64,
    at: Moment,
}

impl<K, V> Inner<K, V> {
    fn begin(&self) -> Begun {
        Begun { number: self.begun.fetch_add(1, Ordering::SeqCst), at: self.clock.now() }
    }
}

/// What is known of a key, and as of when.
#[derive(Clone)]
struct Known<V> {
    as_of: Begun,
    // `None` where it was forgotten then: nothing from before may come back.
    value: Option<V>,
}

impl<K, V> LastKnownValues<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Up to 10,000 values, each for 24 h.
    #[must_use]
    pub fn new(name: Name) -> Self {
        Self::with(name, Settings::default(), None)
    }

    /// Builds one with other settings.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use backstop_last_known_good::LastKnownValues;
    ///
    /// let pages: LastKnownValues<String, String> = LastKnownValues::builder("pages")
    ///     .max_stale(Duration::from_secs(3600))
    ///     .max_bytes(64 << 20, |path: &String, page: &String| path.len() + page.len())
    ///     .build()?;
    /// # let _ = pages;
    /// # Ok::<(), backstop_last_known_good::ConfigError>(())
    /// ```
    pub fn builder(name: impl Into<Cow<'static, str>>) -> LastKnownValuesBuilder<K, V> {
        LastKnownValuesBuilder::new(LastKnownValuesConfig::new(name))
    }

    /// What `config` describes.
    ///
    /// # Errors
    /// As [`LastKnownValuesBuilder::build`].
    pub fn from_config(config: LastKnownValuesConfig) -> Result<Self, ConfigError> {
        LastKnownValuesBuilder::new(config).build()
    }

    /// Runs `call`, and remembers what it gives for `key`. Its result is passed on as it is.
    ///
    /// The value counts as from now on, when it may not have been made yet: so its age is never told too low. What the
    /// call reports in the [scope](backstop_core::scope) goes on outward.
    ///
    /// # Cancellation
    /// Dropping the future drops the call. Nothing is remembered then, and what was before stays.
    pub fn keep<F, E>(&self, key: K, call: F) -> KeepValue<K, V, F>
    where
        F: Future<Output = Result<V, E>>,
    {
        KeepValue::new(self.clone(), key, call)
    }

    /// Remembers `value` for `key`, as of now.
    pub fn remember(&self, key: K, value: V) {
        self.learn(key, Known { as_of: self.inner.begin(), value: Some(value) });
    }

    /// The last good value for `key`, with its age.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<Answer<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.find(key).ok()
    }

    /// A function that gives what [`get`](Self::get) does, for a chain's `Provider::from_fn`.
    ///
    /// For a chain whose requests are the keys. Where they aren't, write the function yourself:
    /// `move |request: Request| ready(known.get(&request.user).ok_or(NotStored::Missing))`.
    pub fn provider(
        &self,
    ) -> impl Fn(K) -> future::Ready<Result<Answer<V>, NotStored>> + Clone + Send + Sync + 'static {
        let known = self.clone();
        move |key| future::ready(known.find(&key))
    }

    /// Forgets what is remembered for `key`: it was revoked, say, or was changed.
    ///
    /// What a call that runs by now gives later isn't remembered either.
    pub fn forget(&self, key: K) {
        self.learn(key, Known { as_of: self.inner.begin(), value: None });
        telemetry::removed(&self.inner.name, "asked");
    }

    /// Forgets everything, also what calls that run by now give later.
    pub fn clear(&self) {
        self.inner.cleared.fetch_max(self.inner.begin().number, Ordering::SeqCst);
        self.inner.values.invalidate_all();
        telemetry::removed(&self.inner.name, "asked");
    }

    /// How many keys there are, those included that were forgotten of late.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.inner.values.run_pending_tasks();
        self.inner.values.entry_count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn find<Q>(&self, key: &Q) -> Result<Answer<V>, NotStored>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let Inner { name, settings, values, clock, cleared, .. } = &*self.inner;
        let cleared = cleared.load(Ordering::SeqCst);
        let found = match values.get(key).filter(|known| known.as_of.number >= cleared) {
            Some(Known { as_of, value: Some(value) }) => {
                let age = clock.now().since(as_of.at);
                if age <= settings.max_stale { Ok((value, age)) } else { Err(NotStored::TooStale) }
            }
            Some(Known { value: None, .. }) | None => Err(NotStored::Missing),
        };
        match &found {
            Ok((_, age)) => telemetry::served(name, *age),
            Err(reason) => telemetry::not_served(name, *reason),
        }
        found.map(|(value, age)| Answer::stale(value, age))
    }

    /// The newest is known, whichever comes last.
    fn learn(&self, key: K, new: Known<V>) {
        self.inner.values.entry(key).and_upsert_with(|known| match known.map(moka::Entry::into_value) {
            Some(known) if known.as_of.number > new.as_of.number => known,
            _ => new,
        });
    }
}

impl<K, V> Clone for LastKnownValues<K, V> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K, V> fmt::Debug for LastKnownValues<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { name, settings, .. } = &*self.inner;
        f.debug_struct("LastKnownValues").field("name", name).field("settings", settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
