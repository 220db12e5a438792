//! The store: calls with a time limit, on whatever connection there is.

#[cfg(feature = "features")]
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{fmt, sync::Arc, time::Duration};

use redis::{RedisResult, aio::MultiplexedConnection};
use tokio::time::timeout;

use crate::{
    RedisStoreBuilder,
    config::{DEFAULT_CONNECT_TIMEOUT, DEFAULT_TIMEOUT},
    connection::{self, Link},
};

/// A call's error. Its text holds no secret, no key and no value.
pub(crate) type StoreError = Box<dyn std::error::Error + Send + Sync>;

/// Redis as a shared store. Clones share one connection.
///
/// ```no_run
/// use backstop_redis::RedisStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = RedisStore::new(redis::Client::open("redis://127.0.0.1/")?);
/// tokio::spawn(store.run());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
}

struct Shared {
    client: redis::Client,
    prefix: String,
    timeout: Duration,
    connect_timeout: Duration,
    link: Arc<Link>,
    /// The connection on which the script of the counts was loaded.
    #[cfg(feature = "features")]
    counts_on: AtomicU64,
}

impl RedisStore {
    /// A store with the default settings: no prefix, 500 ms for a call.
    #[must_use]
    pub fn new(client: redis::Client) -> Self {
        Self::with(client, String::new(), DEFAULT_TIMEOUT, DEFAULT_CONNECT_TIMEOUT)
    }

    /// Builds a store with other settings.
    ///
    /// ```
    /// use backstop_redis::RedisStore;
    ///
    /// let client = redis::Client::open("redis://127.0.0.1/").unwrap();
    /// let store = RedisStore::builder(client).prefix("shop:").build()?;
    /// # Ok::<(), backstop_redis::ConfigError>(())
    /// ```
    pub const fn builder(client: redis::Client) -> RedisStoreBuilder {
        RedisStoreBuilder::new(client)
    }

    pub(crate) fn with(client: redis::Client, prefix: String, timeout: Duration, connect_timeout: Duration) -> Self {
        let link = Arc::new(Link::new());
        let shared = Shared {
            client,
            prefix,
            timeout,
            connect_timeout,
            link,
            #[cfg(feature = "features")]
            counts_on: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Connects, keeps connected, and drives the connection. **Spawn it, once.** It runs until it is dropped.
    ///
    /// While there is no connection, each call fails at once. Another one is made when it breaks, when a call takes too long, and
    /// when the server says that it is a replica (`READONLY`), is loading (`LOADING`), or has lost its primary (`MASTERDOWN`).
    /// The wait between two attempts grows from 100 ms to 2 s, and is jittered.
    ///
    /// # Cancellation
    /// Dropping it closes the connection.
    pub fn run(&self) -> impl Future<Output = ()> + Send + use<> {
        let Shared { client, connect_timeout, link, .. } = &*self.shared;
        connection::run(client.clone(), *connect_timeout, Arc::clone(link))
    }

    /// Whether there is a connection now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.link.current().is_ok()
    }

    /// A key of this service.
    #[cfg(any(feature = "features", feature = "health"))]
    pub(crate) fn key(&self, parts: &[&str]) -> String {
        self.shared.prefix.clone() + &parts.concat()
    }

    /// Whether the script of the counts must be loaded on this connection.
    #[cfg(feature = "features")]
    pub(crate) fn must_load_counts(&self, generation: u64) -> bool {
        self.shared.counts_on.load(Relaxed) != generation
    }

    /// Notes whether the script of the counts is known to be there.
    #[cfg(feature = "features")]
    pub(crate) fn counts_loaded(&self, generation: u64, is_loaded: bool) {
        self.shared.counts_on.store(if is_loaded { generation } else { 0 }, Relaxed);
    }

    #[cfg(feature = "last-known-good")]
    pub(crate) fn prefix(&self) -> &str {
        &self.shared.prefix
    }

    /// Makes a call on the current connection. `generation` tells connections apart.
    pub(crate) async fn call<T, Fut>(
        &self,
        call: impl FnOnce(MultiplexedConnection, u64) -> Fut,
    ) -> Result<T, StoreError>
    where
        Fut: Future<Output = RedisResult<T>>,
    {
        let Shared { link, timeout: limit, .. } = &*self.shared;
        let (connection, generation) = link.current()?;
        let mut waiting = Waiting { link, generation, limit: *limit, is_over: false };
        let result = timeout(*limit, call(connection, generation)).await;
        waiting.is_over = true;
        if result.is_ok() {
            link.answered();
        }
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if connection::needs_another(&error) {
                    link.discard(generation, &error);
                }
                Err(text(&error).into())
            }
            Err(_) => {
                let error = format!("it took longer than {limit:?}");
                link.discard(generation, &error);
                Err(error.into())
            }
        }
    }
}

/// Notes a call that its caller drops before it was answered.
struct Waiting<'a> {
    link: &'a Link,
    generation: u64,
    limit: Duration,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.link.gave_up(self.generation, self.limit);
        }
    }
}

/// What an error is, without what the server says about keys.
pub(crate) fn text(error: &redis::RedisError) -> String {
    let code = error.code().map(str::to_owned);
    let text = if error.is_connection_refusal() {
        "connection refused".to_owned()
    } else if error.is_io_error() {
        error.to_string()
    } else {
        code.map_or_else(|| format!("{:?}", error.kind()), |code| format!("the server answered {code}"))
    };
    backstop_kit::log_text(&text)
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.shared.prefix)
            .field("is_connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}
