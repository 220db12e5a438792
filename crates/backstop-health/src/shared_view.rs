//! What other instances know: it is shown, and moves nothing.

mod memory;
mod text;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use backstop_core::{ConfigError, Level, Name, Reason, name};
use backstop_kit::{
    Jitter, StoreError, bounded,
    episode::{Episodes, Line},
    log_text,
};
use bytes::Bytes;
use tokio::time::{Instant, sleep};

pub use memory::MemoryViewStore;

use crate::{ComponentState, Health, Reporter, shared::Shared, telemetry, until::until};

/// How often views are written and read.
const EVERY: Duration = Duration::from_secs(5);
/// How long a view is shown. It outlives three attempts. A [store](ViewStore) needn't keep one for longer.
pub const VIEW_TTL: Duration = Duration::from_secs(20);
/// How long a store may take.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);
/// The most views that are read. A [store](ViewStore) may leave others out.
pub const VIEWS_MAX: usize = 1_000;
/// The longest view that is read, in bytes. A [store](ViewStore) may leave longer ones out.
pub const VIEW_MAX_BYTES: usize = 128 * 1024;
/// The slot of the store's component.
const REPORTER: Name = name!("shared_view");
const FAILED: Reason = Reason::new("store-failed");

/// Keeps one view for each instance, outside the process: see [`Health::share`].
///
/// Bytes in and out: a view has the names and states of components, and nothing of a request. A store that fails or hangs
/// shows as a degraded component, and moves nothing. Garbage is not read.
///
/// In Redis, for example, the views are the fields of one hash, each with a time to live of its own, or keys with one prefix.
/// [`MemoryViewStore`] is for tests.
///
/// # Cancellation
/// Each future may be dropped at any time. The operation may then have happened or not.
pub trait ViewStore: Send + Sync + 'static {
    /// Puts this instance's view, replacing the one before. The store drops it after `ttl`.
    ///
    /// # Errors
    /// [`StoreError`] if the view may not have been stored.
    fn put(&self, instance: &Name, view: Bytes, ttl: Duration) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the unexpired views of all instances, with their instances' names. No more than [`VIEWS_MAX`] are read.
    ///
    /// # Errors
    /// [`StoreError`] if the views can't be read.
    fn all(&self) -> impl Future<Output = Result<Vec<(String, Bytes)>, StoreError>> + Send;

    /// Removes this instance's view: it stops.
    ///
    /// # Errors
    /// [`StoreError`] if the view may still be there.
    fn remove(&self, instance: &Name) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What another instance knows: see [`Health::instances`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceView {
    /// The instance.
    pub instance: Name,
    /// The worst of its components.
    pub status: Level,
    /// Its level.
    pub level: Level,
    /// Whether it should get requests.
    pub is_ready: bool,
    /// The states of its components.
    pub components: Vec<(Name, ComponentState)>,
}

/// What others know, and when that was read.
#[derive(Debug, Default)]
pub(crate) struct OtherInstances {
    views: Vec<InstanceView>,
    read: Option<Instant>,
}

impl OtherInstances {
    /// Nothing, if it is too old.
    pub(crate) fn current(&self) -> &[InstanceView] {
        if self.read.is_some_and(|read| read.elapsed() < VIEW_TTL) { &self.views } else { &[] }
    }
}

impl Health {
    /// Shares what is known with other instances of the service, through a store: spawn it.
    ///
    /// Every 5 s ± 20 % it writes this instance's view, with a lifetime of 20 s, and reads the views of the others. Each
    /// operation may take 1 s. What others know is [shown](Self::instances), and moves nothing here.
    ///
    /// `component` stands for the store: an optional component, which is degraded while the store fails. `instance` is this
    /// instance's name, which no other has: a pod's name, for example.
    ///
    /// It ends when a drain has [ended its requests](crate::Drain::requests_end), after it has removed this instance's view,
    /// and when all handles are dropped. It keeps none of them alive.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), backstop_health::ConfigError> {
    /// use backstop_health::{Component, Health, Level, MemoryViewStore};
    ///
    /// let store = MemoryViewStore::new();
    /// let [one, other] = ["shop-1", "shop-2"].map(|instance| {
    ///     let components = ["search", "view_store"].map(Component::optional);
    ///     let health = Health::builder().components(components).build().unwrap();
    ///     tokio::spawn(health.share("view_store", store.clone(), instance).unwrap());
    ///     health
    /// });
    /// one.report("search", Level::Degraded, "slow", None)?;
    /// # tokio::time::sleep(std::time::Duration::from_secs(15)).await;
    /// // Some seconds later:
    /// assert_eq!(other.instances()[0].status, Level::Degraded);
    /// assert_eq!(other.status(), Level::Healthy);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancellation
    /// Dropping it stops it. This instance's view expires in the store.
    ///
    /// # Errors
    /// [`ConfigError`] if there is no such component, if it is essential, or if `instance` isn't a [name](Name).
    pub fn share<S: ViewStore>(
        &self,
        component: &str,
        store: S,
        instance: &str,
    ) -> Result<impl Future<Output = ()> + Send + 'static + use<S>, ConfigError> {
        let instance =
            Name::new(instance.to_owned()).map_err(|error| ConfigError::new("instance", error.value, error.allowed))?;
        let component = self.shared.find(component)?;
        let known = &self.shared.components[component];
        if known.is_essential {
            return Err(ConfigError::new(
                "component",
                known.name.clone(),
                "an optional component, which moves no level",
            ));
        }
        let shared = Arc::downgrade(&self.shared);
        let end = self.drain().requests_end();
        Ok(async move {
            _ = until(share(&shared, component, &store, &instance), end).await;
            if let Err(error) = bounded(STORE_TIMEOUT, store.remove(&instance)).await {
                telemetry::store_failed("remove", &log_text(&error.to_string()), false);
            }
        })
    }

    /// What other instances know, as of some seconds ago. Empty unless it is [shared](Self::share).
    #[must_use]
    pub fn instances(&self) -> Vec<InstanceView> {
        self.shared.others.load().current().to_vec()
    }
}

