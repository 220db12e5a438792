//! Invalid requests: they are the caller's mistakes, and degrade nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test may fail it, as the test itself may"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::{App, upstream};
use axum::{Json, Router};
use http::{Method, StatusCode};
use recommendations::Config;
use serde_json::{Value, json};

/// An upstream that counts its calls and answers with `status`.
async fn counting(status: StatusCode) -> (String, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = calls.clone();
    let answer = async move || {
        seen.fetch_add(1, Ordering::Relaxed);
        (status, Json(json!({ "items": [{ "id": "p1", "name": "thing", "score": 0.5 }] })))
    };
    (upstream(Router::new().fallback(answer)).await, calls)
}

#[tokio::test(start_paused = true)]
async fn a_bad_user_id_is_a_400_that_names_the_rule_and_calls_nothing() {
    // Any call to the ML service would count, and fail.
    let (ml, ml_calls) = counting(StatusCode::SERVICE_UNAVAILABLE).await;
    let (catalog, catalog_calls) = counting(StatusCode::OK).await;
    let config = Config {
        ml_url: Some(ml.parse().unwrap()),
        catalog_url: Some(catalog.parse().unwrap()),
        ..Config::on_free_ports()
    };
    let app = App::with(config).await;

    let too_long = "x".repeat(65);
    let bad = ["", &too_long, "a.b", "a%20b", "a%2Fb", "..%2Fadmin", "a+b", "a%00", "%C3%A9", "%FF", "%", "%zz", "a;b"];
    for user in bad {
        for method in [Method::GET, Method::HEAD] {
            let answer = app.method(method.clone(), &format!("/api/recommendations/{user}")).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{method} {user:?}");
            if method == Method::GET {
                let problem = answer.assert_problem(400);
                let rule = "a user_id is 1 to 64 characters of A-Z a-z 0-9 _ -";
                assert_eq!([&problem["field"], &problem["detail"]], ["user_id", rule], "{user:?}");
            }
        }
    }

    let called = || [&ml_calls, &catalog_calls].map(|calls| calls.load(Ordering::Relaxed));
    assert_eq!(called(), [0, 0]);
    let circuit = app.circuit("ml_service").await;
    assert_eq!([&circuit["state"], &circuit["counts"]["failures"]], [&json!("closed"), &json!(0)]);
    assert_eq!(app.health().await["status"], "healthy");
    // The counters work: two attempts, then the next source.
    app.recommend("ada").await.assert_from("popular_items");
    assert_eq!(called(), [2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_user_id_may_have_64_characters_and_be_percent_encoded() {
    let app = App::start().await;
    for user in ["a", "-", "_", "0", "A-Za-z0-9_-", &"x".repeat(64), "%2D%5F", "%61da"] {
        app.recommend(user).await.assert_from("ml_service");
    }
    assert_eq!(app.recommend("%61da").await.json()["items"], app.recommend("ada").await.json()["items"]);
}

#[tokio::test(start_paused = true)]
async fn a_query_changes_nothing() {
    let app = App::start().await;
    let [plain, queried] = [app.recommend("ada").await, app.recommend("ada?user_id=grace").await];
    assert_eq!(plain.json()["items"], queried.json()["items"]);
}

#[tokio::test(start_paused = true)]
async fn unknown_paths_are_404() {
    let app = App::start().await;
    for path in ["/page", "/api", "/api/recommendations", "/api/recommendations/a/b", "/healthz", "/chaos", "/circuits"]
    {
        app.get(path).await.assert_problem(404);
    }
    for path in ["/page", "/api/recommendations/ada"] {
        let answer = app.admin(Method::GET, path, None).await;
        answer.assert_problem(404);
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_methods_are_405_with_the_right_ones() {
    let app = App::start().await;
    for path in ["/api/recommendations/ada", "/api/recommendations/", "/health", "/livez", "/readyz"] {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
            let answer = app.method(method, path).await;
            answer.assert_problem(405);
            assert_eq!(answer.header("allow"), Some("GET,HEAD"), "{path}");
        }
    }
    for (path, allowed) in
        [("/chaos", "GET,HEAD"), ("/chaos/ml", "PUT"), ("/circuits", "GET,HEAD"), ("/circuits/ml_service", "POST")]
    {
        let answer = app.admin(Method::DELETE, path, None).await;
        answer.assert_problem(405);
        assert_eq!(answer.header("allow"), Some(allowed), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_is_asked_by_the_path_below_its_url() {
    let echo =
        |uri: http::Uri| async move { Json(json!({ "items": [{ "id": uri.path(), "name": "path", "score": 1.0 }] })) };
    let url = upstream(Router::new().fallback(echo)).await;
    let config = Config { ml_url: Some(format!("{url}/team/ml/").parse().unwrap()), ..Config::on_free_ports() };
    let app = App::with(config).await;
    let id: Value = app.recommend("ada").await.json()["items"][0]["id"].clone();
    assert_eq!(id, "/team/ml/v1/recommendations/ada");
}
