//! Degraded answers that aren't labelled, because that layer is missing or in the wrong place, or because a spawned task isn't
//! in its scope. A warning is logged once for each chain, and no cache stores the answers.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use backstop::{
    DeadlineLayer, DegradationHeaderLayer, FallbackChain, FallbackLayer, Provider, RetryLayer, TimeoutLayer, name,
    scope::{self, InScope},
};
use backstop_test::{LogEvent, Logs};
use backstop_tests::http::{get, header, read};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tracing::Level;

/// The chains for which a warning says that nobody reads their reports.
fn unread(logs: &Logs) -> Vec<String> {
    let chain = |event: LogEvent| {
        assert_eq!(event.level(), Level::WARN);
        event.field("chain").unwrap().to_owned()
    };
    logs.events().with_target("backstop::scope").into_iter().map(chain).collect()
}

fn fallback(chain: &'static str) -> FallbackLayer<Request, Response> {
    let list = Provider::value(name!("list"), || async { [("cache-control", "public, max-age=600")].into_response() });
    FallbackLayer::new(name!("shop"), FallbackChain::builder(chain).provider(list).build().unwrap())
}

async fn down(_: Request) -> Result<Response, Infallible> {
    Ok(StatusCode::SERVICE_UNAVAILABLE.into_response())
}

#[tokio::test]
async fn a_forgotten_header_layer_is_said_once_and_the_answer_is_cached_nowhere() {
    let logs = Logs::new();
    let _guard = logs.listen();
    // These have their own scopes, but none of them reads reports.
    let stack = ServiceBuilder::new()
        .layer(DeadlineLayer::new(name!("edge")))
        .layer(RetryLayer::new(name!("shop")))
        .layer(TimeoutLayer::new(name!("shop")))
        .layer(fallback("forgotten"))
        .service(service_fn(down));
    for _ in 0..3 {
        let (head, _) = read(stack.clone().oneshot(get("/")).await.unwrap()).await;
        assert_eq!(header(&head, "x-data-freshness"), None);
        assert_eq!(header(&head, "cache-control"), Some("no-store"));
    }
    assert_eq!(unread(&logs), ["forgotten"]);
}

#[tokio::test]
async fn a_header_layer_inside_the_fallback_is_in_the_wrong_place() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let stack = ServiceBuilder::new()
        .layer(fallback("misplaced"))
        .layer(DegradationHeaderLayer::new())
        .service(service_fn(down));
    let (head, _) = read(stack.oneshot(get("/")).await.unwrap()).await;
    assert_eq!(header(&head, "cache-control"), Some("no-store"));
    assert_eq!(unread(&logs), ["misplaced"]);
}

#[tokio::test]
async fn outermost_it_reads_everything_inside() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let stack = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(DeadlineLayer::new(name!("edge")))
        .layer(TimeoutLayer::new(name!("shop")))
        .layer(fallback("read"))
        .service(service_fn(down));
    let (head, _) = read(stack.oneshot(get("/")).await.unwrap()).await;
    assert_eq!(header(&head, "x-fallback-source"), Some("list"));
    assert_eq!(header(&head, "cache-control"), Some("no-store"));
    assert!(unread(&logs).is_empty());
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "what a handler may do")]
async fn a_chain_in_a_spawned_task_is_read_only_where_a_handle_carries_the_scope() {
    let logs = Logs::new();
    let _guard = logs.listen();
    for (chain, carried) in [("carried", true), ("spawned", false)] {
        let service = DegradationHeaderLayer::new().layer(service_fn(move |_: Request| async move {
            let prices: FallbackChain<(), &str> = FallbackChain::builder(chain)
                .total(Duration::from_secs(1))
                .provider(Provider::value(name!("live"), || async { Err::<&str, _>("closed") }))
                .provider(Provider::value(name!("list"), || async { "9.99" }))
                .build()
                .unwrap();
            let task = async move { prices.execute(()).await.unwrap().value };
            let price =
                if carried { tokio::spawn(task.in_scope(scope::handle())).await } else { tokio::spawn(task).await };
            Ok::<_, Infallible>(price.unwrap().into_response())
        }));
        let (head, _) = read(service.oneshot(get("/")).await.unwrap()).await;
        assert_eq!(header(&head, "x-fallback-source"), carried.then_some("list"));
    }
    assert_eq!(unread(&logs), ["spawned"]);
}
