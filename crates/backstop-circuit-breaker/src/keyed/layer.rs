//! The layer.

use std::{fmt, sync::Arc};

use backstop_core::ConfigError;
use backstop_kit::Http;
use tower_layer::Layer;

use super::{KeyedCircuitBreaker, KeyedCircuitBreakerHandle, breaker_map::BreakerMap};
use crate::{CircuitBreakerBuilder, config::check_max_keys};

/// One circuit for each key (a host, a tenant, a gRPC method), which a closure takes from the request.
///
/// Made by [`CircuitBreakerBuilder::build_keyed`](crate::CircuitBreakerBuilder::build_keyed). All circuits have the
/// same settings. Use it for a client that calls many dependencies, so that a failing one doesn't cut off the others.
/// For one dependency use a [`CircuitBreakerLayer`](crate::CircuitBreakerLayer).
///
/// The number of circuits is bounded. To make room for a new key, the layer evicts circuits that aren't in use and
/// whose state no longer matters:
///
/// | a circuit that is | may be evicted once |
/// |---|---|
/// | closed | no failures or slow calls are counted, or the latest was ten waits ago |
/// | open | its wait ended ten waits ago, and nobody called since |
/// | half-open | its last probe's lease ended ten waits ago |
/// | isolated | never: an operator set it |
///
/// A wait here is the longest one configured, 60 s unless set. A call that needs room checks at most 256 slots, and the
/// next such call continues from there. If there is no room, calls with new keys pass without a circuit, and are
/// [counted](KeyedCircuitBreakerHandle::unguarded).
///
/// A circuit that counts failures in a row takes 64 bytes, plus a slot in a hash table that is between 7/16 and 7/8
/// full: the key, a pointer and a byte. With ten thousand keys of 8 bytes, that is 84 bytes per key beside the key
/// itself. A circuit that has opened takes some 150 bytes more, and one with a window takes that window. Finding a
/// circuit takes one hash of the key, and holds the lock of a sixteenth of the keys during the lookup.
///
/// The key is known only in `call`. So the service is always ready, and its future makes a clone of the inner service
/// ready.
///
/// Logs and metrics show the layer's name but no keys, because a key may contain a caller's data and there may be
/// millions of them. [`key_in_logs`](Self::key_in_logs) shows them in logs. There is no gauge of the state. [`KeyedCircuitBreakerHandle::list`] shows which circuits are open.
///
/// ```
/// use backstop_circuit_breaker::{CircuitBreakerLayer, CircuitState};
/// use http::{Request, Response, StatusCode};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let breaker = CircuitBreakerLayer::builder("hosts")
///     .consecutive_failures(1)
///     .build_keyed(10_000, |request: &Request<()>| request.uri().host().unwrap_or_default().to_owned())?;
/// let circuits = breaker.handle();
/// let client = breaker.layer(service_fn(|request: Request<()>| async move {
///     let mut response = Response::new(String::new());
///     if request.uri().host() == Some("down.example") {
///         *response.status_mut() = StatusCode::BAD_GATEWAY;
///     }
///     Ok::<_, std::io::Error>(response)
/// }));
///
/// client.clone().oneshot(Request::get("http://down.example/").body(())?).await?;
/// client.clone().oneshot(Request::get("http://up.example/").body(())?).await?;
/// let state = |host: &str| circuits.get(&host.to_owned()).map(|circuit| circuit.state());
/// assert_eq!(state("down.example"), Some(CircuitState::Open));
/// assert_eq!(state("up.example"), Some(CircuitState::Closed));
/// # Ok(())
/// # }
/// ```
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct KeyedCircuitBreakerLayer<K, F, P = Http> {
    pub(super) circuits: Arc<BreakerMap<K, P>>,
    pub(super) key: Arc<F>,
}

impl<K, F, P> KeyedCircuitBreakerLayer<K, F, P> {
    /// Shows the key of a circuit in its events, as `text` writes it, in the field `key`: cut to 256 bytes, with control
    /// characters escaped. Unless set, events show no key, and operators can't act on a circuit through an inventory.
    ///
    /// For keys without a caller's data, such as the hosts that you call. Each circuit then takes some 150 bytes more, and
    /// its text. Call it before the layer is used, and once: later calls change nothing.
    ///
    /// ```
    /// use backstop_circuit_breaker::CircuitBreakerLayer;
    /// use http::Request;
    ///
    /// let breaker = CircuitBreakerLayer::builder("hosts")
    ///     .build_keyed(1_000, |request: &Request<()>| request.uri().host().unwrap_or_default().to_owned())?
    ///     .key_in_logs(String::clone);
    /// # Ok::<(), backstop_circuit_breaker::ConfigError>(())
    /// ```
    pub fn key_in_logs(self, text: impl Fn(&K) -> String + Send + Sync + 'static) -> Self {
        self.circuits.show_keys(text);
        self
    }

    /// Shows and controls the circuits.
    #[must_use]
    pub fn handle(&self) -> KeyedCircuitBreakerHandle<K>
    where
        K: Send + 'static,
        P: Send + Sync + 'static,
    {
        KeyedCircuitBreakerHandle::new(Arc::clone(&self.circuits) as _)
    }
}

impl<K, F, P> Clone for KeyedCircuitBreakerLayer<K, F, P> {
    fn clone(&self) -> Self {
        Self { circuits: Arc::clone(&self.circuits), key: Arc::clone(&self.key) }
    }
}

impl<K, F, P> fmt::Debug for KeyedCircuitBreakerLayer<K, F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.circuits.debug(f.debug_struct("KeyedCircuitBreakerLayer"))
    }
}

impl<S, K, F, P> Layer<S> for KeyedCircuitBreakerLayer<K, F, P> {
    type Service = KeyedCircuitBreaker<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        KeyedCircuitBreaker::new(inner, self.clone())
    }
}

impl<P> CircuitBreakerBuilder<P> {
    /// A layer with a circuit for each key that `key` takes from a request, and at most `max_keys` of them: 1 to
    /// 16,777,216. See [`KeyedCircuitBreakerLayer`].
    ///
    /// # Errors
    /// As [`build`](Self::build), and for `max_keys` outside its range.
    pub fn build_keyed<Req, K, F>(self, max_keys: u32, key: F) -> Result<KeyedCircuitBreakerLayer<K, F, P>, ConfigError>
    where
        F: Fn(&Req) -> K,
    {
        let Self { config, error_text, protocol } = self;
        let (name, settings) = config.check()?;
        let max_keys = check_max_keys(max_keys)?;
        let circuits = BreakerMap::new(name, settings.keyed(), max_keys, error_text, protocol);
        Ok(KeyedCircuitBreakerLayer { circuits: Arc::new(circuits), key: Arc::new(key) })
    }
}
