//! What a worker gives back that it doesn't run.

use backstop_deferred::{
    Deferred, Job, JobKind, JobState, Name, name,
    store::{JobStore, List},
};
use backstop_test::NatsServer;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tower::BoxError;

use crate::common::{Email, Sent, email, emails, now, secs, store, within};

#[tokio::test]
async fn a_worker_that_stops_gives_back_at_once_what_it_holds() {
    let Some(nats) = NatsServer::start() else { return };
    let (stopping, other) = (emails(&nats, "emails").await, emails(&nats, "emails").await);
    let mut jobs = Vec::new();
    for number in 0..20 {
        jobs.push(stopping.defer(&email(&number.to_string())).await.unwrap().id);
    }
    // One job at a time, and that doesn't end. It holds some more.
    let (begin, mut begun) = watch::channel(false);
    let send = tower::service_fn(move |_: Job<Email>| {
        begin.send_replace(true);
        std::future::pending::<Result<(), BoxError>>()
    });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut config = stopping.handle().config();
    config.grace = secs(1);
    stopping.handle().reload(config).unwrap();
    let worker = tokio::spawn(stopping.worker(send).run(async { _ = stopped.await }));
    begun.wait_for(|begun| *begun).await.unwrap();
    drop(stop);
    let since = Instant::now();
    let sent = Sent::default();
    sent.work(&other, async || Ok(()));
    for id in jobs {
        let is_done = async || other.state(id).await.unwrap() == Some(JobState::Done);
        within(secs(15), "another worker has run it", is_done).await;
    }
    assert!(since.elapsed() < secs(15), "{:?}: long before they would be delivered again", since.elapsed());
    worker.await.unwrap();
}

#[tokio::test]
async fn whoever_holds_wakeups_and_releases_them_shows_them_to_others() {
    let Some(nats) = NatsServer::start() else { return };
    let (one, other) = (store(&nats, "emails").await, store(&nats, "emails").await);
    let queue = Deferred::<Email>::builder("emails", one.clone()).build().unwrap();
    for number in 0..50 {
        queue.defer(&email(&number.to_string())).await.unwrap();
    }
    let held = one.due(List::Queued, 0..=now(), 50).await.unwrap().len();
    assert!(held > 0);
    _ = other.due(List::Queued, 0..=now(), 50).await.unwrap();
    one.release().await.unwrap();
    let found = async || other.due(List::Queued, 0..=now(), 50).await.unwrap().len() == 50;
    within(secs(5), "all are shown to the other process", found).await;
    assert_eq!(one.due(List::Queued, 0..=now(), 50).await.unwrap(), []);
}

#[derive(Deserialize, Serialize)]
struct Letter {}

impl JobKind for Letter {
    const KIND: Name = name!("letter");
}

#[tokio::test]
async fn a_job_of_an_unknown_kind_is_left_to_others_and_not_written() {
    let Some(nats) = NatsServer::start() else { return };
    let store = store(&nats, "emails").await;
    let letters = Deferred::<Letter>::builder("emails", store.clone()).build().unwrap();
    let letter = letters.defer(&Letter {}).await.unwrap().id;
    let version = store.get(letter).await.unwrap().unwrap().version;
    let emails = emails(&nats, "emails").await;
    let sent = Sent::default();
    let worker = sent.work(&emails, async || Ok(()));
    for number in 0..20 {
        emails.defer(&email(&number.to_string())).await.unwrap();
        sleep(secs(1) / 10).await;
    }
    within(secs(10), "those that it knows run", async || (0..20).all(|number| sent.to(&number.to_string()) == 1)).await;
    assert_eq!(store.get(letter).await.unwrap().unwrap().version, version);
    // Otherwise each of the two may be shown it, every 30 s.
    worker.abort();
    tokio::spawn(
        letters.worker(tower::service_fn(async |_: Job<Letter>| Ok::<_, BoxError>(()))).run(std::future::pending()),
    );
    let is_done = async || letters.state(letter).await.unwrap() == Some(JobState::Done);
    within(secs(40), "a worker that knows it runs it", is_done).await;
}
