//! What the operator may choose, checked before anything starts.

mod args;
mod values;

use std::net::SocketAddr;
use std::time::Duration;

use backstop::DeadlineHeader;

pub use self::args::Args;
pub use self::values::{AdminToken, BaseUrl, ValueError};

/// Everything that can be configured; [`Args::parse_config`] makes one from the command line and the environment.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the app listens.
    pub listen: SocketAddr,
    /// Where the admin listener listens.
    pub admin: SocketAddr,
    /// The ML service. One is simulated where this is `None`.
    pub ml_url: Option<BaseUrl>,
    /// The catalog. One is simulated where this is `None`.
    pub catalog_url: Option<BaseUrl>,
    /// How long a circuit that opened refuses calls before it lets a probe through.
    pub circuit_wait: Duration,
    /// The header in which a proxy in front tells how long its caller waits. Only for a proxy that sets it on every request.
    pub trusted_deadline: Option<DeadlineHeader>,
    /// What admin requests must show. Without one, the admin listener is for loopback only.
    pub admin_token: Option<AdminToken>,
}

impl Config {
    /// Both listeners and both simulated upstreams on free loopback ports: what a test wants.
    #[must_use]
    pub fn on_free_ports() -> Self {
        Self { listen: loopback(0), admin: loopback(0), ..Self::default() }
    }

    /// What can only be judged when all is known.
    ///
    /// # Errors
    ///
    /// When the admin listener could be reached from other machines and asks for no token.
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
            // Backstop's own default is 60 s; a newcomer wants to see the recovery.
            circuit_wait: Duration::from_secs(5),
            trusted_deadline: None,
            admin_token: None,
        }
    }
}

/// A configuration that isn't safe to run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The admin listener would be open to other machines.
    OpenAdmin(SocketAddr),
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OpenAdmin(address) => write!(
                f,
                "the admin listener's address {address} isn't loopback: anyone who reaches it could break the service; \
                 give it an --admin-token or a loopback address"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn is_loopback(address: SocketAddr) -> bool {
    // `::ffff:127.0.0.1` is loopback too, though `Ipv6Addr` doesn't say so.
    address.ip().to_canonical().is_loopback()
}
