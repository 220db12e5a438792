//! The connection, and what keeps it.
//!
//! | in | on | to |
//! |---|---|---|
//! | no connection | an attempt succeeds, and the server is a primary | connected |
//! | no connection | an attempt fails, or takes too long, or the server is a replica | no connection, for a growing wait |
//! | connected | the connection breaks | no connection |
//! | connected | a call discards it: it took too long, or the server can't serve us now | no connection |
//! | connected | the regular check isn't answered in time, or the server is a replica by now | no connection |
//!
//! The crate `redis` would spawn a task for each connection. Here, the future that the user spawns drives it, except over TLS.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backstop_kit::{Jitter, StoreError};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, RedisError, RedisResult, Role, ServerErrorKind,
    aio::MultiplexedConnection,
};
use tokio::{
    net::TcpStream,
    sync::{Notify, Semaphore},
    time::{Instant, sleep, timeout},
};

use crate::{RedisStoreConfig, store::text, telemetry};

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The connection that calls use.
pub(crate) struct SharedConnection {
    state: Mutex<State>,
    discarded: Notify,
    /// Held by the future that connects.
    turn: Semaphore,
}

struct State {
    connection: Option<MultiplexedConnection>,
    /// Grows with each connection.
    generation: u64,
    /// Why there is no connection.
    why: String,
    /// For how long calls have waited and been given up, since the last answer. Each moment counts once.
    unanswered: Duration,
    /// Until when `unanswered` is counted.
    counted: Instant,
}

impl State {
    fn answered(&mut self) {
        (self.unanswered, self.counted) = (Duration::ZERO, Instant::now());
    }
}

impl SharedConnection {
    pub(crate) fn new() -> Self {
        let why = "not connected yet: is `run` spawned?".to_owned();
        let (unanswered, counted) = (Duration::ZERO, Instant::now());
        let state = Mutex::new(State { connection: None, generation: 0, why, unanswered, counted });
        Self { state, discarded: Notify::new(), turn: Semaphore::new(1) }
    }

    /// The connection, and its number.
    pub(crate) fn current(&self) -> Result<(MultiplexedConnection, u64), StoreError> {
        let state = self.state();
        match &state.connection {
            Some(connection) => Ok((connection.clone(), state.generation)),
            None => Err(state.why.clone().into()),
        }
    }

    /// A call was answered.
    pub(crate) fn answered(&self, generation: u64) {
        let mut state = self.state();
        if state.generation == generation {
            state.answered();
        }
    }

    /// A call that has waited since `began` was given up without an answer: its caller has a shorter limit than ours. Once such
    /// calls have waited for `limit` without any answer, the connection is given up, too.
    pub(crate) fn gave_up(&self, generation: u64, began: Instant, limit: Duration) {
        let mut state = self.state();
        if state.generation != generation {
            return;
        }
        let now = Instant::now();
        let waited = now.saturating_duration_since(began.max(state.counted));
        state.unanswered += waited;
        state.counted = now;
        if state.unanswered >= limit {
            drop(state);
            self.discard(generation, &"nothing was answered");
        }
    }

    /// Gives this connection up.
    pub(crate) fn discard(&self, generation: u64, why: &impl fmt::Display) {
        let mut state = self.state();
        if state.generation == generation && state.connection.take().is_some() {
            state.why = backstop_kit::log_text(&format!("reconnecting: {why}"));
            self.discarded.notify_one();
        }
    }

    /// Uses this connection from now on. Returns its number.
    fn connected(&self, connection: MultiplexedConnection) -> u64 {
        let mut state = self.state();
        state.generation += 1;
        state.connection = Some(connection);
        state.answered();
        state.generation
    }

    /// Waits until this connection isn't used any more.
    async fn is_discarded(&self, generation: u64) {
        // A notification may be about an earlier one.
        while self.current().is_ok_and(|(_, current)| current == generation) {
            self.discarded.notified().await;
        }
    }

    fn failed(&self, why: String) {
        let mut state = self.state();
        (state.connection, state.why) = (None, why);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the connection to new calls when the driver is dropped.
struct CloseOnDrop<'a>(&'a SharedConnection);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.failed("not connected: `run` was dropped".to_owned());
    }
}

