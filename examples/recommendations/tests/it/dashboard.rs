//! The dashboard, whose parts fail one by one.

use http::StatusCode;
use serde_json::{Value, json};

use crate::common::{Answer, App};

async fn dashboard(app: &App, user: &str) -> Answer {
    let answer = app.get(&format!("/api/dashboard/{user}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.json()["data"]["recommendations"].as_array().map(Vec::len), Some(10));
    answer
}

#[tokio::test(start_paused = true)]
async fn a_whole_page_has_all_parts_and_no_labels() {
    let app = App::start().await;
    let answer = dashboard(&app, "ada").await;
    let body = answer.json();
    assert_eq!((&body["data"]["products"], &body["degraded"]), (&json!(24), &json!(false)));
    assert_eq!(body["data"]["popular"].as_array().map(Vec::len), Some(10));
    assert_eq!((answer.header("x-fallback-source"), answer.header("cache-control")), (None, Some("private, no-cache")));
}

#[tokio::test(start_paused = true)]
async fn without_the_catalog_the_rest_is_answered_and_no_number_is_invented() {
    for fault in ["status", "hang", "reset", "truncate"] {
        let app = App::start().await;
        app.set_fault("catalog", json!({ "fault": fault })).await;
        let answer = dashboard(&app, "ada").await;
        assert!(answer.took.as_millis() <= 210, "{fault}: {:?}", answer.took);
        let body = answer.json();
        assert_eq!((&body["data"]["popular"], &body["data"]["products"]), (&json!([]), &Value::Null));
        assert_eq!(body["warnings"], json!(["Popular items are temporarily unavailable"]));
        let services: Vec<_> =
            body["failed_services"].as_array().into_iter().flatten().map(|it| &it["service"]).collect();
        assert_eq!(services, ["popular", "products"], "{fault}");
        assert_eq!(answer.header("x-fallback-source"), Some("popular/default, products/none"));
        assert_eq!(
            (answer.header("x-data-freshness"), answer.header("cache-control")),
            (Some("degraded"), Some("no-store"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_source_of_its_recommendations_is_in_its_label() {
    let app = App::start().await;
    dashboard(&app, "ada").await;
    app.fail("ml").await;
    let answer = dashboard(&app, "ada").await;
    assert_eq!(answer.header("x-fallback-source"), Some("recommendations/cached"));
    assert_eq!((answer.header("x-data-freshness"), &answer.json()["partial_failure"]), (Some("stale"), &json!(false)));
    let answer = dashboard(&app, "grace").await;
    assert_eq!(answer.header("x-fallback-source"), Some("recommendations/popular_items"));
}

#[tokio::test(start_paused = true)]
async fn a_path_without_a_valid_id_is_refused() {
    let app = App::start().await;
    for path in ["/api/dashboard/", "/api/dashboard/not.an.id"] {
        assert_eq!(app.get(path).await.status, StatusCode::BAD_REQUEST);
    }
}
