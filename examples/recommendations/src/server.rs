//! Everything started together: the upstreams, the app, and its admin listener.

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

/// How long requests that are being served may take to end when the app is told to.
const GRACE: Duration = Duration::from_secs(5);

/// The running app. Dropping it ends it at once; [`shut_down`](Self::shut_down) lets requests end first.
#[derive(Debug)]
pub struct Running {
    app: SocketAddr,
    admin: SocketAddr,
    chaos: Chaos,
    circuits: Circuits,
    stop: watch::Sender<()>,
    tasks: JoinSet<()>,
}

/// Why the app didn't start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration isn't safe to run.
    Config(ConfigError),
    /// A layer was configured wrong.
    Layer(backstop::ConfigError),
    /// An address can't be listened on.
    Listen {
        /// The option that gave it.
        option: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why not.
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
                write!(f, "can't listen on {address}: {error}; {option} chooses another address")
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

/// Starts everything, and returns when both listeners take connections.
///
/// # Errors
/// [`StartError`] says what is wrong with the configuration or the machine.
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

/// Where an upstream is: as configured, or simulated.
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
    // It goes on through errors of single connections, and returns none.
    let _ = axum::serve(listener, router).with_graceful_shutdown(told(stopped)).await;
}

/// Returns when it is time to stop.
async fn told(mut stopped: watch::Receiver<()>) {
    // The sender gone is the same as being told.
    let _ = stopped.changed().await;
}

impl Running {
    /// Where the app listens.
    #[must_use]
    pub const fn app(&self) -> SocketAddr {
        self.app
    }

    /// Where the admin listener listens.
    #[must_use]
    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The upstreams' switches.
    #[must_use]
    pub const fn chaos(&self) -> &Chaos {
        &self.chaos
    }

    /// The circuits.
    #[must_use]
    pub const fn circuits(&self) -> &Circuits {
        &self.circuits
    }

    /// Takes no more connections, lets the requests that are being served end, but not for longer than 5 s.
    pub async fn shut_down(mut self) {
        let _ = self.stop.send(());
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(GRACE, all_ended).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}
