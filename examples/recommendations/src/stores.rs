//! The servers that instances share. The app needs neither: without them, or while they are away, each instance works alone.
//!
//! Both connect in the background. So the app starts while they are down, and uses them when they are back.

use backstop::nats_store::async_nats::{Client, ConnectOptions, ServerAddr};
use backstop::redis_store::redis;
use backstop::{Component, RedisStore};

use crate::config::StoreUrl;
use crate::server::StartError;

/// The component of the health report that stands for Redis.
pub(crate) const REDIS: &str = "redis";

/// Redis, for what instances tell each other: flags of operators, and views of health. Spawn its `run`.
pub(crate) fn redis(url: &StoreUrl) -> Result<RedisStore, StartError> {
    let client = redis::Client::open(url.url().clone())
        .map_err(|error| StartError::Store { option: "--redis-url", error: error.to_string() })?;
    // Other services may use the same server.
    RedisStore::builder(client).prefix("recommendations:").build().map_err(StartError::Layer)
}

/// Redis in the health report. Optional, because no answer needs it.
pub(crate) fn redis_component() -> Component {
    Component::optional(REDIS)
}

/// NATS, for queued jobs: any instance accepts them, and any instance does them.
pub(crate) async fn nats(url: &StoreUrl) -> Result<Client, StartError> {
    let failed = |error: String| StartError::Store { option: "--nats-url", error };
    let server = ServerAddr::from_url(url.url().clone()).map_err(|error| failed(error.to_string()))?;
    // Without this, the app wouldn't start while NATS is down.
    let options = ConnectOptions::new().retry_on_initial_connect();
    options.connect(server).await.map_err(|error| failed(error.to_string()))
}
