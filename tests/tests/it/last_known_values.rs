//! Remembered values in a handler: they are served when the function fails, with their true age in the headers, and only to
//! the same user.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::Path,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get as on_get,
};
use backstop::{DegradationHeaderLayer, FallbackChain, LastKnownValues, Provider, name};
use backstop_tests::http::{get, header, read};
use tokio::time::{advance, sleep};
use tower::ServiceExt;

const OUT_OF_ORDER: u32 = u32::MAX;

/// An app that greets each user with the number of the last good call, and a way to break it.
fn app() -> (Router, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let known: LastKnownValues<String, String> =
        LastKnownValues::builder("greetings").max_stale(Duration::from_secs(3600)).build().unwrap();
    let cached = known.provider();
    let live = move |user: String| {
        let counted = Arc::clone(&counted);
        known.remember_result(user.clone(), async move {
            sleep(Duration::from_secs(1)).await;
            match counted.load(Relaxed) {
                OUT_OF_ORDER => Err("out of order"),
                call => Ok(format!("{user}, {call}")),
            }
        })
    };
    let greetings = FallbackChain::<String, String>::builder("greetings")
        .provider(Provider::from_fn(name!("live"), live))
        .provider(Provider::from_fn(name!("cached"), cached))
        .build()
        .unwrap();
    let greet = move |Path(user): Path<String>| async move {
        match greetings.execute(user).await {
            Ok(found) => found.value.into_response(),
            Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    };
    (Router::new().route("/{user}", on_get(greet)).layer(DegradationHeaderLayer::new()), calls)
}

async fn ask(app: &Router, path: &str) -> (StatusCode, String, Option<String>) {
    let response: Response = app.clone().oneshot(get(path)).await.unwrap();
    let (head, body) = read(response).await;
    let label = header(&head, "x-fallback-source").map(|source| {
        format!("{source} {} {}", header(&head, "x-data-freshness").unwrap(), header(&head, "age").unwrap_or_default())
    });
    (head.status, body, label)
}

#[tokio::test(start_paused = true)]
async fn the_last_good_value_of_each_user_is_given_with_its_true_age() {
    let (app, calls) = app();
    calls.store(1, Relaxed);
    assert_eq!(ask(&app, "/ada").await, (StatusCode::OK, "ada, 1".to_owned(), None));
    advance(Duration::from_secs(60)).await;
    calls.store(2, Relaxed);
    assert_eq!(ask(&app, "/bob").await, (StatusCode::OK, "bob, 2".to_owned(), None));

    calls.store(OUT_OF_ORDER, Relaxed);
    // Each call takes a second. A value's age counts from the start of its call.
    let of = |value: &str, label: &str| (StatusCode::OK, value.to_owned(), Some(label.to_owned()));
    assert_eq!(ask(&app, "/ada").await, of("ada, 1", "cached stale 63"));
    assert_eq!(ask(&app, "/bob").await, of("bob, 2", "cached stale 3"));
    assert_eq!(ask(&app, "/eve").await.0, StatusCode::SERVICE_UNAVAILABLE, "nobody is shown another's");

    advance(Duration::from_secs(3600)).await;
    assert_eq!(ask(&app, "/ada").await.0, StatusCode::SERVICE_UNAVAILABLE, "too old");
    calls.store(3, Relaxed);
    assert_eq!(ask(&app, "/ada").await, (StatusCode::OK, "ada, 3".to_owned(), None));
}
