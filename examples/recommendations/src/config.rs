//! The configuration, checked before anything starts.

mod args;
mod log_format;
mod store_url;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use backstop::{DeadlineHeader, Name, circuit_breaker::Recovery};

pub use self::args::{Args, Command};
pub use self::log_format::LogFormat;
pub use self::store_url::StoreUrl;
pub use self::values::{AdminToken, BaseUrl, ValueError};

/// The configuration. [`Args::parse`] reads it from the command line and the environment.
#[derive(Debug, Clone)]
pub struct Config {
    /// The app's address.
    pub listen: SocketAddr,
    /// The admin listener's address.
    pub admin: SocketAddr,
    /// The ML service; `None` simulates it.
    pub ml_url: Option<BaseUrl>,
    /// The catalog; `None` simulates it.
    pub catalog_url: Option<BaseUrl>,
    /// How long an open circuit refuses calls before it allows a probe.
    pub circuit_wait: Duration,
    /// How the ML service's circuit closes after its probes. By a ramp, since the model's caches are cold after a restart, and the
    /// chain has other answers meanwhile.
    pub ml_recovery: Recovery,
    /// How long the app still serves once it was asked to stop, so that balancers see that it isn't ready.
    pub drain: Duration,
    /// The directory of the files of queued jobs; `None` keeps them in memory, so that they end with the process.
    pub jobs_dir: Option<PathBuf>,
    /// The NATS server that keeps queued jobs for all instances; `None` keeps them in this process.
    pub nats_url: Option<StoreUrl>,
    /// The Redis server by which instances share flags and views of health; `None` keeps them in this process.
    pub redis_url: Option<StoreUrl>,
    /// How many connections the app accepts at the same time; `None` for as many as the limit of open files allows, at most 10,000.
    pub max_connections: Option<usize>,
    /// The name of this instance in what it shares. `None` makes one up.
    pub instance: Option<Name>,
    /// The header in which a proxy sends the caller's deadline. Only for a proxy that sets it on every request.
    pub trusted_deadline: Option<DeadlineHeader>,
    /// The token that admin requests must carry. Without one, the admin listener must be on loopback.
    pub admin_token: Option<AdminToken>,
    /// How the program writes its log.
    pub log_format: LogFormat,
}

impl Config {
    /// Both listeners on free loopback ports, both upstreams simulated, and an end without delay. Circuits close at once, since
    /// a test makes few calls. For tests.
    #[must_use]
    pub fn on_free_ports() -> Self {
        Self {
            listen: loopback(0),
            admin: loopback(0),
            drain: Duration::ZERO,
            ml_recovery: Recovery::at_once(),
            ..Self::default()
        }
    }

    /// Checks the settings that depend on each other.
    ///
    /// # Errors
    ///
    /// If other machines can reach the admin listener and it requires no token.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.admin_token.is_none() && !is_loopback(self.admin) {
            return Err(ConfigError::OpenAdmin(self.admin));
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: loopback(3000),
            admin: loopback(3001),
            ml_url: None,
            catalog_url: None,
            // Shorter than Backstop's default of 60 s, so that recovery can be watched.
            circuit_wait: Duration::from_secs(5),
            // A step needs 10 calls. A first share of 1 % is for thousands of calls a second; with a few it would take minutes.
            ml_recovery: Recovery::ramp([0.25, 0.5]).each(Duration::from_secs(5)),
            // Backstop's default: more than three checks of most balancers.
            drain: Duration::from_secs(10),
            jobs_dir: None,
            nats_url: None,
            redis_url: None,
            max_connections: None,
            instance: None,
            trusted_deadline: None,
            admin_token: None,
            log_format: LogFormat::Human,
        }
    }
}

/// An unsafe configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// Other machines could reach the admin listener without a token.
    OpenAdmin(SocketAddr),
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OpenAdmin(address) => write!(
                f,
                "the admin listener's address {address} isn't loopback, so anyone who reaches it could break the service; \
                 set --admin-token, or use a loopback address for --admin"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn is_loopback(address: SocketAddr) -> bool {
    // `Ipv6Addr::is_loopback` doesn't recognise `::ffff:127.0.0.1`.
    address.ip().to_canonical().is_loopback()
}
