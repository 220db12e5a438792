//! Starts the upstreams, the app and the admin listener.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use axum::Router;
use backstop::deferred::StoreError;
use backstop::{Drain, Health, Inventory, Name, RedisStore};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::admin::{self, Guard};
use crate::app::app;
use crate::chaos::{Chaos, Place};
use crate::circuits::Circuits;
use crate::config::{BaseUrl, Config, ConfigError};
use crate::edge::Edge;
use crate::features::features;
use crate::health::health;
use crate::inventory::inventory;
use crate::jobs::Queues;
use crate::orders::Orders;
use crate::page;
use crate::recommender::Recommender;
use crate::sources::Sources;
use crate::upstream::{Simulated, Upstream};
use crate::{metrics, stores};

/// The running app. Dropping it stops it at once; [`serve`](Self::serve) runs it until it has drained.
#[derive(Debug)]
pub struct Running {
    app: SocketAddr,
    admin: SocketAddr,
    chaos: Chaos,
    circuits: Circuits,
    inventory: Inventory,
    drain: Drain,
    servers: JoinSet<()>,
    /// Work without an end of its own.
    _background: JoinSet<()>,
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
    /// A shared store's address can't be used.
    Store {
        /// The option that set the address.
        option: &'static str,
        /// The cause.
        error: String,
    },
    /// The file of a queue can't be opened.
    Jobs(StoreError),
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
            Self::Store { option, error } => write!(f, "can't use the server of {option}: {error}"),
            Self::Jobs(error) => {
                write!(f, "can't open the queued jobs: {error}; use --jobs-dir to choose another directory")
            }
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Layer(error) => Some(error),
            Self::Listen { error, .. } | Self::Upstream(error) => Some(error),
            Self::Jobs(error) => Some(&**error),
            Self::Store { .. } => None,
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
    let (payment_url, payment) = place(Upstream::Payment, None)?;
    let (mail_url, mail) = place(Upstream::Mail, None)?;
    let places = [ml, catalog, payment, mail];
    let chaos = Chaos::new(Upstream::ALL.into_iter().zip(places));
    let sources =
        Sources::new(&ml_url, &catalog_url, config.circuit_wait, config.ml_recovery).map_err(StartError::Layer)?;
    let queues = match &config.nats_url {
        Some(url) => Queues::shared(&stores::nats(url).await?).map_err(StartError::Layer)?,
        None => Queues::open(config.jobs_dir.as_deref()).await?,
    };
    let redis = config.redis_url.as_ref().map(stores::redis).transpose()?;
    let orders = Orders::new(&payment_url, &mail_url, queues, config.circuit_wait).map_err(StartError::Layer)?;
    let circuits = Circuits::new(sources.circuits.iter().chain(orders.circuits()).cloned());

    let others = redis.iter().map(|_| stores::redis_component());
    let health = health(&circuits, others, config.drain).map_err(StartError::Layer)?;
    let features = features(&health, redis.as_ref()).map_err(StartError::Layer)?;
    let recommender =
        sources.clone().for_features(&features).and_then(Recommender::from_sources).map_err(StartError::Layer)?;
    let drain = health.drain();
    let edge = Edge::new(config.trusted_deadline).map_err(StartError::Layer)?;
    let routes = app(recommender.clone(), &orders, &edge, &health).map_err(StartError::Layer)?;
    let inventory = inventory(&edge, &sources, &recommender, &orders, &features, &health);
    let routes = routes.merge(page::shop(admin_address));
    let guard = Guard::new(app_address, admin_address, config.admin_token);
    let admin = admin::router(chaos.clone(), circuits.clone(), features.handle(), &health, guard);
    let (mut servers, mut background) = (JoinSet::new(), JoinSet::new());
    servers.spawn(serve(listener, routes, drain.listener_closes()));
    servers.spawn(serve(admin_listener, admin, drain.listener_closes()));
    // Beside the servers, because they end by themselves, and their jobs should.
    orders.spawn_workers(&mut servers, &drain);
    background.spawn(health.run());
    // Without it, features don't follow the level.
    background.spawn(features.run());
    background.spawn(recommender.prober().until(drain.begun()));
    background.spawn(metrics::upkeep());
    if let Some(redis) = redis {
        background.spawn(redis.run());
        servers.spawn(share(&health, redis, config.instance).map_err(StartError::Layer)?);
    }
    Ok(Running {
        app: app_address,
        admin: admin_address,
        chaos,
        circuits,
        inventory,
        drain,
        servers,
        _background: background,
    })
}

/// Shows other instances how this one is. It ends with the requests.
fn share(
    health: &Health,
    redis: RedisStore,
    instance: Option<Name>,
) -> Result<impl Future<Output = ()> + use<>, backstop::ConfigError> {
    let made_up = || format!("recommendations-{:08x}", fastrand::u32(..));
    let instance = instance.map_or_else(made_up, |name| name.to_string());
    health.share(stores::REDIS, redis, &instance)
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

async fn serve(listener: TcpListener, router: Router, closes: impl Future<Output = ()> + Send + 'static) {
    // Errors of single connections don't end it, and it returns none.
    let _ = axum::serve(listener, router).with_graceful_shutdown(closes).await;
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

    /// The drain, for signals and for what is left to do after it.
    #[must_use]
    pub const fn drain(&self) -> &Drain {
        &self.drain
    }

    /// The circuits.
    #[must_use]
    pub const fn circuits(&self) -> &Circuits {
        &self.circuits
    }

    /// What protects each dependency.
    pub const fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// Serves until the app has drained. Once the [drain](Self::drain) begins, the app isn't ready any more, serves for the
    /// configured time, accepts no more connections, and waits up to 5 s for running requests.
    ///
    /// # Cancellation
    /// Dropping it stops the app at once.
    pub async fn serve(mut self) {
        let all_ended = async { while self.servers.join_next().await.is_some() {} };
        if self.drain.serve(all_ended).await.is_none() {
            self.servers.shutdown().await;
        }
    }
}
