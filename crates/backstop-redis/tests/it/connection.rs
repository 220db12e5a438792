//! The connection: who makes it, when it is given up, and when there is another one.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    task::{Context, Waker},
    time::Duration,
};

use backstop_features::{CountReport, CountStore, FlagStore};
use backstop_last_known_good::Store;
use backstop_redis::RedisStore;
use backstop_test::{Logs, RedisServer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tracing::Level;

use crate::{
    common::{REVIEWS, client, command, connected, is_off, off, shop, text, within},
    load::BACK,
};

const SOON: Duration = Duration::from_secs(2);

#[tokio::test]
async fn nothing_is_connected_until_it_is_run_and_after_it_is_dropped() {
    let Some(redis) = RedisServer::start() else { return };
    let store = RedisStore::new(client(&redis));
    let error = store.version().await.unwrap_err();
    assert!(error.to_string().contains("`run`"), "{error}");
    #[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
    let task = tokio::spawn(store.run());
    within(SOON, "a connection", || store.is_connected()).await;
    task.abort();
    within(SOON, "no connection", || !store.is_connected()).await;
    let error = store.version().await.unwrap_err();
    assert!(error.to_string().contains("dropped"), "{error}");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
async fn a_second_driver_takes_over_from_the_first() {
    let Some(redis) = RedisServer::start() else { return };
    let store = RedisStore::new(client(&redis));
    let first = tokio::spawn(store.run());
    within(SOON, "a connection", || store.is_connected()).await;
    tokio::spawn(store.run());
    // It waits for its turn.
    assert!(store.version().await.is_ok());
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert!(!store.is_connected());
    within(BACK, "another one", || store.is_connected()).await;
    assert!(store.version().await.is_ok());
}

#[tokio::test]
async fn a_hung_server_is_given_up_also_by_callers_with_shorter_limits() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    redis.pause();
    for _ in 0..9 {
        timeout(Duration::from_millis(100), store.get(b"key")).await.unwrap_err();
        if !store.is_connected() {
            break;
        }
    }
    assert!(!store.is_connected(), "calls have waited for longer than the store's own limit");
    redis.resume();
    within(BACK, "another connection", || store.is_connected()).await;
    assert_eq!(store.get(b"key").await.unwrap(), None);
}

/// Sends the call, and doesn't wait for the answer.
fn send<T>(call: impl Future<Output = T>) -> Pin<Box<impl Future<Output = T>>> {
    let mut call = Box::pin(call);
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    call
}

#[tokio::test]
async fn callers_who_leave_at_once_cost_no_connection() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    drop(send(store.get(b"key")));
    // No caller waits for that.
    sleep(Duration::from_secs(1)).await;
    drop(send(store.get(b"key")));
    assert!(store.is_connected());
}

#[tokio::test]
async fn a_caller_of_an_earlier_connection_says_nothing_about_this_one() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    let get = send(store.get(b"key"));
    command(&redis, &["CLIENT", "KILL", "TYPE", "normal"]);
    within(BACK, "no connection", || !store.is_connected()).await;
    within(BACK, "another connection", || store.is_connected()).await;
    sleep(Duration::from_secs(1)).await;
    drop(get);
    sleep(Duration::from_secs(1)).await;
    drop(send(store.get(b"key")));
    assert!(store.is_connected());
}

/// A store whose server is asked often whether it is a primary.
#[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
async fn checked_each_second(redis: &RedisServer) -> RedisStore {
    let store = RedisStore::builder(client(redis)).check_interval(Duration::from_secs(1)).build().unwrap();
    tokio::spawn(store.run());
    within(SOON, "a connection", || store.is_connected()).await;
    store
}

