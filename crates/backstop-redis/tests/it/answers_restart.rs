//! Answers outlive the process that has stored them. The second process is this executable, which runs the same test with
//! [`SERVER`] set.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{convert::Infallible, env, process::Command, time::Duration};

use axum::{
    body::Body,
    http::{Request, Response, StatusCode},
};
use backstop_last_known_good::{Freshness, LastKnownGoodLayer, NotStored};
use backstop_redis::RedisStore;
use backstop_test::RedisServer;
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};

use crate::common::{command, connected, number, within};

/// The URL of the server, in the environment of the second process.
const SERVER: &str = "BACKSTOP_TEST_REDIS_ANSWERS";
const SOON: Duration = Duration::from_secs(5);

/// A layer for which `x-user` is the principal.
#[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
pub(crate) fn layer(store: &RedisStore) -> LastKnownGoodLayer<RedisStore> {
    let builder = LastKnownGoodLayer::builder("shop").principal(|head| head.headers.get("x-user").cloned());
    builder.shared_store(store.clone(), |task| drop(tokio::spawn(task))).build().unwrap()
}

pub(crate) fn get(path: &str, user: &str) -> Request<Body> {
    Request::get(path).header("x-user", user).body(Body::empty()).unwrap()
}

/// A GET that the service answers so, with an answer that varies by its language.
async fn answers(layer: &LastKnownGoodLayer<RedisStore>, request: Request<Body>, body: &str) {
    let answer = Response::builder().header("vary", "accept-language").header("cache-control", "private");
    let answer = answer.body(Body::from(body.to_owned())).unwrap();
    let mut answer = Some(answer);
    let service = service_fn(move |_: Request<Body>| std::future::ready(Ok::<_, Infallible>(answer.take().unwrap())));
    let response = layer.layer(service).oneshot(request).await.unwrap();
    axum::body::to_bytes(response.into_body(), 100).await.unwrap();
}

/// The body that is stored, and its age.
pub(crate) async fn known(
    layer: &LastKnownGoodLayer<RedisStore>,
    request: Request<Body>,
) -> Result<(String, Duration), NotStored> {
    let answer = layer.handle().answer::<Body>(request.into_parts().0).await?;
    let age = answer.freshness().and_then(Freshness::age).unwrap();
    let response = answer.into_value();
    assert_eq!(response.status(), StatusCode::OK);
    let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
    Ok((String::from_utf8(body.to_vec()).unwrap(), age))
}

#[tokio::test]
async fn a_restarted_service_serves_what_it_had_stored_with_its_true_age_to_whom_it_is_for() {
    if let Ok(url) = env::var(SERVER) {
        return second_process(&url).await;
    }
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    let first = layer(&store);
    answers(&first, get("/profile?token=secret", "ada"), "ada's").await;
    answers(&first, get("/profile?token=secret", "bob"), "bob's").await;
    // What leads to the two, and the two.
    within(SOON, "the answers", || number(&redis, &["DBSIZE"]) == 5).await;
    let keys: Vec<Vec<u8>> = redis::from_redis_value(command(&redis, &["KEYS", "*"])).unwrap();
    assert!(keys.iter().all(|key| key.len() == b"answer:".len() + 32), "no key shows a principal: {keys:?}");
    sleep(Duration::from_secs(3)).await;
    let second = Command::new(env::current_exe().unwrap())
        .args(["answers_restart::", "--nocapture"])
        .env(SERVER, redis.url())
        .output()
        .unwrap();
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
}

async fn second_process(url: &str) {
    let store = RedisStore::new(redis::Client::open(url).unwrap());
    #[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
    tokio::spawn(store.run());
    within(SOON, "a connection", || store.is_connected()).await;
    let layer = layer(&store);
    for _ in 0..2 {
        for user in ["ada", "bob"] {
            let (body, age) = known(&layer, get("/profile?token=secret", user)).await.unwrap();
            assert_eq!(body, format!("{user}'s"));
            assert!((3..60).contains(&age.as_secs()), "{age:?}");
        }
        assert_eq!(known(&layer, get("/profile?token=secret", "eve")).await, Err(NotStored::Missing));
    }
}

/// How many times the server has read from its clients.
fn reads(redis: &RedisServer) -> u64 {
    let info: String = redis::from_redis_value(command(redis, &["INFO", "stats"])).unwrap();
    let reads = info.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
    reads.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn serving_an_answer_takes_one_round_trip() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    let first = layer(&store);
    for path in ["/a", "/b"] {
        answers(&first, get(path, "ada"), path).await;
    }
    within(SOON, "the answers", || number(&redis, &["DBSIZE"]) == 6).await;
    let second = layer(&store);
    // From the first one it learns by what answers vary.
    known(&second, get("/a", "ada")).await.unwrap();
    let first_look = reads(&redis);
    let a_look = reads(&redis) - first_look;
    known(&second, get("/b", "ada")).await.unwrap();
    assert_eq!(reads(&redis) - first_look - a_look, a_look + 1);
    // What was served is in memory now.
    let before = reads(&redis);
    known(&second, get("/b", "ada")).await.unwrap();
    assert_eq!(reads(&redis) - before, a_look);
}
