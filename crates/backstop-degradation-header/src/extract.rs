//! What was degraded, for axum handlers.

use std::convert::Infallible;

use axum_core::extract::FromRequestParts;
use backstop_core::{Degradation, Freshness, scope};
use http::request::Parts;

/// An axum extractor, for handlers that say in the body what was degraded.
///
/// Read it after the calls that the body is made from, because it shows only what was reported so far: see
/// [`scope::degradations`]. The headers stay the same.
///
/// ```
/// use axum::{Json, Router, body::Body, routing::get};
/// use backstop_core::{Degradation, Freshness, Reason, name, scope};
/// use backstop_degradation_header::{DegradationHeaderLayer, Degradations};
/// use http::Request;
/// use tower::ServiceExt;
///
/// #[derive(serde::Serialize)]
/// struct Page {
///     items: Vec<&'static str>,
///     degraded: bool,
///     warnings: Vec<String>,
/// }
///
/// async fn page(degradations: Degradations) -> Json<Page> {
///     let items = items().await;
///     let warnings = degradations.so_far().iter().map(|it| format!("from {}: {}", it.path(), it.freshness())).collect();
///     Json(Page { items, degraded: degradations.are_any(), warnings })
/// }
///
/// /// A fallback chain, which has no answer but a canned one.
/// async fn items() -> Vec<&'static str> {
///     scope::report(Degradation::new(name!("items"), name!("canned"), 1, Reason::TIMEOUT, Freshness::Degraded));
///     vec!["the usual"]
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let app = Router::new().route("/", get(page)).layer(DegradationHeaderLayer::new());
/// let response = app.oneshot(Request::get("/").body(Body::empty())?).await?;
/// assert_eq!(response.headers()["x-fallback-source"], "canned");
/// let body = axum::body::to_bytes(response.into_body(), 1024).await?;
/// assert_eq!(body, r#"{"items":["the usual"],"degraded":true,"warnings":["from canned: degraded"]}"#);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Degradations;

impl Degradations {
    /// What was reported so far, in order.
    #[must_use]
    pub fn so_far(self) -> Vec<Degradation> {
        scope::degradations()
    }

    /// Whether any of it is worse than [`Fresh`](Freshness::Fresh).
    #[must_use]
    pub fn are_any(self) -> bool {
        self.so_far().iter().any(|degradation| degradation.freshness() != Freshness::Fresh)
    }
}

impl<S: Sync> FromRequestParts<S> for Degradations {
    type Rejection = Infallible;

    async fn from_request_parts(_parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self)
    }
}
