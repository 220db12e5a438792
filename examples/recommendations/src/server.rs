//! Starts the upstreams, the app and the admin listener.

mod error;
mod listener;

use std::io;
use std::net::SocketAddr;

use axum::extract::DefaultBodyLimit;
use axum::middleware::map_response;
use backstop::{Drain, Health, Inventory, Name, RedisStore};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use self::error::StartError;
use crate::admin::{self, Guard};
use crate::app::app;
use crate::chaos::{Chaos, Place};
use crate::circuits::Circuits;
use crate::config::{BaseUrl, Config};
use crate::edge::Edge;
use crate::features::features;
use crate::hardening::harden;
use crate::health::health;
use crate::inventory::inventory;
use crate::jobs::Queues;
use crate::orders::Orders;
use crate::page;
use crate::rates::Rates;
use crate::recommender::Recommender;
use crate::sources::Sources;
use crate::upstream::{Simulated, Upstream};
use crate::{metrics, stores};

/// The largest request body of the app. Orders are smaller.
const LARGEST_BODY: usize = 16 * 1024;

/// How many connections the admin listener accepts.
const OPERATORS: usize = 100;

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
    let (rates_url, rates) = place(Upstream::Rates, None)?;
    let (more_rates_url, more_rates) = place(Upstream::MoreRates, None)?;
    let places = [ml, catalog, payment, mail, rates, more_rates];
    let sources =
        Sources::new(&ml_url, &catalog_url, config.circuit_wait, config.ml_recovery).map_err(StartError::Layer)?;
    let chaos = Chaos::new(Upstream::ALL.into_iter().zip(places), sources.store.clone());
    let rates = Rates::new(&rates_url, &more_rates_url, config.circuit_wait).map_err(StartError::Layer)?;
    let queues = match &config.nats_url {
        Some(url) => Queues::shared(&stores::nats(url).await?).map_err(StartError::Layer)?,
        None => Queues::open(config.jobs_dir.as_deref()).await?,
    };
    let redis = config.redis_url.as_ref().map(stores::redis).transpose()?;
    let orders = Orders::new(&payment_url, &mail_url, queues, config.circuit_wait).map_err(StartError::Layer)?;
    let circuits = sources.circuits.iter().chain(orders.circuits()).chain(rates.circuits());
    let circuits = Circuits::new(circuits.cloned());

    let others = redis.iter().map(|_| stores::redis_component());
    let health = health(&circuits, others, config.drain).map_err(StartError::Layer)?;
    let features = features(&health, redis.as_ref()).map_err(StartError::Layer)?;
    let recommender =
        sources.clone().for_features(&features).and_then(Recommender::from_sources).map_err(StartError::Layer)?;
    let drain = health.drain();
    let edge = Edge::new(config.trusted_deadline).map_err(StartError::Layer)?;
    let routes = app(recommender.clone(), &orders, rates.clone(), &edge, &health).map_err(StartError::Layer)?;
    let inventory = inventory(&edge, &sources, &recommender, &orders, &rates, &features, &health);
    let routes = routes.merge(page::shop(admin_address));
    let guard = Guard::new(app_address, admin_address, config.admin_token);
    let admin = admin::router(chaos.clone(), circuits.clone(), features.handle(), &health, guard);
    let admin = admin.merge(page::control_room(app_address));
    let (mut servers, mut background) = (JoinSet::new(), JoinSet::new());
    let max_connections = config.max_connections.unwrap_or_else(listener::default_max_connections);
    // Requests are small. An order that is larger isn't read to its end.
    let routes = routes.layer(DefaultBodyLimit::max(LARGEST_BODY)).layer(map_response(harden));
    servers.spawn(listener::serve(listener, routes, max_connections, drain.clone()));
    // Few use it, and what the app's clients do must not keep them out.
    servers.spawn(listener::serve(admin_listener, admin.layer(map_response(harden)), OPERATORS, drain.clone()));
    // Beside the servers, because they end by themselves, and their jobs should.
    orders.spawn_workers(&mut servers, &drain).map_err(StartError::Layer)?;
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
