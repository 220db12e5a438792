//! Two processes that share a server. The second one is this executable, which runs the same test with [`SERVER`] set.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use backstop_core::Outcome;
use backstop_features::{Cause, Features};
use backstop_redis::RedisStore;
use backstop_test::RedisServer;
use tokio::time::{Instant, sleep};

use crate::common::{REVIEWS, SEARCH, instance, instance_with, is_off, off, within};

/// The URL of the server, in the environment of the second process.
const SERVER: &str = "BACKSTOP_TEST_REDIS_URL";
const SOON: Duration = Duration::from_secs(2);
const START: Duration = Duration::from_secs(10);

#[tokio::test]
async fn two_processes_see_each_others_flags_within_two_seconds_and_count_errors_together() {
    if let Ok(url) = env::var(SERVER) {
        return second_process(&url).await;
    }
    let Some(redis) = RedisServer::start() else { return };
    let mut second = Command::new(env::current_exe().unwrap())
        .args(["processes::", "--nocapture"])
        .env(SERVER, redis.url())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (says, said) = mpsc::channel();
    let stderr = BufReader::new(second.stderr.take().unwrap());
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| says.send(line)));

    let first = instance(&redis).await;
    within(START, "the second process", || said.try_recv().is_ok_and(|line| line == "ready")).await;
    first.handle().set(&REVIEWS, off()).await.unwrap();
    within(SOON, "the flag", || said.try_recv().is_ok_and(|line| line == "off")).await;
    within(SOON, "its removal", || first.is_enabled(&REVIEWS)).await;
    degrades(&first).await;
    assert!(second.wait().unwrap().success());
}

/// Says on the standard error what it sees.
#[expect(clippy::print_stderr, reason = "the first process reads it")]
async fn second_process(url: &str) {
    let store = RedisStore::new(redis::Client::open(url).unwrap());
    #[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
    tokio::spawn(store.run());
    within(START, "a connection", || store.is_connected()).await;
    let features = instance_with(store).await;
    eprintln!("ready");
    within(START, "the flag", || is_off(&features, &REVIEWS)).await;
    eprintln!("off");
    features.handle().remove(&REVIEWS, "bob", "works").await.unwrap();
    degrades(&features).await;
}

/// Three errors in each process: too few for an instance alone.
async fn degrades(features: &Features) {
    (0..3).for_each(|_| features.record(&SEARCH, &Outcome::failure()));
    let since = Instant::now();
    while features.handle().get(&SEARCH).unwrap().cause != Cause::Errors {
        assert!(since.elapsed() < START, "the fleet's decision");
        // Traffic goes on, so that both report once the window has settled.
        features.record(&SEARCH, &Outcome::success());
        sleep(Duration::from_millis(200)).await;
    }
}
