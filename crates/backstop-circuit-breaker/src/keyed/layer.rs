//! The layer.

use std::{fmt, sync::Arc};

use backstop_core::ConfigError;
use backstop_kit::Http;
use tower_layer::Layer;

use super::{KeyedCircuitBreaker, KeyedCircuitBreakerHandle, breaker_map::BreakerMap};
use crate::{CircuitBreakerBuilder, config::check_max_keys};

/// One circuit for each key (a host, a tenant, a gRPC method), which a closure takes from the request.
///
/// Made by [`CircuitBreakerBuilder::build_keyed`](crate::CircuitBreakerBuilder::build_keyed). All circuits have the same
/// settings. Use it for a client that calls many dependencies, so that one that fails doesn't cut off the others. For one
/// dependency use a [`CircuitBreakerLayer`](crate::CircuitBreakerLayer).
///
/// The number of circuits is bounded. To make room for a new key, circuits are dropped that aren't in use and hold nothing
/// worth keeping:
///
/// | a circuit that is | makes room once |
/// |---|---|
/// | closed | nothing is counted against its dependency, or the latest failure or slow call was ten waits ago |
/// | open | its wait ended ten waits ago, and nobody called since |
/// | half-open | its last probe's lease ended ten waits ago |
/// | isolated | never: an operator said so |
///
/// A wait here is the longest one configured, 60 s unless set. A call that needs room looks at 256 places at most, and the
/// next one goes on from there. Without room, calls with new keys pass without a circuit, and are
/// [counted](KeyedCircuitBreakerHandle::unguarded).
///
/// A circuit that counts failures in a row takes 64 bytes, and a place in a table that is full to between 7/16 and 7/8: the key,
/// a pointer and a byte. So ten thousand keys of 8 bytes take 84 each beside themselves. One that has opened takes some
/// 150 more, and one with a window that window. To find a circuit takes one hash of the key and a lock, of a sixteenth
/// of the keys, that is held for so long.
///
/// The key is known only in `call`. So the service is always ready, and its future makes a clone of the inner service
/// ready.
///
/// Logs and metrics name the layer and no key, since a key may hold a caller's data and there may be millions; there is no
/// gauge of the state. [`KeyedCircuitBreakerHandle::list`] says which circuits are open.
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
    /// Shows and controls the circuits.
    #[must_use]
    pub fn handle(&self) -> KeyedCircuitBreakerHandle<K, P> {
        KeyedCircuitBreakerHandle::new(Arc::clone(&self.circuits))
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
