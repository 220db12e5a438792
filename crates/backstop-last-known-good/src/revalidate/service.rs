//! The service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use backstop_kit::{RequestFacts, WrapBody, has_content};
use http::{
    HeaderMap, Method, Request, Response,
    header::{CACHE_CONTROL, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, PRAGMA, RANGE},
};
use http_body::Body;
use tower_service::Service;

use super::{future::StaleWhileRevalidateFuture, layer_state::LayerState};
use crate::{MokaStore, Store, telemetry};

/// The service that [`StaleWhileRevalidateLayer`](crate::StaleWhileRevalidateLayer) makes.
///
/// It is always ready. It waits for the inner service only before a call, so stored answers are served even while that isn't
/// ready.
pub struct StaleWhileRevalidate<S, St = MokaStore> {
    inner: S,
    shared: Arc<LayerState<St>>,
}

impl<S, St> StaleWhileRevalidate<S, St> {
    pub(super) const fn new(inner: S, shared: Arc<LayerState<St>>) -> Self {
        Self { inner, shared }
    }

    backstop_kit::define_inner_service_accessors!();
}

impl<S, St, ReqBody, ResBody> Service<Request<ReqBody>> for StaleWhileRevalidate<S, St>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>, Future: Send, Error: Send> + Clone + Send + 'static,
    St: Store,
    ReqBody: Body + Send + 'static,
    ResBody: WrapBody,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = StaleWhileRevalidateFuture<S, ReqBody, ResBody>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let inner = self.inner.clone();
        if may_use_stored(&request) {
            if RequestFacts::of(&request).is_upgrade() {
                telemetry::bypassed(self.shared.known.name());
            } else if !has_content(&mut request) {
                return StaleWhileRevalidateFuture::finding(inner, request, Arc::clone(&self.shared));
            }
        }
        StaleWhileRevalidateFuture::calling(inner, request)
    }
}

/// Whether a request's method and fields allow a stored answer.
fn may_use_stored<B>(request: &Request<B>) -> bool {
    const PREFERENCES: [http::HeaderName; 8] =
        [CACHE_CONTROL, PRAGMA, RANGE, IF_RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];
    let has_preference = |headers: &HeaderMap| PREFERENCES.iter().any(|name| headers.contains_key(name));
    *request.method() == Method::GET && !has_preference(request.headers())
}

impl<S: Clone, St> Clone for StaleWhileRevalidate<S, St> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.shared))
    }
}

impl<S: fmt::Debug, St> fmt::Debug for StaleWhileRevalidate<S, St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("StaleWhileRevalidate");
        f.field("inner", &self.inner);
        self.shared.debug(f)
    }
}
