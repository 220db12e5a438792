//! Each source of recommendations works, also those that are only asked when others fail.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use http::Method;
use recommendations::{BaseUrl, Recommender, UserId};
use serde_json::json;

use crate::common::{App, WAIT, passing_time};

/// The URL of one of the app's simulated services, which works.
async fn url(app: &App, upstream: &str) -> BaseUrl {
    let answer = app.admin(Method::PUT, &format!("/chaos/{upstream}"), Some(json!({ "fault": "none" }))).await.json();
    answer["url"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_source_of_the_chain_answers_and_a_broken_one_is_named() {
    let app = App::start().await;
    let (ml, catalog) = (url(&app, "ml").await, url(&app, "catalog").await);
    let recommender = Recommender::new(&ml, &catalog, WAIT).unwrap();
    let ada = UserId::new("ada").unwrap();
    passing_time(recommender.prove_each_source(ada.clone())).await.unwrap();

    app.fail("catalog").await;
    let unproven = passing_time(recommender.prove_each_source(ada)).await.unwrap_err();
    let names: Vec<_> = unproven.failures().iter().map(|failure| failure.provider.as_str()).collect();
    assert_eq!(names, ["popular_items"], "{unproven}");
}