#[tokio::test]
async fn a_demotion_is_noticed_without_any_call() {
    let (Some(redis), Some(primary)) = (RedisServer::start(), RedisServer::start()) else { return };
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let store = checked_each_second(&redis).await;
    command(&redis, &["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    within(BACK, "the demotion", || !store.is_connected()).await;
    // Also on each new connection. The old data could be read, and would get old.
    sleep(SOON).await;
    let error = store.version().await.unwrap_err();
    assert_eq!(error.to_string(), "the server is a replica");

    command(&redis, &["REPLICAOF", "NO", "ONE"]);
    within(BACK, "another connection", || store.is_connected()).await;
    assert_eq!(store.version().await.unwrap(), None);
    let said: Vec<_> = logs.events().iter().map(|event| event.message().to_owned()).collect();
    assert_eq!(said, ["the server is a replica; it isn't used until it is a primary", "the server is a primary again"]);
}

#[tokio::test]
async fn a_hung_server_is_noticed_without_any_call() {
    let Some(redis) = RedisServer::start() else { return };
    let store = checked_each_second(&redis).await;
    redis.pause();
    within(BACK, "no connection", || !store.is_connected()).await;
    redis.resume();
    within(BACK, "another connection", || store.is_connected()).await;
}

#[tokio::test]
async fn a_server_that_does_not_say_what_it_is_is_used_and_logged_once() {
    let Some(redis) = RedisServer::start() else { return };
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    command(&redis, &["ACL", "SETUSER", "default", "-role"]);
    let store = checked_each_second(&redis).await;
    sleep(SOON).await;
    assert_eq!(store.version().await.unwrap(), None);
    let events = logs.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].message().starts_with("the server doesn't say whether it is a primary"));
}

#[tokio::test]
async fn a_write_to_a_demoted_server_gives_its_connection_up() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    let report = || CountReport::new("search".parse().unwrap(), 5, 1);
    store.report("a", &[report()]).await.unwrap();
    // Nobody is there, so that it doesn't begin to load.
    command(&redis, &["REPLICAOF", "127.0.0.1", "1"]);
    let error = store.report("a", &[report()]).await.unwrap_err();
    assert!(error.to_string().contains("READONLY"), "{error}");
    assert!(!store.is_connected(), "it is given up");
    command(&redis, &["REPLICAOF", "NO", "ONE"]);
    within(BACK, "another connection", || store.is_connected()).await;
    store.report("a", &[report()]).await.unwrap();
}

#[tokio::test]
async fn a_replica_that_has_lost_its_primary_is_given_up() {
    let Some(redis) = RedisServer::start_with(&["--replica-serve-stale-data", "no"]) else { return };
    let store = connected(&redis).await;
    assert_eq!(store.version().await.unwrap(), None);
    command(&redis, &["REPLICAOF", "127.0.0.1", "1"]);
    let error = store.version().await.unwrap_err();
    assert!(error.to_string().contains("MASTERDOWN"), "{error}");
    assert!(!store.is_connected());
    command(&redis, &["REPLICAOF", "NO", "ONE"]);
    within(BACK, "another connection", || store.is_connected()).await;
    assert_eq!(store.version().await.unwrap(), None);
}

/// An address for two servers, like a name in the DNS: connections go to where it points when they are made.
#[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
async fn address_of(port: Arc<AtomicU16>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let port = port.load(Relaxed);
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    address
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
async fn after_a_failover_the_new_primary_is_used_and_flags_hold() {
    let (Some(old), Some(new)) = (RedisServer::start(), RedisServer::start()) else { return };
    command(&new, &["REPLICAOF", "127.0.0.1", &old.port().to_string()]);
    let port = Arc::new(AtomicU16::new(old.port()));
    let address = address_of(Arc::clone(&port)).await;
    let client = redis::Client::open(format!("redis://127.0.0.1:{address}/")).unwrap();
    let store = RedisStore::builder(client).check_interval(Duration::from_secs(1)).build().unwrap();
    tokio::spawn(store.run());
    within(SOON, "a connection", || store.is_connected()).await;
    let features = shop().flags(store.clone()).build().unwrap();
    tokio::spawn(features.run());
    features.loaded().await;
    features.handle().set(&REVIEWS, off()).await.unwrap();
    within(BACK, "replication", || text(&new, &["GET", "feature:reviews"]).is_some()).await;

    command(&new, &["REPLICAOF", "NO", "ONE"]);
    port.store(new.port(), Relaxed);
    command(&old, &["REPLICAOF", "127.0.0.1", &new.port().to_string()]);
    // The old connection still works, and nobody writes.
    within(BACK, "a connection to the new primary", || {
        assert!(is_off(&features, &REVIEWS), "the view holds");
        // Without the one that asks.
        let clients_of_old = text(&old, &["CLIENT", "LIST", "TYPE", "normal"]).unwrap();
        clients_of_old.lines().count() == 1 && store.is_connected()
    })
    .await;
    features.handle().remove(&REVIEWS, "bob", "works").await.unwrap();
    assert_eq!(text(&new, &["GET", "feature:reviews"]).unwrap(), "removed");
}
