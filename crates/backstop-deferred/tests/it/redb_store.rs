//! The store in a file.

use std::{fs, path::PathBuf};

use backstop_deferred::{
    Deferred, Failure, JobState, RedbJobStore,
    store::{JobStore, List, contract},
};
use tokio::time::{Instant, sleep, timeout};

use crate::common::{Email, email, emails, secs, work};

/// A directory that is removed in the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("backstop-deferred-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(&self) -> PathBuf {
        self.0.join("jobs.redb")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn the_store_in_a_file_keeps_the_contract() {
    let dir = Dir::new("contract");
    let mut number = 0;
    contract::all(async || {
        number += 1;
        RedbJobStore::open(dir.0.join(format!("{number}.redb"))).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn records_outlive_the_process() {
    let dir = Dir::new("outlive");
    contract::records_outlive_the_store(async || RedbJobStore::open(dir.file()).await.unwrap()).await;
}

#[tokio::test]
async fn jobs_and_keys_outlive_the_process_and_run_afterwards() {
    let dir = Dir::new("restart");
    let first = {
        let emails = emails(RedbJobStore::open(dir.file()).await.unwrap());
        emails.defer(&email("ada")).key("ada", "17").await.unwrap()
    };
    let store = RedbJobStore::open(dir.file()).await.unwrap();
    let emails = emails(store.clone());
    assert_eq!(emails.defer(&email("ada")).key("ada", "17").await.unwrap().id, first.id);
    let (sent, _worker) = work(&emails, async |_| Ok(()));
    let done = async {
        while emails.state(first.id).await.unwrap() != Some(JobState::Done) {
            sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    timeout(secs(10), done).await.unwrap();
    assert_eq!(sent.all(), [("ada".to_owned(), 1)]);
    assert_eq!(
        (store.totals(List::Queued).await.unwrap().records, store.totals(List::Done).await.unwrap().records),
        (0, 1)
    );
}

#[tokio::test]
async fn jobs_that_ran_when_the_process_ended_are_queued_and_that_was_a_crash() {
    let dir = Dir::new("running");
    let mut id = None;
    for attempt in 1..=3 {
        let emails = emails(RedbJobStore::open(dir.file()).await.unwrap());
        let id = match id {
            Some(id) => id,
            None => *id.insert(emails.defer(&email("ada")).await.unwrap().id),
        };
        assert_eq!(emails.state(id).await.unwrap(), Some(JobState::Queued));
        let (started, mut has_started) = tokio::sync::mpsc::unbounded_channel();
        let (_sent, worker) = work(&emails, move |job| {
            started.send(job.attempt()).unwrap();
            std::future::pending()
        });
        assert_eq!(timeout(secs(10), has_started.recv()).await.unwrap(), Some(attempt));
        assert_eq!(emails.state(id).await.unwrap(), Some(JobState::Running));
        worker.abort();
        _ = worker.await;
    }
    let emails = emails(RedbJobStore::open(dir.file()).await.unwrap());
    let (sent, _worker) = work(&emails, async |_| Ok(()));
    let failed = async {
        while emails.state(id.unwrap()).await.unwrap() != Some(JobState::Failed(Failure::Crashes)) {
            sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    timeout(secs(10), failed).await.unwrap();
    assert_eq!(sent.all(), []);
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new("mode");
    let store = RedbJobStore::open(dir.file()).await.unwrap();
    let mode = || fs::metadata(dir.file()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    drop(store);
    fs::set_permissions(dir.file(), fs::Permissions::from_mode(0o664)).unwrap();
    let _store = RedbJobStore::open(dir.file()).await.unwrap();
    assert_eq!(mode(), 0o600, "also if others could read it before");
}

#[tokio::test]
async fn opening_waits_until_another_process_has_closed_the_file() {
    let dir = Dir::new("lock");
    let first = RedbJobStore::open(dir.file()).await.unwrap();
    let path = dir.file();
    let mut second = tokio::spawn(async move { RedbJobStore::open(path).await.map(drop) });
    assert!(timeout(secs(1), &mut second).await.is_err(), "it waits");
    drop(first);
    timeout(secs(10), second).await.unwrap().unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn opening_fails_if_another_process_has_the_file_for_30_s() {
    let dir = Dir::new("locked");
    let _first = RedbJobStore::open(dir.file()).await.unwrap();
    let since = Instant::now();
    let error = RedbJobStore::open(dir.file()).await.unwrap_err().to_string();
    assert!(since.elapsed() >= secs(30) && since.elapsed() < secs(31), "{:?}", since.elapsed());
    assert!(error.contains("jobs.redb") && error.contains("another process"), "{error}");
}

#[tokio::test]
async fn a_file_of_something_else_is_refused_and_left_alone() {
    let dir = Dir::new("other");
    fs::write(dir.file(), "something else".repeat(1_000)).unwrap();
    RedbJobStore::open(dir.file()).await.unwrap_err();
    assert!(fs::read_to_string(dir.file()).unwrap().starts_with("something else"));
    RedbJobStore::open(dir.0.join("no/such/directory")).await.unwrap_err();
}

#[tokio::test]
async fn callers_at_once_share_transactions_and_none_is_lost() {
    let dir = Dir::new("group");
    let store = RedbJobStore::open(dir.file()).await.unwrap();
    let emails = Deferred::<Email>::builder("emails", store.clone()).store_timeout(secs(60)).build().unwrap();
    let tasks: Vec<_> = (0..500)
        .map(|i| {
            let emails = emails.clone();
            tokio::spawn(async move { emails.defer(&email(&i.to_string())).key("ada", &(i / 2).to_string()).await })
        })
        .collect();
    let (mut new, mut reused) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(receipt) => new += u64::from(receipt.is_new),
            Err(_) => reused += 1,
        }
    }
    assert_eq!((new, reused), (250, 250));
    assert_eq!(store.totals(List::Queued).await.unwrap().records, 250);
}
