//! The whole stack: the headers show only the degradations of the attempts that the answer was made from.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    extract::Request,
    http::{StatusCode, response::Parts},
    response::{IntoResponse, Response},
};
use backstop::{
    Answer, DegradationHeaderLayer, FallbackChain, FallbackLayer, Freshness, Name, Provider, RetryLayer, name,
};
use backstop_tests::http::{get, header, read};
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

const DOWN: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// How a call makes its answer: a chain answers from `source` with this freshness. The call's status is `then`.
#[derive(Clone)]
struct Makes {
    source: Name,
    freshness: Freshness,
    then: StatusCode,
}

impl Makes {
    fn of(source: Name, freshness: Freshness, then: StatusCode) -> Self {
        Self { source, freshness, then }
    }

    async fn answer(self) -> Result<Response, BoxError> {
        let Self { source, freshness, then } = self;
        let prices: FallbackChain<(), &str> = FallbackChain::builder("prices")
            .provider(Provider::value(name!("live"), || async { Err::<&str, _>("the exchange is closed") }))
            .provider(Provider::value(source, move || async move { Answer::new("9.99", freshness) }))
            .build()?;
        let price = prices.execute(()).await?.value;
        Ok((then, [("cache-control", "max-age=60")], price).into_response())
    }
}

/// The answer of the whole stack, with these attempts of the primary, and then this provider.
async fn answers<const N: usize>(attempts: [Makes; N], provider: Makes) -> (Parts, String) {
    let instead = FallbackChain::builder("items")
        .provider(Provider::from_fn(name!("bestsellers"), move |_: Request| provider.clone().answer()))
        .build()
        .unwrap();
    let mut attempts = attempts.into_iter();
    let attempts = Arc::new(Mutex::new(move || attempts.next().unwrap()));
    let retry = RetryLayer::builder("shop").max_attempts(N as u32).build().unwrap();
    let stack = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("shop"), instead))
        .layer(retry)
        .service(service_fn(move |_: Request| {
            let makes = (attempts.lock().unwrap())();
            async move { Ok::<_, Infallible>(makes.answer().await.unwrap()) }
        }));
    read(stack.oneshot(get("/")).await.unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn of_a_retried_primary_only_the_chosen_attempt_is_told() {
    let (head, body) = answers(
        [
            Makes::of(name!("a_list"), Freshness::Degraded, DOWN),
            Makes::of(name!("an_old_copy"), Freshness::stale(Duration::from_secs(90)), StatusCode::OK),
        ],
        Makes::of(name!("never"), Freshness::Degraded, StatusCode::OK),
    )
    .await;
    assert_eq!((head.status, &*body), (StatusCode::OK, "9.99"));
    assert_eq!(header(&head, "x-fallback-source"), Some("an_old_copy"));
    assert_eq!(header(&head, "x-data-freshness"), Some("stale"));
    assert_eq!(header(&head, "age"), Some("90"));
    assert_eq!(header(&head, "cache-control"), Some("max-age=60"), "nothing degraded is in it");
}

#[tokio::test(start_paused = true)]
async fn of_a_primary_that_was_replaced_nothing_is_told_but_by_whom() {
    let (head, _) = answers(
        [Makes::of(name!("a_list"), Freshness::Degraded, DOWN), Makes::of(name!("a_list"), Freshness::Degraded, DOWN)],
        Makes::of(name!("a_replica"), Freshness::Fresh, StatusCode::OK),
    )
    .await;
    assert_eq!(head.status, StatusCode::OK);
    assert_eq!(header(&head, "x-fallback-source"), Some("a_replica, bestsellers"));
    assert_eq!(header(&head, "x-data-freshness"), Some("degraded"));
    assert_eq!(header(&head, "cache-control"), Some("no-store"));
}

#[tokio::test(start_paused = true)]
async fn where_all_fail_what_the_primarys_own_answer_is_made_of_is_told() {
    let (head, body) = answers(
        [
            Makes::of(name!("a_list"), Freshness::Degraded, DOWN),
            Makes::of(name!("an_old_copy"), Freshness::stale(Duration::from_secs(90)), DOWN),
        ],
        Makes::of(name!("a_replica"), Freshness::Fresh, StatusCode::NOT_FOUND),
    )
    .await;
    assert_eq!((head.status, &*body), (DOWN, "9.99"));
    assert_eq!(header(&head, "x-fallback-source"), Some("an_old_copy"));
    assert_eq!(header(&head, "x-data-freshness"), Some("stale"));
}
