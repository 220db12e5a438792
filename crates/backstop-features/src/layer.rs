//! The layer around what makes a feature.

use std::{fmt, sync::Arc};

use backstop_core::{ClassifyFn, ErrorRef, Outcome, Rejection};
use backstop_kit::{Http, Plain, ProblemDetails, Protocol, RejectAsError, RejectWith, Strategies, WithClassifier};
use tower_layer::Layer;

use crate::{FeatureGate, FeatureService};

/// Calls a service while its feature is enabled, and refuses otherwise. Put it around a chain's primary or a provider.
///
/// | the feature is | a call |
/// |---|---|
/// | enabled | is made, and counted by the classifier: failures may degrade the feature |
/// | degraded | is refused: [`feature-degraded`](crate::FEATURE_DEGRADED), 503, neutral, unprocessed |
/// | disabled | is refused: [`feature-disabled`](crate::FEATURE_DISABLED), in the same way |
///
/// A refused call never reaches the service, and a fallback chain further out asks its next provider. Refusals of other layers
/// further in, such as an open circuit, count as nothing. A call that is dropped counts as nothing either, unless one of our own
/// time limits has ended it, or it panicked: then it is an error.
///
/// While the level, a component or errors keep the feature off, one call in about 10 s is made as a probe.
///
/// ```
/// use std::convert::Infallible;
///
/// use axum::body::Body;
/// use backstop_features::{Feature, FeatureLayer, Features, FlagChange, feature};
/// use http::{Request, Response, StatusCode};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// static REVIEWS: Feature = feature!("reviews");
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let features = Features::builder().declare(REVIEWS.standard()).build()?;
/// let reviews = FeatureLayer::new(features.gate(&REVIEWS)?)
///     .layer(service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::from("…"))) }));
///
/// features.handle().set(&REVIEWS, FlagChange::disable("ada", "too slow")).await?;
/// let refused = reviews.oneshot(Request::new(Body::empty())).await?;
/// assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
/// # Ok(())
/// # }
/// ```
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct FeatureLayer<P = Http> {
    pub(crate) state: Arc<LayerState<P>>,
}

/// What all services of a layer share. Aligned, so that the reference count, which every call changes, is in another cache
/// line.
#[repr(align(64))]
pub(crate) struct LayerState<P> {
    pub(crate) gate: FeatureGate,
    pub(crate) protocol: P,
}

impl<P> FeatureLayer<P> {
    /// The feature, to show it and to count calls that are made elsewhere.
    #[must_use]
    pub fn handle(&self) -> FeatureGate {
        self.state.gate.clone()
    }
}

impl FeatureLayer {
    /// For HTTP and gRPC: judged by [`HttpClassify`](backstop_core::HttpClassify), refused with a 503.
    pub fn new(feature: FeatureGate) -> Self {
        Self::builder(feature).build()
    }

    /// Builds a layer with another classifier, or other refusals.
    pub fn builder(feature: FeatureGate) -> FeatureLayerBuilder {
        FeatureLayerBuilder { gate: feature, protocol: Http::default() }
    }
}

/// Builds a [`FeatureLayer`]: see [`FeatureLayer::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct FeatureLayerBuilder<P = Http> {
    gate: FeatureGate,
    protocol: P,
}

/// A builder with another classifier.
type Judged<J, C, R, U, K, A> = FeatureLayerBuilder<Strategies<<J as WithClassifier>::With<C>, R, U, K, A>>;

impl<P> FeatureLayerBuilder<P> {
    /// For functions and other services: each `Ok` is a success, and a refusal is an error that implements `From<Rejection>`.
    pub fn plain(self) -> FeatureLayerBuilder<Plain> {
        FeatureLayerBuilder { gate: self.gate, protocol: Plain::default() }
    }

    /// The layer.
    pub fn build(self) -> FeatureLayer<P> {
        FeatureLayer { state: Arc::new(LayerState { gate: self.gate, protocol: self.protocol }) }
    }
}

impl<J, R, U, K, A> FeatureLayerBuilder<Strategies<J, R, U, K, A>> {
    /// Judges results with `classify`. [`HttpClassify`](backstop_core::HttpClassify) unless set.
    pub fn classify<C>(self, classify: C) -> Judged<J, C, R, U, K, A>
    where
        J: WithClassifier,
    {
        FeatureLayerBuilder { gate: self.gate, protocol: self.protocol.with_judge(J::with_classifier(classify)) }
    }

    /// Judges results with a closure.
    pub fn classify_fn<Res, F>(self, judge: F) -> Judged<J, ClassifyFn<F>, R, U, K, A>
    where
        J: WithClassifier,
        F: Fn(Result<&Res, ErrorRef<'_>>) -> Outcome,
    {
        self.classify(ClassifyFn::new(judge))
    }

    /// Rejects with a response whose body says why (RFC 9457), see [`ProblemDetails`]. Unless set, it has no body.
    pub fn problem_details(self) -> FeatureLayerBuilder<Strategies<J, ProblemDetails, U, K, A>> {
        self.with_reject(ProblemDetails::new())
    }

    /// Rejects with the service's error, which must implement `From<Rejection>`, as `BoxError` does.
    pub fn reject_as_error(self) -> FeatureLayerBuilder<Strategies<J, RejectAsError, U, K, A>> {
        self.with_reject(RejectAsError::new())
    }

    /// Rejects with what `make` returns: a `Result` with the service's own types.
    pub fn reject_with<Res, E, F>(self, make: F) -> FeatureLayerBuilder<Strategies<J, RejectWith<F>, U, K, A>>
    where
        F: Fn(Rejection) -> Result<Res, E>,
    {
        self.with_reject(RejectWith::new(make))
    }

    fn with_reject<R2>(self, reject: R2) -> FeatureLayerBuilder<Strategies<J, R2, U, K, A>> {
        FeatureLayerBuilder { gate: self.gate, protocol: self.protocol.with_reject(reject) }
    }
}

impl<P> Clone for FeatureLayer<P> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state) }
    }
}

impl<P> fmt::Debug for FeatureLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeatureLayer").field("feature", self.state.gate.name()).finish_non_exhaustive()
    }
}

impl<S, P: Protocol> Layer<S> for FeatureLayer<P> {
    type Service = FeatureService<S, P>;

    fn layer(&self, inner: S) -> FeatureService<S, P> {
        FeatureService::new(inner, Arc::clone(&self.state))
    }
}
