//! A primary that fails, a chain that serves the last known good answer, and what the caller sees.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    http::{StatusCode, response::Parts},
    response::{IntoResponse, Response},
};
use backstop::{DegradationHeaderLayer, FallbackChain, FallbackLayer, LastKnownGoodLayer, Provider, name};
use backstop_tests::http::{get, header, post, read};
use tokio::time::advance;
use tower::{ServiceBuilder, ServiceExt, service_fn};

const MINUTES: Duration = Duration::from_secs(600);

/// A stack around a scripted primary.
struct Shop {
    layer: LastKnownGoodLayer,
}

impl Shop {
    fn new() -> Self {
        Self { layer: LastKnownGoodLayer::new(name!("shop")) }
    }

    /// With a principal, which the header `x-user` names.
    fn of_users() -> Self {
        let by_user = LastKnownGoodLayer::builder("shop").principal(|head| head.headers.get("x-user").cloned());
        Self { layer: by_user.build().unwrap() }
    }

    /// The caller's answer, if the primary gives `answer`.
    async fn asked(&self, request: Request, answer: impl IntoResponse) -> (Parts, String) {
        let known = self.layer.handle();
        let instead = FallbackChain::builder("shop")
            .provider(Provider::head(name!("cached"), move |head| known.answer::<Body>(head)))
            .provider(Provider::value(name!("sorry"), || async { "we are sorry".into_response() }))
            .build()
            .unwrap();
        let answer = Arc::new(Mutex::new(Some(answer.into_response())));
        let stack = ServiceBuilder::new()
            .layer(DegradationHeaderLayer::new())
            .layer(FallbackLayer::new(name!("live"), instead))
            .layer(self.layer.clone())
            .service(service_fn(move |_: Request| {
                let answer: Response = answer.lock().unwrap().take().unwrap();
                async move { Ok::<_, Infallible>(answer) }
            }));
        read(stack.oneshot(request).await.unwrap()).await
    }
}

fn of(user: &str, path: &str) -> Request {
    let mut request = get(path);
    request.headers_mut().insert("x-user", user.parse().unwrap());
    request
}

const DOWN: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

