//! Providers that are axum handlers.

#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use crate::common::*;
use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, RawPathParams, State},
    response::Response,
    routing::get as route,
};
use backstop_core::name;
use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
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

#[tokio::test]
async fn a_router_sees_the_path_parameters_of_its_own_route_and_the_extensions_of_the_request() {
    #[derive(Clone)]
    struct User(&'static str);

    let own =
        Router::new()
            .route(
                "/items/{number}",
                route(|Path(number): Path<u32>, user: Extension<User>| async move {
                    format!("item {number} for {}", user.0.0)
                }),
            )
            .nest(
                "/a",
                Router::new()
                    .route("/{b}/{c}", route(|Path((b, c)): Path<(String, u32)>| async move { format!("{b} {c}") })),
            )
            .route("/none", route(|params: RawPathParams| async move { params.iter().count().to_string() }))
            .fallback(|| async { "nothing here" });
    let chain = FallbackChain::builder("chain").provider(Provider::service(name!("router"), own)).build().unwrap();
    let fails = || async { StatusCode::BAD_GATEWAY };
    let app = Router::new()
        .route("/items/{id}", route(fails))
        .route("/a/{*rest}", route(fails))
        .route("/{none}", route(fails))
        .route("/else/{id}", route(fails))
        .route_layer(FallbackLayer::new(name!("primary"), chain))
        .layer(Extension(User("alice")));
    for (path, expected) in
        [("/items/7", "item 7 for alice"), ("/a/b/7", "b 7"), ("/none", "0"), ("/else/7", "nothing here")]
    {
        let request = Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(text(app.clone().oneshot(request).await.unwrap()).await, expected, "{path}");
    }
}
