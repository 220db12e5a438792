//! A store that is away for longer than a claim lasts: no job is to blame.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use backstop_deferred::{Deferred, JobState};
use tokio::time::sleep;

use crate::common::{Breakable, Email, Fault, Sent, email, emails, secs, work};

/// A worker whose jobs take as long.
fn slow(emails: &Deferred<Email>, time: u64) -> (Sent, tokio::task::JoinHandle<()>) {
    work(emails, move |_| async move {
        sleep(secs(time)).await;
        Ok(())
    })
}

#[tokio::test(start_paused = true)]
async fn outages_during_a_run_are_no_crashes_and_no_attempts() {
    for fault in [Fault::Refuses, Fault::Hangs] {
        let store = Breakable::default();
        let emails = emails(store.clone());
        let (sent, _worker) = slow(&emails, 100);
        let receipt = emails.defer(&email("ada")).await.unwrap();
        for outage in [40, 60, 600, 3_600] {
            sleep(secs(20)).await;
            store.set(fault);
            sleep(secs(outage)).await;
            store.set(Fault::None);
        }
        sleep(secs(120)).await;
        assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Done), "{fault:?}");
        // Begun again after each of the four outages.
        assert_eq!(sent.all(), vec![("ada".to_owned(), 1); 5], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_worker_that_saw_the_outage_counts_no_crash_either() {
    let store = Breakable::default();
    let mut other = Breakable::default();
    other.inner = store.inner.clone();
    let one = emails(store.clone());
    let receipt = one.defer(&email("ada")).await.unwrap();
    // It never comes back.
    let (sent, worker) = slow(&one, 1_000);
    sleep(secs(20)).await;
    let (taken_over, _other) = slow(&emails(other.clone()), 1);
    sleep(secs(5)).await;
    for store in [&store, &other] {
        store.set(Fault::Refuses);
    }
    sleep(secs(60)).await;
    worker.abort();
    other.set(Fault::None);
    sleep(secs(10)).await;
    assert_eq!(one.state(receipt.id).await.map_err(|_| ()), Err(()), "the first one is still cut off");
    store.set(Fault::None);
    assert_eq!(one.state(receipt.id).await.unwrap(), Some(JobState::Done));
    assert_eq!(sent.all(), [("ada".to_owned(), 1)]);
    assert_eq!(taken_over.all(), [("ada".to_owned(), 1)], "the attempt that the outage ended doesn't count");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_ends_during_an_outage_is_done_when_the_store_is_back() {
    let store = Breakable::default();
    let emails = emails(store.clone());
    let (sent, _worker) = slow(&emails, 10);
    let receipt = emails.defer(&email("ada")).await.unwrap();
    sleep(secs(5)).await;
    store.set(Fault::Hangs);
    sleep(secs(600)).await;
    store.set(Fault::None);
    sleep(secs(5)).await;
    assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Done));
    assert_eq!((sent.all().len(), store.completed()), (1, 1), "it isn't run again");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_during_an_outage_ends_in_time() {
    let store = Breakable::default();
    let emails = emails(store.clone());
    let begun = Arc::new(AtomicUsize::new(0));
    let runs = Arc::clone(&begun);
    let send = tower::service_fn(move |_: backstop_deferred::Job<Email>| {
        runs.fetch_add(1, Relaxed);
        pending::<Result<(), tower::BoxError>>()
    });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = tokio::spawn(emails.worker(send).run(async { _ = stopped.await }));
    emails.defer(&email("ada")).await.unwrap();
    sleep(secs(5)).await;
    store.set(Fault::Hangs);
    sleep(secs(100)).await;
    drop(stop);
    let since = tokio::time::Instant::now();
    worker.await.unwrap();
    assert!(since.elapsed() <= secs(46), "{:?}", since.elapsed());
    assert_eq!((begun.load(Relaxed), store.released()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_or_after_an_outage_still_counts() {
    let store = Breakable::default();
    let emails = emails(store.clone());
    let receipt = emails.defer(&email("ada")).await.unwrap();
    for _ in 0..3 {
        let (_sent, worker) = slow(&emails, 1_000);
        sleep(secs(40)).await;
        worker.abort();
        let (_none, observer) = slow(&emails, 1_000);
        sleep(secs(35)).await;
        observer.abort();
        // The next claim is made by a worker that has seen an outage, but of another time.
        sleep(secs(60)).await;
        store.set(Fault::Refuses);
        let (_none, observer) = slow(&emails, 1_000);
        sleep(secs(5)).await;
        observer.abort();
        store.set(Fault::None);
    }
    let (_sent, _worker) = slow(&emails, 1);
    sleep(secs(60)).await;
    assert!(matches!(emails.state(receipt.id).await.unwrap(), Some(JobState::Failed(_))));
}