/// Ends when all handles are dropped.
async fn share(shared: &Weak<Shared>, component: usize, store: &impl ViewStore, instance: &Name) {
    let jitter = Jitter::new(None);
    // A store that fails every now and then is one line.
    let outages = Episodes::new();
    loop {
        let Some(view) = shared.upgrade().map(|shared| text::write(&shared.view())) else {
            return;
        };
        let put = bounded(STORE_TIMEOUT, store.put(instance, view, VIEW_TTL)).await.map_err(|error| ("put", error));
        let read = bounded(STORE_TIMEOUT, store.all()).await.map_err(|error| ("read", error));
        let Some(shared) = shared.upgrade() else { return };
        let failure = match read {
            Ok(views) => {
                shared
                    .others
                    .store(Arc::new(OtherInstances { views: others(views, instance), read: Some(Instant::now()) }));
                put.err()
            }
            Err(failure) => Some(failure),
        };
        let failure = failure.map(|(operation, error)| (operation, log_text(&error.to_string())));
        match &failure {
            Some((operation, error)) => {
                telemetry::store_failed(operation, error, outages.exhausted(FAILED) == Some(Line::Began));
            }
            None => {
                if let Some(Line::Ended(..)) = outages.fresh() {
                    telemetry::store_works();
                }
            }
        }
        // It holds until the next round. Without this future it is soon forgotten.
        let level = if failure.is_some() { Level::Degraded } else { Level::Healthy };
        let reporter = Reporter { shared, component, name: REPORTER };
        // Fails only if others have filled the component with bad reports.
        _ = reporter.put(level, failure.map(|(_, error)| error.into()), VIEW_TTL);
        drop(reporter);
        sleep(jitter.around(EVERY)).await;
    }
}

/// The views of others that can be read.
fn others(views: Vec<(String, Bytes)>, instance: &Name) -> Vec<InstanceView> {
    let others = views.into_iter().filter(|(name, view)| *instance != **name && view.len() <= VIEW_MAX_BYTES);
    let mut others: Vec<_> = others.take(VIEWS_MAX).filter_map(|(name, view)| text::read(name, &view)).collect();
    others.sort_by(|a, b| a.instance.cmp(&b.instance));
    others
}
