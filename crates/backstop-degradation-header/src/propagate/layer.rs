//! The layer.

use std::sync::Arc;

use tower_layer::Layer;

use super::{PropagateDegradation, upstream::Upstream};

/// Reports what a trusted upstream service says about its own answer, so that this service's answer says it too.
///
/// An upstream that has degradation headers of its own may answer from a cache while this service works as usual. This
/// layer, around a client of that upstream, reads its `X-Fallback-Source`, `X-Data-Freshness` and `Age`, and reports
/// them in the [scope](backstop_core::scope) of the request. The [`DegradationHeaderLayer`](crate::DegradationHeaderLayer)
/// at this service's edge then writes `X-Fallback-Source: ml_service/cached`. gRPC metadata works the same way.
///
/// # When not to use it
///
/// For an upstream that you don't trust: it could label your answers, and so keep them out of caches.
///
/// # Example
///
/// ```
/// use std::convert::Infallible;
///
/// use backstop_degradation_header::{DegradationHeaderLayer, PropagateDegradationLayer, name};
/// use http::{Request, Response};
/// use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A client, whose upstream has answered from its cache.
/// let client = PropagateDegradationLayer::new(name!("ml_service")).layer(service_fn(|_: Request<()>| async {
///     let labelled = Response::builder().header("x-fallback-source", "cached").header("x-data-freshness", "stale");
///     labelled.header("age", "40").body("[1,2,3]")
/// }));
/// // A handler that uses it.
/// let app = ServiceBuilder::new().layer(DegradationHeaderLayer::new()).service(service_fn(move |_: Request<()>| {
///     let client = client.clone();
///     async move { Ok::<_, http::Error>(Response::new(client.oneshot(Request::new(())).await?.into_body())) }
/// }));
///
/// let response = app.oneshot(Request::new(())).await?;
/// assert_eq!(response.headers()["x-fallback-source"], "ml_service/cached");
/// assert_eq!(response.headers()["x-data-freshness"], "stale");
/// assert_eq!(response.headers()["age"], "40");
/// # Ok(())
/// # }
/// ```
///
/// # Semantics
///
/// | the upstream's headers | reported |
/// |---|---|
/// | none, or `X-Data-Freshness: fresh` alone | nothing |
/// | sources and a freshness | each source, as `ml_service/cached`, with that freshness |
/// | a freshness alone: `stale` or `degraded` | `ml_service`, with that freshness |
/// | sources without a freshness, an unknown freshness, or headers that don't parse | as `degraded` |
///
/// - `stale` has the age of its parameter `age` or of `Age`, whichever is greater. Without either, its age is unknown.
/// - At most 8 sources of together 256 bytes are reported, each once. Sources that aren't [names](crate::Name) are left out.
///   The freshness counts anyway.
/// - A path has at most [three names](backstop_core::Degradation::MAX_PATH).
/// - The chain of the report is the upstream's name, its position 1, its reason
///   [`upstream-degraded`](crate::UPSTREAM_DEGRADED).
/// - The labels in the response are rewritten in the same way, so a proxy that passes the response on names each source once.
/// - A response that a layer of this process has labelled stays as it is: its degradations are in the scope already.
///
/// # Where
///
/// Anywhere around the client, inside of the fallback. If the upstream's answer isn't used, because a retry or another
/// provider replaced it, then its report isn't used either. A client that is called in a spawned task needs the
/// [scope's handle](backstop_core::scope::handle).
///
/// # Cancellation
///
/// Dropping the future drops the call.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct PropagateDegradationLayer {
    upstream: Arc<Upstream>,
}

impl PropagateDegradationLayer {
    pub(crate) fn with(upstream: Upstream) -> Self {
        Self { upstream: Arc::new(upstream) }
    }
}

impl<S> Layer<S> for PropagateDegradationLayer {
    type Service = PropagateDegradation<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PropagateDegradation::new(inner, Arc::clone(&self.upstream))
    }
}
