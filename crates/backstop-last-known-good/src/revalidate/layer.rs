//! The layer.

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use super::{handle::StaleWhileRevalidateHandle, layer_state::LayerState, service::StaleWhileRevalidate};
use crate::{MokaStore, Store};

/// Serves stored answers that allow it by `stale-while-revalidate`, and refreshes them on your executor.
///
/// Put it directly around a [`LastKnownGoodLayer`](crate::LastKnownGoodLayer), and give it that layer's handle. It serves
/// stored answers while the service works, unlike that layer alone. Use it if latency matters more than the newest answer.
///
/// | stored answer | response | refresh |
/// |---|---|---|
/// | with `stale-while-revalidate`, still fresh (RFC 9111 §4.2) | the stored answer | no |
/// | with `stale-while-revalidate=s`, stale for less than `s` seconds (RFC 5861 §3) | the stored answer, reported as stale | yes |
/// | with `must-revalidate`, or shared with `proxy-revalidate` or `s-maxage`, fresh or not | from the service | – |
/// | any other, or none | from the service | – |
///
/// `s-maxage` forbids serving a shared answer stale, and `must-revalidate` forbids it for all (RFC 9111 §5.2.2.2, §5.2.2.10). A
/// `stale-while-revalidate` next to them has no effect. Send `max-age=60, stale-while-revalidate=600`.
///
/// The service also answers any request that isn't a `GET` without a body, that has `Range`, a condition (`If-…`),
/// `Cache-Control` or `Pragma`, or that is an [upgrade](backstop_kit::RequestFacts::is_upgrade).
///
/// A stale answer is reported as a [degradation](backstop_core::Degradation) with the reason `revalidating` and the layer's
/// name, so `backstop-degradation-header` labels it.
///
/// A refresh sends the request to the service and reads the response to its end, so that the layer inside stores it. Each
/// stored answer has at most one refresh at a time. A refresh that fails changes nothing, and the next request tries again. A
/// refresh ends after [`refresh_timeout`](crate::StaleWhileRevalidateBuilder::refresh_timeout); the request's deadline doesn't
/// apply to it.
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
/// Dropping the response future drops the lookup or the call. A running refresh continues. Your executor may drop a refresh at
/// any time, also before it runs.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct StaleWhileRevalidateLayer<St = MokaStore> {
    shared: Arc<LayerState<St>>,
}

impl<St> StaleWhileRevalidateLayer<St> {
    pub(super) fn with(shared: LayerState<St>) -> Self {
        Self { shared: Arc::new(shared) }
    }
}

impl<St: Store> StaleWhileRevalidateLayer<St> {
    /// Shows and reloads the layer's settings.
    #[must_use]
    pub fn handle(&self) -> StaleWhileRevalidateHandle {
        StaleWhileRevalidateHandle::new(self.shared.known.name().clone(), Arc::clone(&self.shared.settings))
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

impl<S, St> Layer<S> for StaleWhileRevalidateLayer<St> {
    type Service = StaleWhileRevalidate<S, St>;

    fn layer(&self, inner: S) -> Self::Service {
        StaleWhileRevalidate::new(inner, Arc::clone(&self.shared))
    }
}
