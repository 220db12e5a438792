//! A real NATS server, to be broken in a test.

use std::{fs, path::Path};

use crate::server::{Kind, Server};

const NATS: Kind = Kind {
    program: "nats-server",
    required_by: "BACKSTOP_NATS",
    is_ready: "Server is ready",
    port_is_taken: "address already in use",
};

/// A `nats-server` from the PATH, on a free port of 127.0.0.1, with its data in a temporary directory.
///
/// It is stopped, killed, paused and restarted by methods, and keeps its port and [`url`](Self::url) throughout. Dropping it
/// kills the server, and removes its data. Methods block until they have had their effect, for some milliseconds.
///
/// ```
/// use backstop_test::NatsServer;
///
/// # fn main() {
/// // `None` on a machine without NATS.
/// let Some(mut nats) = NatsServer::start() else { return };
/// // … connect to `nats.url()`, and use it …
/// nats.kill();
/// // … it is down …
/// nats.restart();
/// // … it is up, with the streams that it had …
/// # }
/// ```
#[derive(Debug)]
pub struct NatsServer(Server);

impl NatsServer {
    /// Starts an empty server with JetStream, which takes messages of up to 8 MiB.
    ///
    /// Without a `nats-server` in the PATH it is `None`, and standard error says that the test is skipped.
    ///
    /// # Panics
    /// If the server doesn't start. Without a `nats-server`, if the environment variable `BACKSTOP_NATS` is `required`.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with("jetstream { store_dir: data }, max_payload: 8MB")
    }

    /// Starts an empty server with this configuration, in the syntax of its configuration files. It sets where the server listens
    /// itself. JetStream is off unless the configuration turns it on: `jetstream { store_dir: data }`.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(configuration: &str) -> Option<Self> {
        Server::start(NATS, vec![configuration.to_owned()], arguments).map(Self)
    }

    /// The server's URL, `nats://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port())
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

    /// Kills the server (SIGKILL). Its files are kept for [`restart`](Self::restart). No effect if it is down.
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

    /// Starts the server again, on the same port, with its files. Kills it first if it runs.
    ///
    /// # Panics
    /// If the server doesn't start.
    pub fn restart(&mut self) {
        self.0.restart();
    }

    /// Starts the server again, on the same port, without its files. Kills it first if it runs.
    ///
    /// # Panics
    /// If the server doesn't start.
    pub fn restart_empty(&mut self) {
        self.0.restart_empty();
    }
}

/// Writes the configuration. A log on `/dev/stdout` may end; a Go program whose standard output is closed would be killed.
fn arguments(configuration: &[String], port: u16, dir: &Path) -> Vec<String> {
    let file = dir.join("nats.conf");
    let listen = format!("listen: \"127.0.0.1:{port}\"\n");
    fs::write(&file, listen + &configuration.concat()).expect("the temporary directory is writable");
    ["--config", &file.display().to_string(), "--log", "/dev/stdout"].map(str::to_owned).into()
}
