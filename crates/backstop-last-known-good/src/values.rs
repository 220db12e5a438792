//! The last good values of a function, by key.

mod config;
mod inspect;
mod remember;

use std::{
    borrow::Borrow,
    fmt, future,
    hash::Hash,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use backstop_core::{EventLog, Name};
use backstop_kit::{Answer, AtomicDuration};
use moka::sync::Cache;

use crate::{
    NotStored,
    age::{Clock, Timestamp},
    telemetry,
};

pub use config::{LastKnownValuesBuilder, LastKnownValuesConfig};
pub use remember::RememberResult;

/// Remembers the last good value of a function for each key, for when the function fails.
///
/// For handlers that call their dependencies by functions; [`LastKnownGoodLayer`](crate::LastKnownGoodLayer) is for HTTP
/// services. [`remember_result`](Self::remember_result) runs a call and remembers its value. [`get`](Self::get), or a
/// [`provider`](Self::provider) in a chain, returns that value as [stale](backstop_core::Freshness::Stale), with its true age.
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
/// assert_eq!(prices.remember_result(7, price(7)).await, Ok(999));
/// assert_eq!(prices.remember_result(8, price(8)).await, Err("no such item"));
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
/// For values that become wrong, not merely old: balances, stock at the till, permissions. It isn't a cache: while the function
/// works, every call is made. A value for one user needs a key with that user's verified id, or another user gets it.
///
/// # What is remembered
///
/// | event | what is remembered |
/// |---|---|
/// | a call in [`remember_result`](Self::remember_result) succeeds | its value, as of the start of the call |
/// | … and a stale or degraded answer was reported while it ran | the previous value |
/// | … and the value of a later call, or of [`remember`](Self::remember), was there first | the later value |
/// | … and the key was [forgotten](Self::forget), or everything was [cleared](Self::clear), meanwhile | nothing: the value may be from before |
/// | a call fails, or is dropped | the previous value |
/// | a value is older than `max_stale` | nothing |
/// | there are too many values | the least recently used ones are evicted |
///
/// # Knobs
///
/// | knob | default | allowed |
/// |---|---|---|
/// | [`max_stale`](LastKnownValuesBuilder::max_stale) | 24 h | 1 s to 365 days |
/// | [`max_entries`](LastKnownValuesBuilder::max_entries) | 10,000 | 1 to 16,777,216 |
/// | [`max_bytes`](LastKnownValuesBuilder::max_bytes) | unbounded | 1 to 1 TiB |
///
/// # Cost
///
/// Values are cloned when they are remembered and when they are returned: put large ones into an [`Arc`]. Clones of
/// `LastKnownValues` share their values. They are kept in memory, by the crate `moka`. Nothing is spawned.
///
/// # Telemetry
///
/// As for [the layer](crate#telemetry): an event for each value that is served, or isn't, with the reason, and the metric
/// `stale_served_total`.
pub struct LastKnownValues<K, V> {
    inner: Arc<Inner<K, V>>,
}

struct Inner<K, V> {
    name: Name,
    /// The age up to which a value is returned. Shared with the cache, which frees older ones.
    max_stale: Arc<AtomicDuration>,
    max_entries: u64,
    values: Cache<K, Record<V>>,
    clock: Clock,
    /// The number of the next revision.
    next: AtomicU64,
    /// Older revisions aren't returned.
    cleared: AtomicU64,
    log: OnceLock<EventLog>,
}

/// When a call or a change began. The later of two has the higher number, even within one tick of the clock.
#[derive(Clone, Copy)]
struct Revision {
    number: u64,
    at: Timestamp,
}

impl<K, V> Inner<K, V> {
    fn next_revision(&self) -> Revision {
        Revision { number: self.next.fetch_add(1, Ordering::SeqCst), at: self.clock.now() }
    }
}

/// The last revision of a key.
#[derive(Clone)]
struct Record<V> {
    revision: Revision,
    // `None` if the key was forgotten. An earlier value must not come back.
    value: Option<V>,
}

impl<K, V> LastKnownValues<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The name in logs and metrics.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.inner.name
    }

    /// The age up to which a value is returned.
    #[must_use]
    pub fn max_stale(&self) -> Duration {
        self.inner.max_stale.get()
    }

    /// Remembers `value` for `key`, as of now.
    pub fn remember(&self, key: K, value: V) {
        self.update(key, Record { revision: self.inner.next_revision(), value: Some(value) });
    }

    /// The remembered value of `key`, with its age.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<Answer<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.find(key).ok()
    }

    /// [`get`](Self::get) as a function for a chain's `Provider::from_fn`.
    ///
    /// The chain's requests must be the keys. Otherwise write the function yourself:
    /// `move |request: Request| ready(known.get(&request.user).ok_or(NotStored::Missing))`.
    pub fn provider(
        &self,
    ) -> impl Fn(K) -> future::Ready<Result<Answer<V>, NotStored>> + Clone + Send + Sync + 'static {
        let known = self.clone();
        move |key| future::ready(known.find(&key))
    }

    /// Forgets the value of `key`, for example because it changed or was revoked.
    ///
    /// Values of calls that are already running aren't remembered either.
    pub fn forget(&self, key: K) {
        self.update(key, Record { revision: self.inner.next_revision(), value: None });
        telemetry::removed(&self.inner.name, "asked");
    }

    /// Forgets everything, also the values of calls that are already running.
    pub fn clear(&self) {
        self.inner.cleared.fetch_max(self.inner.next_revision().number, Ordering::SeqCst);
        self.inner.values.invalidate_all();
        telemetry::removed(&self.inner.name, "asked");
    }

    /// The number of keys, including recently forgotten ones.
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
        let Inner { name, max_stale, values, clock, cleared, .. } = &*self.inner;
        let cleared = cleared.load(Ordering::SeqCst);
        let found = match values.get(key).filter(|known| known.revision.number >= cleared) {
            Some(Record { revision, value: Some(value) }) => {
                let age = clock.now().since(revision.at);
                if age <= max_stale.get() { Ok((value, age)) } else { Err(NotStored::TooStale) }
            }
            Some(Record { value: None, .. }) | None => Err(NotStored::Missing),
        };
        match &found {
            Ok((_, age)) => telemetry::served(name, *age),
            Err(reason) => telemetry::not_served(name, *reason),
        }
        found.map(|(value, age)| Answer::stale(value, age))
    }

    /// Keeps the newer revision, whichever arrives last.
    fn update(&self, key: K, new: Record<V>) {
        self.inner.values.entry(key).and_upsert_with(|known| match known.map(moka::Entry::into_value) {
            Some(known) if known.revision.number > new.revision.number => known,
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
        let Inner { name, max_stale, .. } = &*self.inner;
        f.debug_struct("LastKnownValues").field("name", name).field("max_stale", max_stale).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
