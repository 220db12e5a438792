//! The stack that protects calls to another service.

use std::{borrow::Cow, sync::Arc};

use backstop_core::{ConfigError, Inspect, Name};
use backstop_kit::{HttpClient, http_client};
use tower_layer::{Identity, Layer};

use stack::{CurrentConfig, Stack};

use crate::{
    BulkheadLayer, CircuitBreakerLayer, PropagateDeadlineLayer, RetryLayer, TimeoutLayer, bulkhead::UntilHeaders,
};

mod builder;
mod config;
#[cfg(feature = "serde")]
mod file;
mod handle;
mod optional;
mod parts;
mod stack;
mod strategies;

pub use builder::{PartBuilders, StandardBuilder};
use config::CIRCUIT_BREAKER;
pub use config::StandardConfig;
pub use handle::StandardHandle;
pub use optional::{Optional, OptionalFuture, OptionalService};
pub use parts::Parts;

/// Builds the stack that protects calls to another service: its parts, from outside to inside, have one name.
///
/// | layer | by default |
/// |---|---|
/// | [`RetryLayer`] | 3 attempts within 60 s, if repeating is safe |
/// | [`CircuitBreakerLayer`] | opens for 60 s after 10 failures in a row, or when half of the last 100 calls failed: [`Preset::General`](crate::circuit_breaker::Preset::General) |
/// | [`BulkheadLayer`] | 100 attempts run, 100 more wait for 1 s; a response body may take 60 s, see [below](#who-reads-the-bodies) |
/// | [`TimeoutLayer`] | 1 s an attempt |
/// | [`PropagateDeadlineLayer`] | tells the other service of a gRPC call how much time is left |
/// | [`http_client`] | a refused connection, or a similar error, proves that a request wasn't processed |
///
/// This is the builder, which changes settings or leaves parts out. A bad name and contradictions between parts are errors of
/// `build`. [`Standard::new`] makes the layer with its defaults from a name that is checked at compile time, and can't fail.
///
/// ```
/// use std::time::Duration;
/// use backstop::standard;
///
/// let ml = standard("ml")
///     .timeout(Duration::from_millis(300))
///     .retry(|retry| retry.max_attempts(2).total(Duration::from_secs(2)))
///     .circuit_breaker(|circuit| circuit.failure_rate(0.5))
///     .without_bulkhead()
///     .build()?;
/// # let _ = ml;
/// # Ok::<(), backstop::ConfigError>(())
/// ```
///
/// Put it only around a client, which does nothing but send the request: see [`client`](crate::client). hyper-util's client
/// fits as it is, and reqwest's [by one line](crate#around-a-client). It compiles in axum's `Router::layer`, but a handler is
/// no client: choose single layers there, such as [`CircuitBreakerLayer`].
///
/// # Who reads the bodies
///
/// The bulkhead counts a call until its response body was read, for up to 60 s. That fits a service that reads its
/// dependency's responses itself. At an edge or in a proxy, the body is passed on to a client, which sets the pace: 100
/// clients that don't read block all others, which get 503s, until their 60 s have passed. In that case, for responses
/// that stream for longer, and for response bodies that can't be [aborted](backstop_kit::AbortBody), use
/// [`until_headers`](Standard::until_headers): a call then counts until its response head arrives. The server's own
/// limits on connections and time then bound slow readers.
///
/// ```
/// use backstop::{Standard, name};
/// use tower::ServiceBuilder;
/// # use {std::convert::Infallible, axum::{body::Body, http::{Request, Response}}, tower::{ServiceExt, service_fn}};
///
/// # #[cfg(feature = "axum")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let client = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
/// let ml_service = Standard::new(name!("ml_service"));
/// let handle = ml_service.handle();
/// let client = ServiceBuilder::new().layer(ml_service).service(client);
/// # client.oneshot(Request::new(Body::empty())).await.unwrap();
/// # let _ = handle;
/// # }
/// # #[cfg(not(feature = "axum"))]
/// # fn main() {}
/// ```
pub fn standard(name: impl Into<Cow<'static, str>>) -> StandardBuilder {
    StandardBuilder::new(name.into())
}

