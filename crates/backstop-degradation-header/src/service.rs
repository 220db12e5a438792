//! The service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use backstop_core::Scope;
use backstop_kit::proof::PassThrough;
use http::Response;
use tower_service::Service;

use crate::{DegradationHeaderFuture, layer_state::LayerState};

/// The service that [`DegradationHeaderLayer`](crate::DegradationHeaderLayer) makes.
#[derive(Clone, Debug)]
pub struct DegradationHeader<S> {
    inner: S,
    state: Arc<LayerState>,
}

impl<S> DegradationHeader<S> {
    pub(crate) const fn new(inner: S, state: Arc<LayerState>) -> Self {
        Self { inner, state }
    }

    backstop_kit::define_inner_service_accessors!();
}

impl<S, Req, B> Service<Req> for DegradationHeader<S>
where
    S: Service<Req, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = DegradationHeaderFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let mut scope = Scope::new();
        let inner = {
            let _guards = (PassThrough::begin(), scope.entered_as_reader());
            self.inner.call(request)
        };
        DegradationHeaderFuture::new(inner, scope, Arc::clone(&self.state))
    }
}
