//! Serving what is a little stale at once, and fetching it anew in the background (RFC 5861 §3).

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use backstop_core::ConfigError;
use tower_layer::Layer;

use crate::{LastKnownGoodHandle, MokaStore};

mod flights;
mod future;
mod service;

use flights::Flights;
pub use future::StaleWhileRevalidateFuture;
pub use service::StaleWhileRevalidate;

const DEFAULT_REFRESH_TIMEOUT: Duration = Duration::from_secs(30);
const SHORTEST_REFRESH_TIMEOUT: Duration = Duration::from_millis(1);
const LONGEST_REFRESH_TIMEOUT: Duration = Duration::from_secs(60 * 60);
const DEFAULT_MAX_REFRESHES: usize = 100;
const MOST_REFRESHES: usize = 1_000_000;

/// Answers from what is stored, where the answer itself allows that by `stale-while-revalidate`, and refreshes it on your
/// executor.
///
/// Put it directly around a [`LastKnownGoodLayer`](crate::LastKnownGoodLayer), whose handle it is given. Other than that
/// layer alone, it answers while the service is well: so it is for services whose latency matters more than that
/// every answer is the newest.
///
/// | what is stored for a request | the answer | refreshed |
/// |---|---|---|
/// | one with `stale-while-revalidate`, still fresh (RFC 9111 §4.2) | that one | no |
/// | one with `stale-while-revalidate=s`, stale for less than `s` seconds (RFC 5861 §3) | that one, reported as stale | yes |
/// | one with `must-revalidate`, or a shared one with `proxy-revalidate` or `s-maxage`, fresh or not | the service's | – |
/// | any other, or none | the service's | – |
///
/// `s-maxage` forbids that what is shared is stale, as `must-revalidate` does for all (RFC 9111 §5.2.2.2, §5.2.2.10), so
/// that a `stale-while-revalidate` beside them has no meaning. Say `max-age=60, stale-while-revalidate=600`.
///
/// So is any request answered by the service that isn't a `GET` without a body, has a `Range`, a condition (`If-…`), or an
/// opinion on caches (`Cache-Control`, `Pragma`), or is an [upgrade](backstop_kit::RequestFacts::is_upgrade). A stale answer is a [degradation](backstop_core::Degradation), with the
/// reason `revalidating`, that names the layer: `backstop-degradation-header` labels it.
///
/// Of each stored answer one refresh runs at a time: the request itself, sent to the service, its answer read to the end, so
/// that the layer inside stores it. A refresh that fails changes nothing; the next request tries again. It ends after
/// [`refresh_timeout`](StaleWhileRevalidateBuilder::refresh_timeout), and doesn't know the request's deadline.
///
/// ```
/// use std::convert::Infallible;
///
/// use axum::body::Body;
/// use backstop_last_known_good::{LastKnownGoodLayer, StaleWhileRevalidateLayer, name};
/// use http::{Request, Response};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Infallible> {
/// let known = LastKnownGoodLayer::new(name!("prices"));
/// let refreshing = StaleWhileRevalidateLayer::new(known.handle(), |refresh| drop(tokio::spawn(refresh)));
/// let prices = ServiceBuilder::new().layer(refreshing).layer(known).service(service_fn(|_: Request<Body>| async {
///     let answer = Response::builder().header("cache-control", "max-age=60, stale-while-revalidate=600");
///     Ok::<_, Infallible>(answer.body(Body::from("9.99")).unwrap())
/// }));
/// # prices.oneshot(Request::new(Body::empty())).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Cancellation
/// Dropping the response future drops the look-up or the call. A refresh that runs goes on. One that your executor drops,
/// also before it ran, leaves nothing behind.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct StaleWhileRevalidateLayer<St = MokaStore> {
    shared: Arc<Shared<St>>,
}

/// A refresh, to be run on your executor.
pub type Refresh = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What all services of a layer share.
struct Shared<St> {
    known: LastKnownGoodHandle<St>,
    execute: Execute,
    flights: Flights,
    refresh_timeout: Duration,
}

