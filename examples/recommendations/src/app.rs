//! The app's routes.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use backstop::{AllProvidersFailed, ConfigError, Health};
use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tower::ServiceBuilder;

use crate::dashboard::{Dashboard, dashboard};
use crate::edge::Edge;
use crate::metrics;
use crate::orders::{Orders, order};
use crate::problem::{Problem, method_not_allowed, not_found};
use crate::rates::{Rates, exchange_rate};
use crate::recommender::Recommender;
use crate::sources::Item;
use crate::user_id::{UserId, no_user_id};

/// The app's routes and layers.
///
/// # Errors
/// [`ConfigError`] if a layer's configuration is invalid, which the current one isn't.
pub fn app(
    recommender: Recommender,
    orders: &Orders,
    rates: Rates,
    edge: &Edge,
    health: &Health,
) -> Result<Router, ConfigError> {
    let around_all = ServiceBuilder::new()
        // Outermost, so that it sees every degradation reported during the request, and so that nothing changes its
        // `Cache-Control`: a degraded answer must not be cached as a good one.
        .layer(edge.headers.clone())
        // At the edge, so that all work for a request knows when its caller stops waiting.
        .layer(edge.deadline.clone());
    Ok(Router::new()
        .route("/api/recommendations/{user_id}", get(recommend))
        .route("/api/recommendations/", get(async || no_user_id()))
        .route("/api/dashboard/{user_id}", get(dashboard).with_state(Dashboard::new(recommender.clone())?))
        .route("/api/dashboard/", get(async || no_user_id()))
        .with_state(recommender)
        .route("/api/exchange-rates/{currency}", get(exchange_rate).with_state(rates))
        .route("/api/orders", post(order).with_state(orders.clone()))
        .layer(around_all)
        .merge(orders.job_routes())
        // Outside the layers: `/health`, `/livez`, `/readyz` and `/metrics` answer whatever happens to other requests.
        .merge(health.routes())
        .merge(metrics::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        // While the app drains, each answer sends its client to another instance.
        .layer(health.drain().layer()))
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
        // In hundredths, which is enough to tell memory from network.
        latency_ms: (found.latency.as_secs_f64() * 100_000.0).round() / 100.0,
    };
    // The answer is for one user, and changes. The layer sets the headers of a degraded answer.
    Ok(([(CACHE_CONTROL, "private, no-cache")], Json(body)).into_response())
}

/// Unreachable while the chain ends with a source that can't fail. Keep it if your chain ends differently.
#[expect(clippy::needless_pass_by_value, reason = "`map_err` passes it by value")]
pub(crate) fn exhausted(failed: AllProvidersFailed) -> Response {
    let mut response = Problem::new(StatusCode::SERVICE_UNAVAILABLE, failed.rejection().to_string()).into_response();
    if let Some(wait) = failed.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
    }
    response
}
