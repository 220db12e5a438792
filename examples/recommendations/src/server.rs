//! Starts the upstreams, the app and the admin listener.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::admin::{self, Guard};
use crate::app::app;
use crate::chaos::{Chaos, Place};
use crate::circuits::Circuits;
use crate::config::{BaseUrl, Config, ConfigError};
use crate::recommender::Recommender;
use crate::upstream::{Simulated, Upstream};

/// How long a shutdown waits for running requests.
const GRACE: Duration = Duration::from_secs(5);

/// The running app. Dropping it stops it at once; [`shut_down`](Self::shut_down) waits for running requests.
#[derive(Debug)]
pub struct Running {
    app: SocketAddr,
    admin: SocketAddr,
    chaos: Chaos,
    circuits: Circuits,
    stop: watch::Sender<()>,
    tasks: JoinSet<()>,
}

/// An error that kept the app from starting.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is unsafe.
    Config(ConfigError),
    /// A layer's configuration is invalid.
    Layer(backstop::ConfigError),
    /// The app can't listen on an address.
    Listen {
        /// The option that set the address.
        option: &'static str,
        /// The address.
        address: SocketAddr,
        /// The cause.
        error: io::Error,
    },
    /// A simulated upstream didn't start.
    Upstream(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Layer(error) => error.fmt(f),
            Self::Listen { option, address, error } => {
                write!(f, "can't listen on {address}: {error}; use {option} to choose another address")
            }
            Self::Upstream(error) => write!(f, "can't start a simulated upstream: {error}"),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Layer(error) => Some(error),
            Self::Listen { error, .. } | Self::Upstream(error) => Some(error),
        }
    }
}

/// Starts everything, and returns once both listeners accept connections.
///
/// # Errors
/// [`StartError`] if the configuration is invalid, or an address or port isn't available.
pub async fn start(config: Config) -> Result<Running, StartError> {
    config.check().map_err(StartError::Config)?;
    let listener = listen("--listen", config.listen).await?;
    let admin_listener = listen("--admin", config.admin).await?;
    let address = |listener: &TcpListener, asked| listener.local_addr().unwrap_or(asked);
    let (app_address, admin_address) = (address(&listener, config.listen), address(&admin_listener, config.admin));

    let (ml_url, ml) = place(Upstream::Ml, config.ml_url)?;
    let (catalog_url, catalog) = place(Upstream::Catalog, config.catalog_url)?;
    let chaos = Chaos::new([(Upstream::Ml, ml), (Upstream::Catalog, catalog)]);
    let recommender = Recommender::new(&ml_url, &catalog_url, config.circuit_wait).map_err(StartError::Layer)?;
    let circuits = recommender.circuits().clone();

    let routes = app(recommender.clone(), config.trusted_deadline).map_err(StartError::Layer)?;
    let guard = Guard::new(app_address, admin_address, config.admin_token);
    let admin = admin::router(chaos.clone(), circuits.clone(), guard);
    let (stop, stopped) = watch::channel(());
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, routes, stopped.clone()));
    tasks.spawn(serve(admin_listener, admin, stopped.clone()));
    tasks.spawn(recommender.prober().until(told(stopped)));
    Ok(Running { app: app_address, admin: admin_address, chaos, circuits, stop, tasks })
}

async fn listen(option: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::Listen { option, address, error })
}

/// The configured upstream, or a simulated one.
fn place(upstream: Upstream, configured: Option<BaseUrl>) -> Result<(BaseUrl, Place), StartError> {
    if let Some(url) = configured {
        return Ok((url.clone(), Place::Real(url)));
    }
    let simulated = Simulated::start(upstream).map_err(StartError::Upstream)?;
    let url = format!("http://{}", simulated.address());
    let url = url.parse().map_err(|error| StartError::Upstream(io::Error::other(error)))?;
    Ok((url, Place::Simulated(simulated)))
}

async fn serve(listener: TcpListener, router: Router, stopped: watch::Receiver<()>) {
    // Errors of single connections don't end it, and it returns none.
    let _ = axum::serve(listener, router).with_graceful_shutdown(told(stopped)).await;
}

/// Completes when the app shall stop.
async fn told(mut stopped: watch::Receiver<()>) {
    // A dropped sender also means stop.
    let _ = stopped.changed().await;
}

impl Running {
    /// The app's address.
    #[must_use]
    pub const fn app(&self) -> SocketAddr {
        self.app
    }

    /// The admin listener's address.
    #[must_use]
    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The upstreams, whose faults can be set.
    #[must_use]
    pub const fn chaos(&self) -> &Chaos {
        &self.chaos
    }

    /// The circuits.
    #[must_use]
    pub const fn circuits(&self) -> &Circuits {
        &self.circuits
    }

    /// Accepts no more connections, and waits up to 5 s for running requests.
    pub async fn shut_down(mut self) {
        let _ = self.stop.send(());
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(GRACE, all_ended).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}
