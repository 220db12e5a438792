//! The extractor for axum.

use std::convert::Infallible;

use axum_core::extract::{FromRef, FromRequestParts};
use http::request::Parts;

use crate::Features;

/// Takes the features from the app's state.
///
/// ```
/// use axum::{Router, routing::get};
/// use backstop_features::{Feature, Features, feature};
///
/// static REVIEWS: Feature = feature!("reviews");
///
/// async fn page(features: Features) -> &'static str {
///     if features.is_enabled(&REVIEWS) { "with reviews" } else { "without" }
/// }
///
/// let features = Features::builder().declare(REVIEWS.standard()).build()?;
/// let app: Router = Router::new().route("/", get(page)).with_state(features);
/// # Ok::<(), backstop_features::ConfigError>(())
/// ```
///
/// If the state has other parts, derive `FromRef` for it, or implement it for `Features`.
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S> FromRequestParts<S> for Features
where
    Self: FromRef<S>,
    S: Sync,
{
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self::from_ref(state))
    }
}
