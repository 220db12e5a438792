//! The layer at the edge that makes a request see one state of each feature.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use backstop_kit::proof::PassThrough;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::request_states::{self, RequestStates};

/// Keeps the first state of each feature that a request sees for the rest of it, so that a page doesn't show half of a feature.
///
/// Put it at the edge, outside of everything that asks for features. It allocates nothing for up to 6 features. It covers what
/// runs in the request's own task: not a spawned task, and not a body that is streamed later.
///
/// ```
/// use axum::{Router, routing::get};
/// use backstop_features::{Feature, FeatureScopeLayer, Features, feature};
///
/// static REVIEWS: Feature = feature!("reviews");
///
/// let features = Features::builder().declare(REVIEWS.standard()).build()?;
/// let app: Router = Router::new()
///     .route("/", get(move || async move { if features.is_enabled(&REVIEWS) { "all" } else { "less" } }))
///     .layer(FeatureScopeLayer::new());
/// # Ok::<(), backstop_features::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "a layer does nothing until it is applied to a service"]
#[non_exhaustive]
pub struct FeatureScopeLayer;

impl FeatureScopeLayer {
    /// The layer.
    pub const fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for FeatureScopeLayer {
    type Service = FeatureScope<S>;

    fn layer(&self, inner: S) -> FeatureScope<S> {
        FeatureScope { inner }
    }
}

/// The service that [`FeatureScopeLayer`] makes.
#[derive(Clone, Copy, Debug)]
pub struct FeatureScope<S> {
    inner: S,
}

impl<S> FeatureScope<S> {
    backstop_kit::define_inner_service_accessors!();
}

impl<S: Service<Req>, Req> Service<Req> for FeatureScope<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = FeatureScopeFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let mut states = RequestStates::new();
        let inner = {
            let _guards = (PassThrough::begin(), request_states::enter(&mut states));
            self.inner.call(request)
        };
        FeatureScopeFuture { inner, states }
    }
}

pin_project! {
    /// A future that sees one state of each feature: of [`FeatureScope`], or by [`InFeatureScope`].
    ///
    /// # Cancellation
    /// Dropping it drops the inner future.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct FeatureScopeFuture<F> {
        #[pin]
        inner: F,
        states: RequestStates,
    }
}

impl<F: Future> Future for FeatureScopeFuture<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = request_states::enter(this.states);
        this.inner.poll(cx)
    }
}

/// Lets a future that isn't a request's, such as a job, see one state of each feature.
pub trait InFeatureScope: Future + Sized {
    /// Runs this future with states of its own, unless it is within a future that has them already.
    fn in_feature_scope(self) -> FeatureScopeFuture<Self> {
        FeatureScopeFuture { inner: self, states: RequestStates::new() }
    }
}

impl<F: Future> InFeatureScope for F {}
