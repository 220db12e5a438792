//! The chain of sources: the best first, and one at the end that can't fail.

use std::time::Duration;

use backstop::{AllProvidersFailed, Answer, CircuitState, ConfigError, FallbackChain, FallbackResult, Provider, name};
use http::Uri;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, interval};
use tower::BoxError;

use crate::circuits::Circuits;
use crate::config::BaseUrl;
use crate::dependency::{Dependency, http_client};
use crate::user_id::UserId;

/// The time that all sources have together. A page waits for this answer.
const TOTAL: Duration = Duration::from_millis(800);
/// How many users' last answers are remembered.
const REMEMBERED_USERS: u64 = 10_000;
/// How long an answer is worth remembering.
const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);
/// How often a fallback that nobody needs is asked whether it is well again.
const RECHECK: Duration = Duration::from_secs(1);
/// How many items an answer has.
const ITEMS: usize = 10;

/// Something to recommend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Its id in the catalog.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// How much it is recommended, 0 to 1.
    pub score: f64,
}

/// Recommends, from the best source that has an answer.
#[derive(Debug, Clone)]
pub struct Recommender {
    chain: FallbackChain<UserId, Vec<Item>>,
    catalog: Dependency,
    popular: Uri,
    circuits: Circuits,
}

impl Recommender {
    /// A recommender that asks these services.
    ///
    /// # Errors
    /// [`ConfigError`] where `circuit_wait` is none that a circuit breaker takes.
    pub fn new(ml_url: BaseUrl, catalog_url: BaseUrl, circuit_wait: Duration) -> Result<Self, ConfigError> {
        let client = http_client();
        // Each dependency has a circuit of its own: that one is down says nothing of the other.
        let ml = Dependency::new(name!("ml_service"), client.clone(), circuit_wait)?;
        let catalog = Dependency::new(name!("popular_items"), client, circuit_wait)?;
        let circuits = Circuits::new([ml.circuit(), catalog.circuit()]);
        let memory = Memory::new();
        let popular = catalog_url.at(&["v1", "popular"]);

        // The time is shared: of 800 ms the first of four sources has 200, and what it doesn't use the others have. So
        // even where the first three hang, the last one answers in time.
        let chain = FallbackChain::builder("recommendations")
            .total(TOTAL)
            // What this user likes. A good answer is remembered for when there is none.
            .provider(Provider::from_fn(name!("ml_service"), {
                let memory = memory.clone();
                move |user: UserId| {
                    let (ml, memory) = (ml.clone(), memory.clone());
                    let uri = ml_url.at(&["v1", "recommendations", user.as_str()]);
                    async move {
                        let items = fetch(&ml, uri).await?;
                        memory.remember(user, &items);
                        Ok::<_, BoxError>(items)
                    }
                }
            }))
            // What this user was recommended last: theirs, though old. It tells its age, so it counts as `stale`.
            .provider(Provider::from_fn(name!("cached"), move |user: UserId| {
                let remembered = memory.recall(&user);
                async { remembered.ok_or("nothing is remembered of this user") }
            }))
            // What everybody likes: less than was asked for, so it counts as `degraded`, as do all from here on.
            .provider(Provider::value(name!("popular_items"), {
                let (catalog, popular) = (catalog.clone(), popular.clone());
                move || {
                    let (catalog, popular) = (catalog.clone(), popular.clone());
                    async move { fetch(&catalog, popular).await }
                }
            }))
            // No I/O, so it always answers. Every chain wants such an end.
            .provider(Provider::value(name!("static_bestsellers"), || async { bestsellers() }))
            .build()?;

        Ok(Self { chain, catalog, popular, circuits })
    }

    /// What to recommend, and where that is from.
    ///
    /// # Errors
    /// [`AllProvidersFailed`], which the last source keeps from happening.
    pub async fn recommend(&self, user: UserId) -> Result<FallbackResult<Vec<Item>>, AllProvidersFailed> {
        self.chain.execute(user).await
    }

    /// Asks the catalog now and then while its circuit is open, so that it closes though nobody needs it. Never ends.
    ///
    /// Only calls close a circuit, and a fallback has none while what stands before it is well. So it would stay open,
    /// and the health report degraded, until the fallback is needed: the worst moment to find out.
    pub async fn recheck_catalog(self) {
        let mut pace = interval(RECHECK);
        loop {
            pace.tick().await;
            if self.catalog.circuit().state() != CircuitState::Closed {
                // The circuit refuses it until its wait is over, and then learns from how it went. We needn't.
                let _ = fetch(&self.catalog, self.popular.clone()).await;
            }
        }
    }

    /// The circuits around the services that it asks.
    #[must_use]
    pub const fn circuits(&self) -> &Circuits {
        &self.circuits
    }
}

#[derive(Deserialize)]
struct Items {
    items: Vec<Item>,
}

async fn fetch(dependency: &Dependency, uri: Uri) -> Result<Vec<Item>, BoxError> {
    let Items { mut items } = dependency.get(uri).await?;
    items.truncate(ITEMS);
    // Nothing is no recommendation: the next source has some.
    if items.is_empty() { Err("no items".into()) } else { Ok(items) }
}

/// Each user's last good answer. Keyed by the user, so that nobody is ever shown another's.
#[derive(Debug, Clone)]
struct Memory(Cache<UserId, (Vec<Item>, Instant)>);

impl Memory {
    fn new() -> Self {
        Self(Cache::builder().max_capacity(REMEMBERED_USERS).time_to_live(REMEMBERED_FOR).build())
    }

    fn remember(&self, user: UserId, items: &[Item]) {
        self.0.insert(user, (items.to_vec(), Instant::now()));
    }

    fn recall(&self, user: &UserId) -> Option<Answer<Vec<Item>>> {
        let (items, since) = self.0.get(user)?;
        Some(Answer::stale(items, since.elapsed()))
    }
}

fn bestsellers() -> Vec<Item> {
    let item = |(id, name, score): (&str, &str, f64)| Item { id: id.to_owned(), name: name.to_owned(), score };
    [("p001", "Espresso machine", 0.5), ("p007", "Mechanical keyboard", 0.5), ("p020", "E-book reader", 0.5)]
        .map(item)
        .into()
}
