//! Commands of a real cache, through a guard, while its server is killed, paused and restarted.
//!
//! The server is `redis-server` from the PATH. Without one the tests are skipped, or fail if the variable `BACKSTOP_REDIS` is
//! `required`.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::time::Duration;

use axum::{Router, body::Body, http::Request, routing::get};
use backstop::{
    AllProvidersFailed, CallError, CircuitState, DegradationHeaderLayer, FallbackChain, Guard, Provider, Reason,
    StandardHandle, name, standard,
};
use backstop_test::RedisServer;
use redis::{
    AsyncCommands, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

const LIMIT: Duration = Duration::from_secs(1);
const WAIT: Duration = Duration::from_millis(100);
/// For what must happen soon, on a machine that is busy.
const SOON: Duration = Duration::from_secs(30);

async fn connect(server: &RedisServer) -> ConnectionManager {
    let client = redis::Client::open(server.url()).unwrap();
    // The guard decides how long to wait, and when to try again.
    let config = ConnectionManagerConfig::new().set_number_of_retries(0).set_response_timeout(None);
    ConnectionManager::new_with_config(client, config).await.unwrap()
}

/// A guard whose circuit opens at the second failure in a row.
fn guard() -> (Guard, StandardHandle) {
    let stack = standard("cache")
        .circuit_breaker(|it| it.consecutive_failures(2).success_threshold(1).wait(WAIT))
        .timeout(LIMIT)
        .build()
        .unwrap();
    (stack.guard(), stack.handle())
}

async fn greeting(cache: &Guard, redis: &ConnectionManager) -> Result<Option<String>, CallError<RedisError>> {
    // A clone uses the same connection.
    let get = || async { redis.clone().get("greeting").await };
    cache.call(get).await
}

fn state(parts: &StandardHandle) -> CircuitState {
    parts.circuit_breaker().unwrap().state()
}

/// Calls until the circuit is in `state`, and waits no longer than it says.
async fn until(wanted: CircuitState, parts: &StandardHandle, call: impl AsyncFn()) {
    let calls = async {
        while state(parts) != wanted {
            sleep(parts.circuit_breaker().unwrap().remaining_wait().unwrap_or_default()).await;
            call().await;
        }
    };
    timeout(SOON, calls).await.unwrap();
}

/// An app that greets as the cache says, or else as always.
fn app(cache: Guard, redis: ConnectionManager) -> Router {
    let cached = Provider::from_fn(name!("cache"), move |()| {
        let (cache, redis) = (cache.clone(), redis.clone());
        async move { greeting(&cache, &redis).await.map(Option::unwrap_or_default) }
    });
    let usual = Provider::value(name!("usual"), async || "hello".to_owned());
    let chain = FallbackChain::builder("greeting").provider(cached).provider(usual).build().unwrap();
    let greet = async move || Ok::<_, AllProvidersFailed>(chain.execute(()).await?.value);
    Router::new().route("/", get(greet)).layer(DegradationHeaderLayer::new())
}

/// What the app says, and the label of its source.
async fn ask(app: &Router) -> (String, Option<String>) {
    let response = app.clone().oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    let source = response.headers().get("x-fallback-source").map(|source| source.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
    (String::from_utf8(body.to_vec()).unwrap(), source)
}

#[tokio::test]
async fn a_killed_server_opens_the_circuit_a_fallback_answers_and_all_is_well_again_after_a_restart() {
    let Some(mut server) = RedisServer::start() else { return };
    let redis = connect(&server).await;
    let (cache, parts) = guard();
    let app = app(cache.clone(), redis.clone());
    let (cached, usual) = (("good morning".to_owned(), None), ("hello".to_owned(), Some("usual".to_owned())));
    redis.clone().set::<_, _, ()>("greeting", "good morning").await.unwrap();
    assert_eq!(ask(&app).await, cached);

    server.kill();
    until(CircuitState::Open, &parts, async || assert_eq!(ask(&app).await, usual)).await;
    // Nobody is asked now, and nobody waits.
    let refused = greeting(&cache, &redis).await.unwrap_err();
    assert_eq!(refused.rejection().unwrap().reason(), Reason::CIRCUIT_OPEN);
    assert_eq!(ask(&app).await, usual);

    server.restart();
    until(CircuitState::Closed, &parts, async || _ = ask(&app).await).await;
    assert_eq!(ask(&app).await, cached);
}

#[tokio::test]
async fn a_paused_server_holds_nobody_up_for_longer_than_the_limit() {
    let Some(server) = RedisServer::start() else { return };
    let redis = connect(&server).await;
    let (cache, parts) = guard();
    assert_eq!(greeting(&cache, &redis).await.unwrap(), None);

    server.pause();
    let late = greeting(&cache, &redis).await.unwrap_err();
    assert_eq!(late.rejection().unwrap().reason(), Reason::TIMEOUT);
    until(CircuitState::Open, &parts, async || _ = greeting(&cache, &redis).await).await;

    server.resume();
    until(CircuitState::Closed, &parts, async || _ = greeting(&cache, &redis).await).await;
    assert_eq!(greeting(&cache, &redis).await.unwrap(), None);
}

#[tokio::test]
async fn a_command_that_may_run_twice_is_sent_again_after_the_connection_was_lost() {
    let Some(mut server) = RedisServer::start() else { return };
    let redis = connect(&server).await;
    let stack = standard("cache").circuit_breaker(|it| it.consecutive_failures(9)).timeout(SOON).build().unwrap();
    let cache = stack.guard().transient(|error: &RedisError| error.is_io_error());
    redis.clone().set::<_, _, ()>("greeting", "good morning").await.unwrap();
    server.restart();
    assert_eq!(greeting(&cache, &redis).await.unwrap().as_deref(), Some("good morning"));
    // A server that comes back empty is well, too.
    server.restart_empty();
    assert_eq!(greeting(&cache, &redis).await.unwrap(), None);
}
