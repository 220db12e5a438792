//! The service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use backstop_kit::{WrapBody, proof};
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{LastKnownGoodFuture, MokaStore, Store, exchange::Exchange, layer_state::LayerState};

/// The service that [`LastKnownGoodLayer`](crate::LastKnownGoodLayer) makes.
pub struct LastKnownGood<S, St = MokaStore> {
    inner: S,
    shared: Arc<LayerState<St>>,
}

impl<S, St> LastKnownGood<S, St> {
    pub(crate) const fn new(inner: S, shared: Arc<LayerState<St>>) -> Self {
        Self { inner, shared }
    }

    backstop_kit::define_inner_service_accessors!();
}

impl<S, St, ReqBody, ResBody> Service<Request<ReqBody>> for LastKnownGood<S, St>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    St: Store,
    ReqBody: Body + 'static,
    ResBody: WrapBody,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = LastKnownGoodFuture<S::Future, St>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (exchange, request) = Exchange::of(request, &self.shared);
        let call = || proof::pass_through(|| self.inner.call(request));
        match exchange {
            None => LastKnownGoodFuture::bypass(call()),
            Some(exchange) => LastKnownGoodFuture::observe(call, exchange, Arc::clone(&self.shared)),
        }
    }
}

impl<S: Clone, St> Clone for LastKnownGood<S, St> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.shared))
    }
}

impl<S: fmt::Debug, St> fmt::Debug for LastKnownGood<S, St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("LastKnownGood");
        f.field("inner", &self.inner);
        self.shared.debug(f)
    }
}
