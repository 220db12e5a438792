//! The dashboard: a page of several parts, which is answered even if some of them fail.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use backstop::{Aggregate, ConfigError, RequiredPartFailed, name, part};
use http::header::CACHE_CONTROL;
use serde::Serialize;

use crate::recommender::Recommender;
use crate::sources::Item;
use crate::user_id::UserId;

/// The time limit for all parts together: more than the chain's 800 ms, which then always ends by itself.
const TOTAL: Duration = Duration::from_secs(1);

/// The time of a part that users can do without. Enough for the two attempts of a [dependency](crate::dependency).
const EXTRA: Duration = Duration::from_millis(200);

/// Makes each user's dashboard.
#[derive(Debug, Clone)]
pub(crate) struct Dashboard {
    aggregate: Aggregate,
    recommender: Recommender,
}

/// What is on it.
#[derive(Debug, Serialize)]
struct Sections {
    recommendations: Vec<Item>,
    popular: Vec<Item>,
    /// How many products there are. `null` if nobody knows: 0 would be a lie.
    products: Option<u64>,
}

impl Dashboard {
    pub(crate) fn new(recommender: Recommender) -> Result<Self, ConfigError> {
        Ok(Self { aggregate: Aggregate::builder("dashboard").total(TOTAL).build()?, recommender })
    }
}

/// `GET /api/dashboard/{user_id}`.
pub(crate) async fn dashboard(
    State(Dashboard { aggregate, recommender }): State<Dashboard>,
    user: UserId,
) -> Result<Response, RequiredPartFailed> {
    let catalog = recommender.catalog();
    let page = aggregate
        .gather((
            // A page without it is no dashboard. It is a chain, which answers from its next source, with a label such as
            // `recommendations/cached`.
            part(name!("recommendations"), recommender.recommend(user)).required(),
            // A list may be empty. Users see the hole, so they are told why.
            part(name!("popular"), catalog.clone().recommend())
                .timeout(EXTRA)
                .or(Vec::new())
                .warn("Popular items are temporarily unavailable"),
            // A number must not be invented, so it may be missing. Nobody misses it, so there is no warning.
            part(name!("products"), catalog.clone().count()).timeout(EXTRA).optional(),
        ))
        .await?;
    let page = page.map(|(recommendations, popular, products)| Sections {
        recommendations: recommendations.value,
        popular,
        products,
    });
    // The page is for one user, and changes. Its status comes after our header, since a degraded page isn't stored at all.
    Ok(([(CACHE_CONTROL, "private, no-cache")], page.status().clone(), Json(page)).into_response())
}