/// Connects again and again. Never ends.
pub(crate) async fn run(client: Client, config: RedisStoreConfig, shared: Arc<SharedConnection>) {
    // Two at once would take the connection from each other.
    let _turn = shared.turn.acquire().await;
    let (jitter, mut wait) = (Jitter::new(None), FIRST_WAIT);
    let (limit, mut logged) = (config.connect_timeout, LoggedRole::default());
    let _close = CloseOnDrop(&shared);
    loop {
        match timeout(limit, connect(&client)).await {
            Ok(Ok((connection, mut driver))) => {
                let since = Instant::now();
                tokio::select! {
                    () = &mut driver => shared.failed("the connection broke".to_owned()),
                    () = serve_until_discarded(connection, &config, &shared, &mut logged) => {}
                }
                if since.elapsed() > LONGEST_WAIT {
                    wait = FIRST_WAIT;
                }
            }
            Ok(Err(error)) => shared.failed(text(&error)),
            Err(_) => shared.failed(format!("connecting took longer than {limit:?}")),
        }
        sleep(jitter.time(wait / 2..=wait)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// What was logged about the server's role.
#[derive(Default)]
struct LoggedRole {
    replica: bool,
    no_role: bool,
}

/// Lets calls use the connection as long as the server is a primary, and nobody discards it.
async fn serve_until_discarded(
    connection: MultiplexedConnection,
    config: &RedisStoreConfig,
    shared: &SharedConnection,
    logged: &mut LoggedRole,
) {
    if let Err(why) = check_role(connection.clone(), config.timeout, logged).await {
        return shared.failed(why);
    }
    let generation = shared.connected(connection.clone());
    while timeout(config.check_interval, shared.is_discarded(generation)).await.is_err() {
        if let Err(why) = check_role(connection.clone(), config.timeout, logged).await {
            return shared.discard(generation, &why);
        }
    }
}

/// Asks the server whether it is a primary. An error says why the connection is of no use.
///
/// A server that was demoted goes on serving what it has, which gets old.
async fn check_role(
    mut connection: MultiplexedConnection,
    limit: Duration,
    logged: &mut LoggedRole,
) -> Result<(), String> {
    match timeout(limit, redis::cmd("ROLE").query_async(&mut connection)).await {
        Ok(Ok(Role::Replica { .. })) => {
            if !std::mem::replace(&mut logged.replica, true) {
                telemetry::is_replica();
            }
            return Err("the server is a replica".to_owned());
        }
        Ok(Ok(_)) => {
            if std::mem::take(&mut logged.replica) {
                telemetry::is_primary_again();
            }
        }
        Ok(Err(error)) if needs_another(&error) => return Err(text(&error)),
        Ok(Err(error)) => {
            if !std::mem::replace(&mut logged.no_role, true) {
                telemetry::role_unknown(&text(&error));
            }
        }
        Err(_) => return Err(format!("`ROLE` took longer than {limit:?}")),
    }
    Ok(())
}

type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection, and the future that it needs.
async fn connect(client: &Client) -> RedisResult<(MultiplexedConnection, Driver)> {
    let info = client.get_connection_info();
    // Calls have a time limit of their own.
    let config = || AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            driven(MultiplexedConnection::new_with_config(info.redis_settings(), stream, config()).await?)
        }
        #[cfg(unix)]
        ConnectionAddr::Unix(path) => {
            let stream = tokio::net::UnixStream::connect(path).await?;
            driven(MultiplexedConnection::new_with_config(info.redis_settings(), stream, config()).await?)
        }
        // Only the crate `redis` knows how. It spawns a task that ends with the connection.
        _ => {
            let connection = client.get_multiplexed_async_connection_with_config(&config()).await?;
            Ok((connection, Box::pin(std::future::pending())))
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the end of each arm above")]
fn driven<F>((connection, driver): (MultiplexedConnection, F)) -> RedisResult<(MultiplexedConnection, Driver)>
where
    F: Future<Output = ()> + Send + 'static,
{
    Ok((connection, Box::pin(driver)))
}

/// Whether another connection may do better: to another server behind the same name, or to this one later.
pub(crate) fn needs_another(error: &RedisError) -> bool {
    let is_bad_server = matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown)
    );
    // A script's error may keep the code in its text alone.
    let is_bad_server = is_bad_server || error.detail().is_some_and(|detail| detail.contains("READONLY"));
    is_bad_server || error.is_io_error() || error.is_unrecoverable_error()
}