/// The stack that [`standard`] builds, as a layer. `P` are its [`Parts`].
///
/// Its parts' state belongs to the layer: all its clones and all services that it is applied to share it.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct Standard<P = Parts> {
    pub(crate) name: Name,
    pub(crate) parts: P,
    config: CurrentConfig,
    /// What the parts can't show by their own handle.
    last_known_good: Option<Arc<dyn Inspect>>,
}

/// The service that a [`Standard`] stack makes of a client `S`.
pub type StandardService<S, P = Parts> = <Standard<P> as Layer<S>>::Service;

impl Standard {
    /// All parts with their defaults.
    pub fn new(name: Name) -> Self {
        let config = StandardConfig::new(name.clone());
        let parts = Parts {
            retry: Optional(Some(RetryLayer::new(name.clone()))),
            circuit_breaker: Optional(Some(CircuitBreakerLayer::with_preset(name.clone(), CIRCUIT_BREAKER))),
            bulkhead: Optional(Some(BulkheadLayer::new(name.clone()))),
            timeout: Optional(Some(TimeoutLayer::new(name.clone()))),
            propagate_deadline: Optional(Some(PropagateDeadlineLayer::new(name.clone()))),
            last_known_good: Identity::new(),
        };
        Self::with(name, parts, config)
    }

    /// Builds a stack with other settings.
    pub fn builder(name: impl Into<Cow<'static, str>>) -> StandardBuilder {
        StandardBuilder::new(name.into())
    }

    /// The stack that `config` describes.
    ///
    /// # Errors
    /// As [`StandardBuilder::build`], and for a part with another name than the stack's.
    pub fn from_config(config: StandardConfig) -> Result<Self, ConfigError> {
        let name = Name::new(config.name.clone())?;
        let StandardConfig { name: _, retry, circuit_breaker, bulkhead, timeout, propagate_deadline } = config.clone();
        let parts = Parts {
            retry: part("retry", retry, RetryLayer::from_config)?,
            circuit_breaker: part("circuit_breaker", circuit_breaker, |config| {
                CircuitBreakerLayer::from_config(config.or_preset(CIRCUIT_BREAKER))
            })?,
            bulkhead: part("bulkhead", bulkhead, BulkheadLayer::from_config)?,
            timeout: part("timeout", timeout, TimeoutLayer::from_config)?,
            propagate_deadline: part("propagate_deadline", propagate_deadline, PropagateDeadlineLayer::from_config)?,
            last_known_good: Identity::new(),
        };
        config.check()?;
        Ok(Self::with(name, parts, config))
    }
}

impl<P> Standard<P> {
    fn with(name: Name, parts: P, config: StandardConfig) -> Self {
        Self { name, parts, config: CurrentConfig::new(config), last_known_good: None }
    }
}

/// Builds a part, unless it is left out. An error says which part it is.
fn part<C, L>(
    part: &str,
    config: Option<C>,
    build: impl FnOnce(C) -> Result<L, ConfigError>,
) -> Result<Optional<L>, ConfigError> {
    config.map(build).transpose().map(Optional).map_err(|error| error.inside(part))
}

/// A stack whose bulkhead counts calls until their heads.
type UntilHeadersStandard<R, C, Rej, T, D, K> =
    Standard<Parts<R, C, Optional<BulkheadLayer<Rej, UntilHeaders>>, T, D, K>>;

