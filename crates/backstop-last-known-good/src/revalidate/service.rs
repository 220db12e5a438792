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

use super::{Shared, StaleWhileRevalidateFuture};
use crate::{MokaStore, Store, telemetry};

/// The service that [`StaleWhileRevalidateLayer`](crate::StaleWhileRevalidateLayer) makes.
///
/// It is always ready, and makes the inner service ready where it needs it: what is stored is served though that isn't.
pub struct StaleWhileRevalidate<S, St = MokaStore> {
    inner: S,
    shared: Arc<Shared<St>>,
}

impl<S, St> StaleWhileRevalidate<S, St> {
    pub(super) const fn new(inner: S, shared: Arc<Shared<St>>) -> Self {
        Self { inner, shared }
    }

    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
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
        if asks_for_nothing_else(&request) {
            if RequestFacts::of(&request).is_upgrade() {
                telemetry::passed_by(self.shared.known.name());
            } else if !has_content(&mut request) {
                return StaleWhileRevalidateFuture::looking(inner, request, Arc::clone(&self.shared));
            }
        }
        StaleWhileRevalidateFuture::calling(inner, request)
    }
}

/// Whether a request leaves it to us where its answer comes from, by its method and fields.
fn asks_for_nothing_else<B>(request: &Request<B>) -> bool {
    const OPINIONS: [http::HeaderName; 8] =
        [CACHE_CONTROL, PRAGMA, RANGE, IF_RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];
    let has_opinion = |headers: &HeaderMap| OPINIONS.iter().any(|name| headers.contains_key(name));
    *request.method() == Method::GET && !has_opinion(request.headers())
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
