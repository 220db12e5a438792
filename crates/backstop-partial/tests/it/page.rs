//! A page as clients get it.
#![cfg(feature = "serde")]

use backstop_partial::{Page, PageStatus, name, part};
use serde::Serialize;

use crate::common::dashboard;

async fn partial() -> Page<Dashboard> {
    let parts = (
        part(name!("profile"), async { Ok::<_, &str>("Ada") }).required(),
        part(name!("orders"), async { Err::<Vec<u32>, _>(std::io::Error::other("db-7: refused")) })
            .or(Vec::new())
            .warn("Order history is temporarily unavailable"),
        part(name!("balance"), async { Err::<u32, _>("down") }).optional(),
    );
    let page = dashboard().gather(parts).await.unwrap();
    page.map(|(profile, orders, balance)| Dashboard { profile, orders, balance })
}

#[derive(Serialize)]
struct Dashboard {
    profile: &'static str,
    orders: Vec<u32>,
    balance: Option<u32>,
}

const DATA: &str = r#"{"profile":"Ada","orders":[],"balance":null}"#;
const STATUS: &str = concat!(
    r#""degraded":true,"partial_failure":true,"warnings":["Order history is temporarily unavailable"],"#,
    r#""failed_services":[{"service":"orders","reason":"error"},{"service":"balance","reason":"error"}]}"#
);

#[tokio::test]
async fn a_page_says_what_is_missing() {
    let json = serde_json::to_string(&partial().await).unwrap();
    assert_eq!(json, format!(r#"{{"data":{DATA},{STATUS}"#));
}

#[tokio::test]
async fn what_is_missing_can_stand_beside_the_data() {
    #[derive(Serialize)]
    struct Flat<T> {
        #[serde(flatten)]
        data: T,
        #[serde(flatten)]
        status: PageStatus,
    }
    #[derive(Serialize)]
    struct Outer<T> {
        version: u32,
        #[serde(flatten)]
        page: T,
    }
    let (data, status) = partial().await.into_parts();
    let json = serde_json::to_string(&Flat { data, status }).unwrap();
    assert_eq!(json, format!("{},{STATUS}", DATA.trim_end_matches('}')));
    let json = serde_json::to_string(&Outer { version: 2, page: partial().await }).unwrap();
    assert_eq!(json, format!(r#"{{"version":2,"data":{DATA},{STATUS}"#));
}

#[tokio::test]
async fn a_whole_page_says_so() {
    let page = dashboard().gather((part(name!("a"), async { Ok::<_, &str>(1) }).required(),)).await.unwrap();
    let expected = r#"{"data":[1],"degraded":false,"partial_failure":false,"warnings":[],"failed_services":[]}"#;
    assert_eq!(serde_json::to_string(&page).unwrap(), expected);
}

#[tokio::test]
async fn the_text_of_an_error_is_in_the_body_only_if_somebody_asks_for_it() {
    let secret = "db-7";
    assert!(!serde_json::to_string(&partial().await).unwrap().contains(secret));
    let page = partial().await.explain(|failure| (failure.part == "orders").then(|| failure.error.clone()).flatten());
    let json = serde_json::to_value(&page).unwrap();
    assert_eq!(json["failed_services"][0]["error"], "db-7: refused");
    assert_eq!(json["failed_services"][1].get("error"), None);
}

#[cfg(feature = "axum")]
mod as_a_response {
    use axum::{Json, http::header::ETAG, response::IntoResponse};
    use backstop_core::Degradation;
    use backstop_partial::Answer;

    use super::*;

    #[tokio::test]
    async fn a_degraded_page_stays_out_of_caches_without_any_layer() {
        let (data, status) = partial().await.into_parts();
        let own_body = (status, Json(data)).into_response();
        for response in [partial().await.into_response(), own_body] {
            assert_eq!(response.headers()["cache-control"], "no-store");
            assert!(response.extensions().get::<Degradation>().is_some());
        }
    }

    #[tokio::test]
    async fn a_validator_that_was_set_before_is_removed() {
        let (data, status) = partial().await.into_parts();
        let response = ([(ETAG, "\"v1\"")], status, Json(data)).into_response();
        assert_eq!(response.headers().get(ETAG), None);
    }

    #[tokio::test]
    async fn a_page_of_copies_has_an_age_and_a_whole_one_is_untouched() {
        let minute = std::time::Duration::from_secs(60);
        let stale = part(name!("a"), async { Ok::<_, &str>(Answer::stale(1, minute)) }).answer().required();
        let response = dashboard().gather((stale,)).await.unwrap().into_response();
        assert_eq!(
            (&response.headers()["age"], response.headers().get("cache-control")),
            (&"60".parse().unwrap(), None)
        );
        let whole = part(name!("a"), async { Ok::<_, &str>(1) }).required();
        let response = dashboard().gather((whole,)).await.unwrap().into_response();
        assert_eq!(response.headers().len(), 1, "the content type");
        assert!(response.extensions().get::<Degradation>().is_none());
    }
}
