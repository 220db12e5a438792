//! The service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use backstop_kit::proof::PassThrough;
use http::Response;
use tower_service::Service;

use super::{future::PropagateDegradationFuture, upstream::Upstream};

/// The service that [`PropagateDegradationLayer`](crate::PropagateDegradationLayer) makes.
#[derive(Clone, Debug)]
pub struct PropagateDegradation<S> {
    inner: S,
    upstream: Arc<Upstream>,
}

impl<S> PropagateDegradation<S> {
    pub(super) const fn new(inner: S, upstream: Arc<Upstream>) -> Self {
        Self { inner, upstream }
    }

    backstop_kit::define_inner_service_accessors!();
}

impl<S, Req, B> Service<Req> for PropagateDegradation<S>
where
    S: Service<Req, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = PropagateDegradationFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let call = {
            let _pass = PassThrough::begin();
            self.inner.call(request)
        };
        PropagateDegradationFuture::new(call, Arc::clone(&self.upstream))
    }
}
