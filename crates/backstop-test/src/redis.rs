//! A real Redis server, to be broken in a test.

use std::path::Path;

use crate::server::{Kind, Server};

const REDIS: Kind = Kind {
    program: "redis-server",
    required_by: "BACKSTOP_REDIS",
    is_ready: "Ready to accept connections",
    port_is_taken: "address already in use",
};

/// A `redis-server` from the PATH, on a free port of 127.0.0.1, with its data in a temporary directory.
///
/// It is stopped, killed, paused and restarted by methods, and keeps its port and [`url`](Self::url) throughout. Dropping it
/// kills the server, and removes its data. Methods block until they have had their effect, for some milliseconds.
///
/// ```
/// use backstop_test::RedisServer;
///
/// # fn main() {
/// // `None` on a machine without Redis.
/// let Some(mut redis) = RedisServer::start() else { return };
/// // … connect to `redis.url()`, and use it …
/// redis.kill();
/// // … it is down …
/// redis.restart();
/// // … it is up, with all that it confirmed …
/// # }
/// ```
#[derive(Debug)]
pub struct RedisServer(Server);

impl RedisServer {
    /// Starts an empty server.
    ///
    /// Without a `redis-server` in the PATH it is `None`, and standard error says that the test is skipped.
    ///
    /// # Panics
    /// If the server doesn't start. Without a `redis-server`, if the environment variable `BACKSTOP_REDIS` is `required`.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts an empty server with further options, such as `["--maxmemory", "1mb"]`.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(options: &[&str]) -> Option<Self> {
        let options = options.iter().map(ToString::to_string).collect();
        Server::start(REDIS, options, arguments).map(Self)
    }

    /// The server's URL, `redis://127.0.0.1:port/`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port())
    }

    /// The server's port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.0.port()
    }

    /// Shuts the server down in order (SIGTERM). No effect if it is down.
    ///
    /// # Panics
    /// If the signal can't be sent.
    pub fn stop(&mut self) {
        self.0.stop();
    }

    /// Kills the server (SIGKILL). What it confirmed is kept for [`restart`](Self::restart). No effect if it is down.
    pub fn kill(&mut self) {
        self.0.kill();
    }

    /// Pauses the server (SIGSTOP): connections stay open, new ones are made, and nothing is answered.
    ///
    /// # Panics
    /// If the server is down.
    pub fn pause(&self) {
        self.0.signal("STOP");
    }

    /// Lets a paused server go on (SIGCONT).
    ///
    /// # Panics
    /// If the server is down.
    pub fn resume(&self) {
        self.0.signal("CONT");
    }

    /// Starts the server again, on the same port, with its data. Kills it first if it runs.
    ///
    /// # Panics
    /// If the server doesn't start.
    pub fn restart(&mut self) {
        self.0.restart();
    }

    /// Starts the server again, on the same port, without its data. Kills it first if it runs.
    ///
    /// # Panics
    /// If the server doesn't start.
    pub fn restart_empty(&mut self) {
        self.0.restart_empty();
    }
}

fn arguments(options: &[String], port: u16, dir: &Path) -> Vec<String> {
    let (port, dir) = (port.to_string(), dir.display().to_string());
    // Every write is in a file before it is confirmed, so that it outlives a kill.
    let persistence = ["--save", "", "--appendonly", "yes", "--appendfsync", "no"];
    let ours = ["--bind", "127.0.0.1", "--port", &port, "--dir", &dir].into_iter().chain(persistence);
    ours.map(str::to_owned).chain(options.iter().cloned()).collect()
}
