//! The app's answers, with and without faults.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test may fail it, as the test itself may"
)]

use std::time::Duration;

use crate::common::{App, upstream};
use axum::Router;
use http::{HeaderMap, Method, StatusCode};
use recommendations::Config;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

#[tokio::test(start_paused = true)]
async fn a_healthy_answer_is_ten_items_from_the_ml_service_without_labels() {
    let app = App::start().await;
    let answer = app.recommend("ada").await;
    answer.assert_from("ml_service");
    let body = answer.json();
    let items = body["items"].as_array().unwrap();
    assert_eq!(items.len(), 10);
    for item in items {
        assert!(item["id"].is_string() && item["name"].is_string() && item["score"].is_f64(), "{item}");
    }
    assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
}

#[tokio::test(start_paused = true)]
async fn recommendations_are_the_users_own() {
    let app = App::start().await;
    let [ada, grace] = [app.recommend("ada").await.json(), app.recommend("grace").await.json()];
    assert_ne!(ada["items"], grace["items"]);
    assert_eq!(ada["items"], app.recommend("ada").await.json()["items"]);
}

#[tokio::test(start_paused = true)]
async fn head_answers_as_get_does_but_for_the_body() {
    let app = App::start().await;
    app.recommend("ada").await.assert_from("ml_service");
    app.fail("ml").await;
    for path in ["/api/recommendations/ada", "/api/recommendations/grace", "/health", "/livez", "/readyz"] {
        let (get, head) = (app.get(path).await, app.method(Method::HEAD, path).await);
        assert_eq!(head.status, StatusCode::OK);
        assert!(head.body.is_empty());
        for name in ["content-type", "cache-control", "x-fallback-source", "x-data-freshness"] {
            assert_eq!(head.header(name), get.header(name), "{name} of {path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_served_before_gets_the_last_good_answer_when_ml_fails() {
    let app = App::start().await;
    let good = app.recommend("ada").await;
    app.fail("ml").await;
    let old = app.recommend("ada").await;
    old.assert_from("cached");
    assert_eq!(old.json()["items"], good.json()["items"]);
}

/// A reading of both clocks that an age counts: of the paused one, and of the wall clock where that is ahead.
struct Clocks {
    paused: Instant,
    #[expect(clippy::disallowed_types, reason = "an age counts this clock too")]
    wall: std::time::Instant,
}

impl Clocks {
    #[expect(clippy::disallowed_types, reason = "an age counts this clock too")]
    fn now() -> Self {
        Self { paused: Instant::now(), wall: std::time::Instant::now() }
    }

    /// The greatest age, in seconds, of what was made at this moment or later.
    fn greatest_age(&self) -> u64 {
        (self.paused.elapsed() + self.wall.elapsed()).as_secs()
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_tells_its_true_age() {
    let app = App::start().await;
    let before = Clocks::now();
    app.recommend("ada").await.assert_from("ml_service");
    let after = Instant::now();
    app.fail("ml").await;
    for seconds in [0, 1, 2, 60] {
        sleep_until(after + Duration::from_secs(seconds)).await;
        let at_least = after.elapsed().as_secs();
        let answer = app.recommend("ada").await;
        answer.assert_from("cached");
        let (age, at_most) = (answer.age().unwrap(), before.greatest_age());
        assert!((at_least..=at_most).contains(&age), "{age} is not in {at_least}..={at_most}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_answer_makes_what_is_remembered_young_again() {
    let app = App::start().await;
    app.recommend("ada").await.assert_from("ml_service");
    app.fail("ml").await;
    sleep(Duration::from_secs(3000)).await;
    assert!(app.recommend("ada").await.age().unwrap() >= 3000);
    app.mend("ml").await;
    let refreshed = Clocks::now();
    app.recommend("ada").await.assert_from("ml_service");
    app.fail("ml").await;
    let answer = app.recommend("ada").await;
    answer.assert_from("cached");
    assert!(answer.age().unwrap() <= refreshed.greatest_age());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_older_than_an_hour_is_not_served() {
    let app = App::start().await;
    app.recommend("ada").await.assert_from("ml_service");
    app.fail("ml").await;
    sleep(Duration::from_secs(60 * 60 + 1)).await;
    app.recommend("ada").await.assert_from("popular_items");
}

#[tokio::test(start_paused = true)]
async fn a_new_user_gets_what_is_popular_when_ml_fails() {
    let app = App::start().await;
    app.fail("ml").await;
    let answer = app.recommend("grace").await;
    answer.assert_from("popular_items");
    assert_eq!(answer.json()["items"].as_array().unwrap().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_new_user_gets_bestsellers_when_the_catalog_fails_too() {
    let app = App::start().await;
    app.recommend("ada").await.assert_from("ml_service");
    app.fail("ml").await;
    app.fail("catalog").await;
    app.recommend("grace").await.assert_from("static_bestsellers");
    app.recommend("ada").await.assert_from("cached");
}

#[tokio::test(start_paused = true)]
async fn a_failing_catalog_alone_shows_nowhere() {
    let app = App::start().await;
    app.fail("catalog").await;
    app.recommend("ada").await.assert_from("ml_service");
}

#[tokio::test(start_paused = true)]
async fn one_users_remembered_answer_never_goes_to_another() {
    let app = App::start().await;
    let ada = app.recommend("ada").await.json()["items"].clone();
    app.fail("ml").await;
    // Names that could be mistaken for the key, or normalised to it.
    for other in ["Ada", "ADA", "ada-", "ad", "adaa", "_ada", "grace"] {
        let answer = app.recommend(other).await;
        answer.assert_from("popular_items");
        assert_ne!(answer.json()["items"], ada, "{other}");
    }
    app.recommend("ada").await.assert_from("cached");
}

#[tokio::test(start_paused = true)]
async fn less_than_the_best_answer_is_never_remembered() {
    let app = App::start().await;
    app.fail("ml").await;
    for _ in 0..3 {
        app.recommend("grace").await.assert_from("popular_items");
    }
}

#[tokio::test(start_paused = true)]
async fn any_answer_of_an_upstream_that_is_no_recommendation_is_a_failure_of_it() {
    for wrong in [
        json!({ "items": [] }),
        json!({ "items": null }),
        json!({ "items": [{ "id": 1, "name": "x", "score": 0.5 }] }),
        json!({}),
        json!([]),
    ] {
        let ml = upstream(Router::new().fallback({
            let wrong = wrong.clone();
            async move || axum::Json(wrong)
        }))
        .await;
        let app = App::with(Config { ml_url: Some(ml.parse().unwrap()), ..Config::on_free_ports() }).await;
        let answer = app.recommend("ada").await;
        answer.assert_from("popular_items");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_ten_items_are_shown() {
    let many: Vec<_> =
        (0..25).map(|n| json!({ "id": format!("p{n}"), "name": "thing", "score": 0.5, "extra": n })).collect();
    let ml = upstream(Router::new().fallback(async move || axum::Json(json!({ "items": many })))).await;
    let app = App::with(Config { ml_url: Some(ml.parse().unwrap()), ..Config::on_free_ports() }).await;
    let body = app.recommend("ada").await.json();
    assert_eq!(body["source"], "ml_service");
    assert_eq!(body["items"].as_array().unwrap().len(), 10);
    assert_eq!(body["items"][0], json!({ "id": "p0", "name": "thing", "score": 0.5 }));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_long_is_a_failure() {
    let mut long = json!({ "items": [{ "id": "p1", "name": "thing", "score": 0.5 }] }).to_string();
    long.push_str(&" ".repeat(1024 * 1024));
    let ml = upstream(Router::new().fallback(async move || long)).await;
    let app = App::with(Config { ml_url: Some(ml.parse().unwrap()), ..Config::on_free_ports() }).await;
    app.recommend("ada").await.assert_from("popular_items");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_is_told_how_long_its_answer_is_waited_for() {
    let told = async |headers: HeaderMap| {
        let wait = headers["x-envoy-expected-rq-timeout-ms"].to_str().unwrap().to_owned();
        axum::Json(json!({ "items": [{ "id": "p1", "name": wait, "score": 0.5 }] }))
    };
    let ml = upstream(Router::new().fallback(told)).await;
    let app = App::with(Config { ml_url: Some(ml.parse().unwrap()), ..Config::on_free_ports() }).await;
    let answer = app.recommend("ada").await;
    answer.assert_from("ml_service");
    let wait: u64 = answer.json()["items"][0]["name"].as_str().unwrap().parse().unwrap();
    assert_eq!(wait, 80, "an attempt has 90 ms, less 10 for the way back");
}
