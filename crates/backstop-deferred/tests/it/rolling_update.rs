//! Two versions of a program at work on one queue.

use std::{
    collections::BTreeMap,
    error::Error,
    future::pending,
    sync::{Arc, Mutex},
};

use backstop_deferred::{Deferred, Job, JobKind, MemoryJobStore, Name, name};
use serde::{Deserialize, Serialize};
use tokio::{
    task::JoinHandle,
    time::{Duration, sleep},
};
use tower::{BoxError, service_fn};

use crate::common::{Breakable, secs};

#[derive(Deserialize, Serialize)]
struct OldEmail {
    to: u32,
}

impl JobKind for OldEmail {
    const KIND: Name = name!("email");
}

#[derive(Deserialize, Serialize)]
struct NewEmail {
    to: Vec<u32>,
}

impl JobKind for NewEmail {
    const KIND: Name = name!("email");
    const VERSION: u32 = 2;

    fn from_payload(version: u32, json: &[u8]) -> Result<Self, Box<dyn Error + Send + Sync>> {
        if version == 1 {
            let OldEmail { to } = serde_json::from_slice(json)?;
            return Ok(Self { to: vec![to] });
        }
        Ok(serde_json::from_slice(json)?)
    }
}

#[derive(Deserialize, Serialize)]
struct Letter {}

impl JobKind for Letter {
    const KIND: Name = name!("letter");
}

/// The attempts of each e-mail, by whom it is to.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<BTreeMap<u32, Vec<u32>>>>);

impl Sent {
    fn work<T: JobKind>(&self, emails: &Deferred<T>, to: fn(&T) -> u32) -> JoinHandle<()> {
        let sent = self.clone();
        let send = service_fn(move |job: Job<T>| {
            sent.0.lock().unwrap().entry(to(job.payload())).or_default().push(job.attempt());
            async { Ok::<_, BoxError>(()) }
        });
        tokio::spawn(emails.worker(send).run(pending()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_rolling_update_and_its_rollback_lose_no_job_and_count_no_attempt() {
    let store = MemoryJobStore::new();
    let old = Deferred::<OldEmail>::builder("emails", store.clone()).build().unwrap();
    let new = Deferred::<NewEmail>::builder("emails", store.clone()).build().unwrap();
    let letters = Deferred::<Letter>::builder("emails", store).build().unwrap();
    letters.defer(&Letter {}).await.unwrap();
    let sent = Sent::default();
    let mut number = 0;
    // Each second, each version that runs adds an e-mail.
    let mut add = async |by_old: bool, by_new: bool| {
        for _ in 0..20 {
            sleep(Duration::from_secs(1)).await;
            if by_old {
                number += 1;
                old.defer(&OldEmail { to: number }).await.unwrap();
            }
            if by_new {
                number += 1;
                new.defer(&NewEmail { to: vec![number] }).await.unwrap();
            }
        }
        number
    };
    let start_old = || sent.work(&old, |email| email.to);
    let start_new = || sent.work(&new, |email| email.to[0]);

    let old_worker = start_old();
    add(true, false).await;
    let new_worker = start_new();
    add(true, true).await;
    old_worker.abort();
    add(false, true).await;
    // It is rolled back.
    let old_worker = start_old();
    add(true, true).await;
    new_worker.abort();
    add(true, true).await;
    let waiting = add(true, false).await as usize - sent.0.lock().unwrap().len();
    assert!(waiting > 0, "the old version leaves new ones alone");
    // The update again.
    let _new_worker = start_new();
    old_worker.abort();
    let added = add(false, true).await;
    sleep(secs(60)).await;
    let sent = sent.0.lock().unwrap();
    let once: BTreeMap<_, _> = (1..=added).map(|to| (to, vec![1])).collect();
    assert_eq!(*sent, once);
}

#[tokio::test(start_paused = true)]
async fn an_old_worker_writes_nothing_for_jobs_it_does_not_know_and_reaches_those_behind_them() {
    let store = Breakable::default();
    let old = Deferred::<OldEmail>::builder("emails", store.clone()).build().unwrap();
    let new = Deferred::<NewEmail>::builder("emails", store.clone()).build().unwrap();
    for number in 0..2_000 {
        new.defer(&NewEmail { to: vec![number] }).await.unwrap();
    }
    old.defer(&OldEmail { to: 5_000 }).await.unwrap();
    let sent = Sent::default();
    let old_worker = sent.work(&old, |email| email.to);
    sleep(secs(300)).await;
    assert_eq!(*sent.0.lock().unwrap(), BTreeMap::from([(5_000, vec![1])]));
    assert_eq!(store.replaced(), 2, "it claims and completes its own job");
    // A worker that knows them needn't wait.
    let _new_worker = sent.work(&new, |email| email.to[0]);
    sleep(secs(20)).await;
    old_worker.abort();
    assert_eq!(sent.0.lock().unwrap().len(), 2_001);
}

#[tokio::test(start_paused = true)]
async fn an_old_worker_does_not_ask_again_and_again_for_a_job_whose_new_worker_is_gone() {
    let store = Breakable::default();
    let old = Deferred::<OldEmail>::builder("emails", store.clone()).build().unwrap();
    let new = Deferred::<NewEmail>::builder("emails", store.clone()).build().unwrap();
    new.defer(&NewEmail { to: vec![1] }).await.unwrap();
    let hangs = service_fn(async |_: Job<NewEmail>| pending::<Result<(), BoxError>>().await);
    let new_worker = tokio::spawn(new.worker(hangs).run(pending()));
    sleep(secs(5)).await;
    new_worker.abort();
    let sent = Sent::default();
    let _old_worker = sent.work(&old, |email| email.to);
    // Until its claim has run out.
    sleep(secs(40)).await;
    let asked = store.asked();
    sleep(secs(60)).await;
    assert!(store.asked() - asked < 100, "once a second: {}", store.asked() - asked);
    // Of three crashes, this is one.
    let _new_worker = sent.work(&new, |email| email.to[0]);
    sleep(secs(5)).await;
    assert_eq!(*sent.0.lock().unwrap(), BTreeMap::from([(1, vec![2])]));
}