impl<R, C, Rej, U, T, D, K> Standard<Parts<R, C, Optional<BulkheadLayer<Rej, U>>, T, D, K>> {
    /// Makes the bulkhead count each call until its response head arrives, instead of until its body was read.
    ///
    /// For an edge or a proxy, where slow clients set the pace, and for streams: see
    /// [above](standard#who-reads-the-bodies).
    ///
    /// ```
    /// use backstop::{Standard, name};
    ///
    /// let upstream = Standard::new(name!("upstream")).until_headers();
    /// # let _ = upstream;
    /// ```
    pub fn until_headers(self) -> UntilHeadersStandard<R, C, Rej, T, D, K> {
        let Self { name, parts, config, last_known_good } = self;
        let parts = parts.map_bulkhead(|Optional(bulkhead)| Optional(bulkhead.map(BulkheadLayer::until_headers)));
        Standard { name, parts, config, last_known_good }
    }
}

#[cfg(feature = "last-known-good")]
impl<R, C, B, T, D> Standard<Parts<R, C, B, T, D>> {
    /// Stores good answers, outside all other parts, so that `layer`'s handle can serve them while the service is down.
    ///
    /// ```
    /// use backstop::{LastKnownGoodLayer, Provider, Standard, name};
    ///
    /// let layer = LastKnownGoodLayer::new(name!("prices"));
    /// let known = layer.handle();
    /// let prices = Standard::new(name!("prices")).last_known_good(layer);
    /// # let _ = (known, prices);
    /// ```
    pub fn last_known_good<St: crate::last_known_good::Store>(
        self,
        layer: crate::LastKnownGoodLayer<St>,
    ) -> Standard<Parts<R, C, B, T, D, crate::LastKnownGoodLayer<St>>>
    where
        crate::LastKnownGoodHandle<St>: Inspect + 'static,
    {
        let Self { name, parts, config, .. } = self;
        let last_known_good: Option<Arc<dyn Inspect>> = Some(Arc::new(layer.handle()));
        Standard { name, parts: parts.map_last_known_good(|_| layer), config, last_known_good }
    }
}

impl<R, C, Rej, U, T, D, K>
    Standard<
        Parts<
            Optional<RetryLayer<R>>,
            Optional<CircuitBreakerLayer<C>>,
            Optional<BulkheadLayer<Rej, U>>,
            Optional<TimeoutLayer<T>>,
            Optional<PropagateDeadlineLayer<D>>,
            K,
        >,
    >
{
    /// The handles of all parts.
    #[must_use]
    pub fn handle(&self) -> StandardHandle {
        let Parts { retry, circuit_breaker, bulkhead, timeout, propagate_deadline, .. } = &self.parts;
        let stack = Stack {
            config: self.config.clone(),
            retry: retry.get_ref().map(RetryLayer::handle),
            circuit_breaker: circuit_breaker.get_ref().map(CircuitBreakerLayer::handle),
            bulkhead: bulkhead.get_ref().map(BulkheadLayer::handle),
            timeout: timeout.get_ref().map(TimeoutLayer::handle),
            propagate_deadline: propagate_deadline.get_ref().map(PropagateDeadlineLayer::handle),
        };
        StandardHandle::new(self.name.clone(), stack, self.last_known_good.clone())
    }
}

impl<S, R, C, B, T, D, K> Layer<S> for Standard<Parts<R, C, B, T, D, K>>
where
    D: Layer<HttpClient<S>>,
    T: Layer<D::Service>,
    B: Layer<T::Service>,
    C: Layer<B::Service>,
    R: Layer<C::Service>,
    K: Layer<R::Service>,
{
    type Service = K::Service;

    fn layer(&self, inner: S) -> Self::Service {
        let Parts { retry, circuit_breaker, bulkhead, timeout, propagate_deadline, last_known_good } = &self.parts;
        let attempt = timeout.layer(propagate_deadline.layer(http_client(inner)));
        last_known_good.layer(retry.layer(circuit_breaker.layer(bulkhead.layer(attempt))))
    }
}

/// Leaves out the parts, which may hold closures.
impl<P> std::fmt::Debug for Standard<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standard").field("name", &self.name).finish_non_exhaustive()
    }
}