#[tokio::test(start_paused = true)]
async fn a_stale_answer_leaves_with_its_label_and_one_true_age() {
    let shop = Shop::new();
    let good = ([("cache-control", "max-age=60"), ("etag", "\"1\"")], "the list");
    let (head, body) = shop.asked(get("/list"), good).await;
    assert_eq!((head.status, &*body), (StatusCode::OK, "the list"));
    assert_eq!(header(&head, "x-fallback-source"), None);
    assert_eq!(header(&head, "age"), None);

    advance(MINUTES).await;
    let (head, body) = shop.asked(get("/list"), DOWN).await;
    assert_eq!((head.status, &*body), (StatusCode::OK, "the list"));
    assert_eq!(header(&head, "x-fallback-source"), Some("cached"));
    assert_eq!(header(&head, "x-data-freshness"), Some("stale"));
    // A downstream cache needs the age to see that it is stale.
    assert_eq!(head.headers.get_all("age").iter().collect::<Vec<_>>(), ["600"]);
    assert_eq!(header(&head, "cache-control"), Some("max-age=60"));
    assert_eq!(header(&head, "etag"), Some("\"1\""));
    assert!(head.headers.contains_key("date"));
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_not_taken_for_a_good_one_by_a_layer_further_out() {
    let (inner, outer) = (Shop::new(), LastKnownGoodLayer::new(name!("edge")));
    inner.asked(get("/list"), "the list").await;
    advance(MINUTES).await;
    let known = outer.handle();
    let inner = Arc::new(inner);
    let edge = ServiceBuilder::new().layer(outer).service(service_fn(move |request: Request| {
        let inner = Arc::clone(&inner);
        async move {
            let (head, body) = inner.asked(request, DOWN).await;
            Ok::<_, Infallible>(Response::from_parts(head, Body::from(body)))
        }
    }));
    let (head, _) = read(edge.oneshot(get("/list")).await.unwrap()).await;
    assert_eq!(header(&head, "x-data-freshness"), Some("stale"));
    assert!(known.answer::<Body>(get("/list").into_parts().0).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_degraded_answer_leaves_uncacheable_and_the_recovered_one_as_it_is() {
    let shop = Shop::new();
    let (head, body) = shop.asked(get("/list"), DOWN).await;
    assert_eq!(body, "we are sorry");
    assert_eq!(header(&head, "x-fallback-source"), Some("sorry"));
    assert_eq!(header(&head, "x-data-freshness"), Some("degraded"));
    assert_eq!(header(&head, "cache-control"), Some("no-store"));

    let good = || ([("cache-control", "max-age=60")], "the list");
    let (head, body) = shop.asked(get("/list"), good()).await;
    assert_eq!((&*body, header(&head, "cache-control")), ("the list", Some("max-age=60")));
    assert_eq!(header(&head, "x-data-freshness"), None);
}

#[tokio::test(start_paused = true)]
async fn neither_another_users_answer_nor_a_private_nor_a_revoked_one_is_served() {
    let shop = Shop::of_users();
    let private = |body| ([("cache-control", "private, max-age=60")], body);
    shop.asked(of("ann", "/me"), private("ann's")).await;
    for request in [of("ben", "/me"), of("an", "/me"), get("/me"), of("ann", "/men")] {
        assert_eq!(shop.asked(request, DOWN).await.1, "we are sorry");
    }
    assert_eq!(shop.asked(of("ann", "/me"), DOWN).await.1, "ann's");

    shop.asked(get("/draft"), private("nobody's")).await;
    assert_eq!(shop.asked(get("/draft"), DOWN).await.1, "we are sorry");
    shop.asked(of("ann", "/secret"), ([("cache-control", "no-store")], "secret")).await;
    assert_eq!(shop.asked(of("ann", "/secret"), DOWN).await.1, "we are sorry");

    assert_eq!(shop.asked(of("ann", "/me"), StatusCode::GONE).await.0.status, StatusCode::GONE);
    assert_eq!(shop.asked(of("ann", "/me"), DOWN).await.1, "we are sorry");
}

#[tokio::test(start_paused = true)]
async fn what_a_write_changed_is_not_served_as_it_was() {
    let shop = Shop::new();
    shop.asked(get("/list"), "old").await;
    assert_eq!(shop.asked(post("/list", "x"), StatusCode::NO_CONTENT).await.0.status, StatusCode::NO_CONTENT);
    assert_eq!(shop.asked(get("/list"), DOWN).await.1, "we are sorry");
}

/// Some search services use content in a GET.
#[tokio::test(start_paused = true)]
async fn a_get_with_content_is_not_answered_with_what_answers_one_without() {
    let shop = Shop::new();
    shop.asked(get("/search"), "everything").await;
    let with = |field: &'static str, value: &'static str| {
        let mut search = get("/search");
        search.headers_mut().insert(field, value.parse().unwrap());
        search
    };
    let without_fields = || {
        let mut search = get("/search");
        *search.body_mut() = Body::from("{}");
        search
    };
    for search in [with("content-length", "2"), with("transfer-encoding", "chunked"), without_fields()] {
        let fields = search.headers().clone();
        assert_eq!(shop.asked(search, DOWN).await.1, "we are sorry", "{fields:?}");
    }
    for empty in [with("content-length", "0"), with("content-type", "application/json")] {
        assert_eq!(shop.asked(empty, DOWN).await.1, "everything");
    }

    let shop = Shop::new();
    shop.asked(without_fields(), "what was searched for").await;
    assert_eq!(shop.asked(get("/search"), DOWN).await.1, "we are sorry");
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_be_selected_by_a_field_of_the_content() {
    let shop = Shop::new();
    let within = |language: Option<&'static str>| {
        let mut request = get("/list");
        if let Some(language) = language {
            request.headers_mut().insert("content-language", language.parse().unwrap());
        }
        request
    };
    let varying = |body: &'static str| ([("vary", "content-language")], body);
    shop.asked(within(None), varying("the list")).await;
    assert_eq!(shop.asked(within(Some("fr")), DOWN).await.1, "we are sorry");
    shop.asked(within(Some("fr")), varying("la liste")).await;
    assert_eq!(shop.asked(within(Some("fr")), DOWN).await.1, "la liste");
    assert_eq!(shop.asked(within(Some("en")), DOWN).await.1, "we are sorry");
    assert_eq!(shop.asked(within(None), DOWN).await.1, "the list");
}

#[tokio::test(start_paused = true)]
async fn a_degraded_answer_leaves_the_last_good_one_in_place() {
    let degraded = |what: &'static str, fields: &[(&'static str, &'static str)]| {
        let mut response = what.into_response();
        for (name, value) in fields {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        response
    };
    // Like the answer of an inner service with its own degradation headers.
    let (inner, no_store) = (Shop::new(), ("cache-control", "no-store"));
    let (mut head, body) = inner.asked(get("/list"), DOWN).await;
    assert_eq!(
        (header(&head, "x-data-freshness"), header(&head, "cache-control")),
        (Some("degraded"), Some("no-store"))
    );
    let in_process = Response::from_parts(head.clone(), Body::from(body.clone()));
    head.extensions.clear();
    let over_http = Response::from_parts(head, Body::from(body));
    for answer in [
        in_process,
        over_http,
        degraded("old", &[("x-data-freshness", "stale;age=60")]),
        degraded("partly old", &[("x-data-freshness", "fresh, stale")]),
        degraded("partly", &[("x-data-freshness", "fresh"), ("x-data-freshness", "degraded"), no_store]),
        degraded("garbage", &[("x-data-freshness", "?"), no_store]),
        degraded("from elsewhere", &[("x-fallback-source", "cached"), no_store]),
    ] {
        let shop = Shop::new();
        shop.asked(get("/list"), "the list").await;
        let labels = answer.headers().clone();
        shop.asked(get("/list"), answer).await;
        assert_eq!(shop.asked(get("/list"), DOWN).await.1, "the list", "{labels:?}");
    }

    let shop = Shop::new();
    shop.asked(get("/list"), "the list").await;
    shop.asked(get("/list"), degraded("a replica's", &[("x-fallback-source", "b"), ("x-data-freshness", "fresh;a=1")]))
        .await;
    assert_eq!(shop.asked(get("/list"), DOWN).await.1, "a replica's");
    shop.asked(get("/list"), degraded("private", &[no_store])).await;
    assert_eq!(shop.asked(get("/list"), DOWN).await.1, "we are sorry");
}

/// A degraded answer updates nothing, but its status still removes what is gone.
#[tokio::test(start_paused = true)]
async fn a_document_that_is_gone_is_forgotten_also_where_its_absence_is_told_in_a_degraded_way() {
    let shop = Shop::new();
    shop.asked(get("/list"), "the list").await;
    shop.asked(get("/list"), (StatusCode::GONE, [("x-data-freshness", "degraded")], "gone")).await;
    assert_eq!(shop.asked(get("/list"), DOWN).await.1, "we are sorry");
}
