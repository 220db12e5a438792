//! Providers that are axum handlers.

#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

mod common;

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::Response,
    routing::get as route,
};
use backstop_core::name;
use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
use common::*;
use http::{Request, StatusCode, Uri};
use tower::ServiceExt;

/// An app whose route fails, with this provider behind it.
fn app(provider: Provider<Req, Response>) -> Router {
    let chain = FallbackChain::builder("chain").provider(provider).build().unwrap();
    Router::new()
        .route("/items/{id}", route(|| async { StatusCode::BAD_GATEWAY }))
        .route_layer(FallbackLayer::new(name!("primary"), chain))
}

async fn answer(app: Router) -> String {
    let request = Request::get("/items/7").body(Body::empty()).unwrap();
    text(app.oneshot(request).await.unwrap()).await
}

#[tokio::test]
async fn a_handler_answers_with_its_extractors_also_with_what_the_route_matched() {
    let of_uri = Provider::handler(name!("handler"), |uri: Uri| async move { uri.path().to_owned() });
    assert_eq!(answer(app(of_uri)).await, "/items/7");
    let of_path = Provider::handler(name!("handler"), |Path(id): Path<u32>| async move { format!("item {id}") });
    assert_eq!(answer(app(of_path)).await, "item 7");
}

#[tokio::test]
async fn a_handler_may_have_state() {
    let handler = |State(state): State<&'static str>| async move { state };
    assert_eq!(answer(app(Provider::handler_with_state(name!("handler"), handler, "state"))).await, "state");
}