type Execute = Arc<dyn Fn(Refresh) + Send + Sync>;

impl<St> StaleWhileRevalidateLayer<St> {
    /// Answers from what `known` has, and runs refreshes by `execute`, which must return at once: it spawns. Up to 100
    /// refreshes run at a time, each for at most 30 s.
    pub fn new(known: LastKnownGoodHandle<St>, execute: impl Fn(Refresh) + Send + Sync + 'static) -> Self {
        Self::builder(known, execute).layer()
    }

    /// Builds a layer with other settings.
    pub fn builder(
        known: LastKnownGoodHandle<St>,
        execute: impl Fn(Refresh) + Send + Sync + 'static,
    ) -> StaleWhileRevalidateBuilder<St> {
        StaleWhileRevalidateBuilder {
            known,
            execute: Arc::new(execute),
            refresh_timeout: DEFAULT_REFRESH_TIMEOUT,
            max_refreshes: DEFAULT_MAX_REFRESHES,
        }
    }
}

/// Builds a [`StaleWhileRevalidateLayer`]: see [`StaleWhileRevalidateLayer::builder`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct StaleWhileRevalidateBuilder<St = MokaStore> {
    known: LastKnownGoodHandle<St>,
    execute: Execute,
    refresh_timeout: Duration,
    max_refreshes: usize,
}

impl<St> StaleWhileRevalidateBuilder<St> {
    /// The longest time that a refresh may take, its body included: 1 ms to 1 h, 30 s unless set.
    pub fn refresh_timeout(mut self, timeout: Duration) -> Self {
        self.refresh_timeout = timeout;
        self
    }

    /// The most refreshes that run at a time: 1 to 1,000,000, 100 unless set. Beyond that, what is stale is served without
    /// one.
    pub fn max_refreshes(mut self, refreshes: usize) -> Self {
        self.max_refreshes = refreshes;
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// [`ConfigError`] for each field that isn't within what it allows.
    pub fn build(self) -> Result<StaleWhileRevalidateLayer<St>, ConfigError> {
        if !(SHORTEST_REFRESH_TIMEOUT..=LONGEST_REFRESH_TIMEOUT).contains(&self.refresh_timeout) {
            return Err(ConfigError::new("refresh_timeout", format!("{:?}", self.refresh_timeout), "1 ms to 1 h"));
        }
        if !(1..=MOST_REFRESHES).contains(&self.max_refreshes) {
            return Err(ConfigError::new("max_refreshes", self.max_refreshes.to_string(), "1 to 1000000"));
        }
        Ok(self.layer())
    }

    fn layer(self) -> StaleWhileRevalidateLayer<St> {
        let Self { known, execute, refresh_timeout, max_refreshes } = self;
        let flights = Flights::at_most(max_refreshes);
        StaleWhileRevalidateLayer { shared: Arc::new(Shared { known, execute, flights, refresh_timeout }) }
    }
}

impl<St> Clone for StaleWhileRevalidateLayer<St> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<St> fmt::Debug for StaleWhileRevalidateLayer<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug(f.debug_struct("StaleWhileRevalidateLayer"))
    }
}

impl<St> fmt::Debug for StaleWhileRevalidateBuilder<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaleWhileRevalidateBuilder")
            .field("refresh_timeout", &self.refresh_timeout)
            .field("max_refreshes", &self.max_refreshes)
            .finish_non_exhaustive()
    }
}

impl<St> Shared<St> {
    fn debug(&self, mut f: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("known", &self.known).field("refresh_timeout", &self.refresh_timeout).finish_non_exhaustive()
    }
}

impl<S, St> Layer<S> for StaleWhileRevalidateLayer<St> {
    type Service = StaleWhileRevalidate<S, St>;

    fn layer(&self, inner: S) -> Self::Service {
        StaleWhileRevalidate::new(inner, Arc::clone(&self.shared))
    }
}
