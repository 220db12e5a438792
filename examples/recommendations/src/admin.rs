//! The admin listener: breaks and repairs the simulated upstreams, shows and controls the circuits and the
//! features, and shows all of health.
//!
//! It can take a service down, so it has a separate listener, on loopback unless there is a token. Loopback alone isn't
//! enough: any page in the operator's browser can send requests there. [`Guard`] refuses those.

mod body;
mod chaos;
mod circuits;
mod features;
mod guard;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post, put};
use backstop::{FeaturesHandle, Health};

pub(crate) use self::guard::Guard;
use crate::chaos::Chaos;
use crate::circuits::Circuits;
use crate::metrics;
use crate::problem::{method_not_allowed, not_found};

/// The largest request body. Real ones are a line long.
const LARGEST_BODY: usize = 16 * 1024;

/// The admin listener's routes, behind its guard.
pub(crate) fn router(
    chaos: Chaos,
    circuits: Circuits,
    features: FeaturesHandle,
    health: &Health,
    guard: Guard,
) -> Router {
    let breaking =
        Router::new().route("/chaos", get(chaos::list)).route("/chaos/{upstream}", put(chaos::set)).with_state(chaos);
    let circuits = Router::new()
        .route("/circuits", get(circuits::list))
        .route("/circuits/{name}", post(circuits::act))
        .with_state(circuits);
    let features = Router::new()
        .route("/features", get(features::list))
        .route("/features/{name}", put(features::set))
        .with_state(features);
    breaking
        .merge(circuits)
        .merge(features)
        // The public sees only a word of it.
        .merge(health.routes().with_details())
        // For the control room, which can't read another origin.
        .merge(metrics::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        // Outermost, so that a stranger doesn't even get a 404.
        .layer(middleware::from_fn_with_state(guard, guard::check))
}
