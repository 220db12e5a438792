//! The app's routes.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use backstop::{AllProvidersFailed, ConfigError, DeadlineHeader, DeadlineLayer, DegradationHeaderLayer};
use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tower::ServiceBuilder;

use crate::health;
use crate::problem::{Problem, method_not_allowed, not_found};
use crate::recommender::Recommender;
use crate::sources::Item;
use crate::user_id::{UserId, no_user_id};

/// The app.
///
/// Of what callers send in headers of how long they wait, only `trusted_deadline` is believed, and only where a proxy in
/// front sets it: anybody else could send a millisecond with each request, and make probes of circuits fail to find anything out.
///
/// # Errors
/// [`ConfigError`] says what of a layer is configured wrong: nothing, as it is.
pub fn app(recommender: Recommender, trusted_deadline: Option<DeadlineHeader>) -> Result<Router, ConfigError> {
    let mut deadline = DeadlineLayer::builder("app");
    if let Some(header) = trusted_deadline {
        deadline = deadline.trust(header);
    }
    let around_all = ServiceBuilder::new()
        // Outermost, so that it sees every degradation that is reported while a request is served, however deep, and so
        // that its `Cache-Control` has the last word: a degraded answer must not be cached as if it were a good one.
        .layer(DegradationHeaderLayer::new())
        // At the edge, so that all that is done for a request knows when nobody waits for it any more.
        .layer(deadline.build()?);
    Ok(Router::new()
        .route("/api/recommendations/{user_id}", get(recommend))
        .route("/api/recommendations/", get(async || no_user_id()))
        .route("/health", get(health::health))
        .route("/livez", get(health::livez))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(recommender)
        .layer(around_all))
}

#[derive(Serialize)]
struct Recommendations {
    items: Vec<Item>,
    source: String,
    latency_ms: f64,
}

async fn recommend(State(recommender): State<Recommender>, user: UserId) -> Result<Response, Response> {
    let found = recommender.recommend(user).await.map_err(exhausted)?;
    let body = Recommendations {
        items: found.value,
        source: found.source.to_string(),
        // In hundredths: enough to tell memory from network.
        latency_ms: (found.latency.as_secs_f64() * 100_000.0).round() / 100.0,
    };
    // It is one user's own, and changes. Of the headers of a degraded answer the handler knows nothing: the layer does.
    Ok(([(CACHE_CONTROL, "private, no-cache")], Json(body)).into_response())
}

/// Never seen as long as the chain ends with a source that can't fail. But who copies this may end theirs otherwise.
#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn exhausted(failed: AllProvidersFailed) -> Response {
    let mut response = Problem::new(StatusCode::SERVICE_UNAVAILABLE, failed.to_string()).into_response();
    if let Some(wait) = failed.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
    }
    response
}
