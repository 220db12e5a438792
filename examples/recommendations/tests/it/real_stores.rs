//! A real Redis and a real NATS, killed and restarted under load.
//!
//! Skipped where their programs are missing, or failed if `BACKSTOP_REDIS` or `BACKSTOP_NATS` is `required`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test may fail it, as the test itself may")]

use std::cell::RefCell;
use std::time::Duration;

use backstop_test::{NatsServer, RedisServer};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{Instant, interval, sleep, timeout};

use crate::program::{PATIENCE, Started, ask, get, order};

/// What else is asked of the app, and the number of the request.
type Other = fn(String, u32) -> JoinSet<()>;

/// How long each state of the server lasts.
const LONG: Duration = Duration::from_millis(700);

/// Ten times a second until told to stop, sends a request for recommendations and one more. How many were answered.
async fn load(app: String, other: Other, mut stop: watch::Receiver<bool>) -> u32 {
    let mut ticks = interval(Duration::from_millis(100));
    let mut asked = JoinSet::new();
    let mut answered = 0;
    while !*stop.borrow_and_update() {
        ticks.tick().await;
        let began = Instant::now();
        let (app, n) = (app.clone(), answered);
        asked.spawn(async move {
            let answer = get(&app, &format!("/api/recommendations/user-{n}")).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert!(began.elapsed() < Duration::from_millis(850), "{:?}", began.elapsed());
            let mut others = other(app, n);
            while let Some(ended) = others.join_next().await {
                ended.unwrap();
            }
        });
        answered += 1;
    }
    while let Some(ended) = asked.join_next().await {
        ended.unwrap();
    }
    answered
}

/// Has the app answer while the server is up, down, and up again.
async fn kill_and_restart(started: &Started, other: Other, kill: impl FnOnce(), restart: impl FnOnce()) {
    let (stop, stopped) = watch::channel(false);
    let mut loading = JoinSet::new();
    loading.spawn(load(started.app.clone(), other, stopped));
    sleep(LONG).await;
    block_in_place(kill);
    sleep(LONG).await;
    block_in_place(restart);
    sleep(LONG).await;
    stop.send_replace(true);
    let answered = loading.join_next().await.unwrap().unwrap();
    assert!(answered >= 15, "only {answered} requests");
}

/// How many keys are in Redis.
async fn keys(port: u16) -> u32 {
    let answer = ask(&format!("127.0.0.1:{port}"), "DBSIZE\r\nQUIT\r\n").await;
    answer.lines().find_map(|line| line.strip_prefix(':')?.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_restarted_under_load_and_all_are_answered() {
    let Some(redis) = RedisServer::start() else { return };
    let port = redis.port();
    let started = Started::start(&["--redis-url", &redis.url()]).await;
    until("the app tells Redis how it is", async || keys(port).await > 0).await;
    let redis = RefCell::new(redis);
    let no_more: Other = |_, _| JoinSet::new();
    kill_and_restart(&started, no_more, || redis.borrow_mut().kill(), || redis.borrow_mut().restart_empty()).await;
    until("the app tells Redis again", async || keys(port).await > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_is_killed_and_restarted_under_load_and_no_order_is_lost() {
    let Some(nats) = NatsServer::start() else { return };
    let nats = RefCell::new(nats);
    let url = nats.borrow().url();
    let started = Started::start(&["--nats-url", &url]).await;
    let orders: Other = |app, n| {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Charged, whatever becomes of the queues.
            let answer = order(&app, &format!("order-{n}")).await;
            assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        });
        tasks
    };
    kill_and_restart(&started, orders, || nats.borrow_mut().kill(), || nats.borrow_mut().restart()).await;

    // An order that needs the queue is accepted again, and done.
    started.set_fault("payment", "refuse").await;
    let mut location = String::new();
    until("an order is queued", async || {
        let answer = order(&started.app, "later").await;
        let found = answer.lines().find_map(|line| line.strip_prefix("location: "));
        location = found.unwrap_or_default().trim().to_owned();
        answer.starts_with("HTTP/1.1 202 ")
    })
    .await;
    started.set_fault("payment", "none").await;
    until("the job is done", async || {
        let answer = get(&started.app, &location).await;
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str::<Value>(body).is_ok_and(|job| job["status"] == "done")
    })
    .await;
}
