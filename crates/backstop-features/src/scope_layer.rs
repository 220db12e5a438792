//! The layer at the edge that makes a request see one state of each feature.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use backstop_kit::proof::PassThrough;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::first_looks::{self, FirstLooks};

/// Keeps the first look at each feature for the rest of a request, so that a page doesn't show half of a feature.
///
/// Put it at the edge, outside of everything that looks at features. It allocates nothing for up to 6 features. It covers what
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
        let mut looks = FirstLooks::new();
        let inner = {
            let _guards = (PassThrough::begin(), first_looks::enter(&mut looks));
            self.inner.call(request)
        };
        FeatureScopeFuture { inner, looks }
    }
}

pin_project! {
    /// A future within which the first look at each feature is kept: of [`FeatureScope`], or by [`KeepFirstLooks`].
    ///
    /// # Cancellation
    /// Dropping it drops the inner future.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct FeatureScopeFuture<F> {
        #[pin]
        inner: F,
        looks: FirstLooks,
    }
}

impl<F: Future> Future for FeatureScopeFuture<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        first_looks::with(this.looks, || this.inner.poll(cx))
    }
}

/// Keeps the first look at each feature in a future that isn't a request's, such as a job.
pub trait KeepFirstLooks: Future + Sized {
    /// Runs this future with looks of its own, unless it is within a future that has them already.
    fn keep_first_looks(self) -> FeatureScopeFuture<Self> {
        FeatureScopeFuture { inner: self, looks: FirstLooks::new() }
    }
}

impl<F: Future> KeepFirstLooks for F {}
