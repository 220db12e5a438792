//! The store: calls with a time limit, on whatever connection there is.

#[cfg(feature = "features")]
use std::sync::{Mutex, PoisonError};
use std::{fmt, sync::Arc, time::Duration};

use backstop_kit::StoreError;
use redis::{RedisResult, aio::MultiplexedConnection};
use tokio::time::{Instant, timeout};

use crate::{
    RedisStoreConfig,
    connection::{self, SharedConnection},
};

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
    config: RedisStoreConfig,
    connection: Arc<SharedConnection>,
    #[cfg(feature = "features")]
    server_clock: Mutex<Option<ServerClock>>,
}

/// The clock of the server, as of the last report.
#[cfg(feature = "features")]
struct ServerClock {
    /// The connection on which it was read.
    generation: u64,
    time: u64,
    read: Instant,
}

impl RedisStore {
    /// A store with settings that were checked.
    pub(crate) fn with(client: redis::Client, config: RedisStoreConfig) -> Self {
        let shared = Shared {
            client,
            config,
            connection: Arc::new(SharedConnection::new()),
            #[cfg(feature = "features")]
            server_clock: Mutex::new(None),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Connects, keeps connected, and drives the connection. **Spawn it, once.** It runs until it is dropped.
    ///
    /// While there is no connection, each call fails at once. The [crate's documentation](crate#the-connection) says when another
    /// one is made.
    ///
    /// # Cancellation
    /// Dropping it closes the connection.
    pub fn run(&self) -> impl Future<Output = ()> + Send + use<> {
        let Shared { client, config, connection, .. } = &*self.shared;
        connection::run(client.clone(), config.clone(), Arc::clone(connection))
    }

    /// Whether there is a connection now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.connection.current().is_ok()
    }

    /// A key of this service.
    #[cfg(any(feature = "features", feature = "health"))]
    pub(crate) fn key(&self, parts: &[&str]) -> String {
        self.prefix().to_owned() + &parts.concat()
    }

    /// The time by the server's clock, in ms. `None` if no report was answered on this connection, so that its server may not have
    /// the script.
    #[cfg(feature = "features")]
    pub(crate) fn server_time(&self, generation: u64) -> Option<u64> {
        let clock = self.shared.server_clock.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = clock.as_ref().filter(|clock| clock.generation == generation)?;
        Some(clock.time + clock.read.elapsed().as_millis() as u64)
    }

    #[cfg(feature = "features")]
    pub(crate) fn set_server_time(&self, generation: u64, time: Option<u64>) {
        let clock = time.map(|time| ServerClock { generation, time, read: Instant::now() });
        *self.shared.server_clock.lock().unwrap_or_else(PoisonError::into_inner) = clock;
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.shared.config.prefix
    }

    #[cfg(feature = "last-known-good")]
    pub(crate) fn max_answer(&self) -> usize {
        self.shared.config.max_answer
    }

    /// Makes a call on the current connection. `generation` tells connections apart.
    pub(crate) async fn call<T, Fut>(
        &self,
        call: impl FnOnce(MultiplexedConnection, u64) -> Fut,
    ) -> Result<T, StoreError>
    where
        Fut: Future<Output = RedisResult<T>>,
    {
        let Shared { connection, config, .. } = &*self.shared;
        let limit = config.timeout;
        let (multiplexed, generation) = connection.current()?;
        let mut waiting = Waiting { connection, generation, began: Instant::now(), limit, is_over: false };
        let result = timeout(limit, call(multiplexed, generation)).await;
        waiting.is_over = true;
        if result.is_ok() {
            connection.answered(generation);
        }
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if connection::needs_another(&error) {
                    connection.discard(generation, &error);
                }
                Err(text(&error).into())
            }
            Err(_) => {
                let error = format!("it took longer than {limit:?}");
                connection.discard(generation, &error);
                Err(error.into())
            }
        }
    }
}

/// Notes a call that its caller drops before it was answered.
struct Waiting<'a> {
    connection: &'a SharedConnection,
    generation: u64,
    began: Instant,
    limit: Duration,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.connection.gave_up(self.generation, self.began, self.limit);
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
            .field("config", &self.shared.config)
            .field("is_connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}
