//! What every [`JobStore`] must do, as tests that a store's crate calls.
//!
//! Each function takes an empty store, and panics if the store does something else. [`all`] runs all of them but
//! [`records_outlive_the_store`], which is for stores that aren't gone when they are dropped.

#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::{fmt::Debug, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::{Created, JobStore, List, Place};
use crate::JobId;

const MANY: u64 = 1_000_000;
/// How late a store may show a job.
const LATEST: Duration = Duration::from_secs(5);

fn id(number: u8) -> JobId {
    JobId::from_bytes([number; 16])
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

const fn queued(due: u64) -> Place {
    Place { list: List::Queued, due }
}

/// Asks until the answer is as expected. What `due` and `totals` say may be late, so a store has five seconds.
async fn soon<T: Debug + PartialEq<A>, A: Debug>(expected: A, mut ask: impl AsyncFnMut() -> T) {
    let since = Instant::now();
    loop {
        let found = ask().await;
        if found == expected || since.elapsed() > Duration::from_secs(5) {
            assert_eq!(found, expected);
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Runs all tests, each with a store of its own.
///
/// # Panics
/// If the store breaks the contract.
pub async fn all<S: JobStore>(mut store: impl AsyncFnMut() -> S) {
    a_record_is_read_as_it_was_written(&store().await).await;
    a_key_has_one_record(&store().await).await;
    of_many_creations_with_one_key_one_succeeds(&store().await).await;
    no_more_are_pending_than_allowed(&store().await).await;
    only_the_latest_version_is_replaced_or_removed(&store().await).await;
    of_many_replacements_of_one_version_one_succeeds(&store().await).await;
    records_are_found_in_their_list_when_they_are_due(&store().await).await;
    records_that_are_due_long_after_now_are_found(&store().await).await;
    what_is_hidden_or_released_is_found_again(&store().await).await;
    records_and_bytes_are_counted(&store().await).await;
}

/// Any bytes, of any length up to a payload of 1 MiB.
///
/// # Panics
/// If the store breaks the contract.
pub async fn a_record_is_read_as_it_was_written(store: &impl JobStore) {
    assert_eq!(store.get(id(1)).await.unwrap(), None);
    let all_bytes: Vec<u8> = (0..=255).collect();
    for (number, bytes) in [(1, Vec::new()), (2, all_bytes), (3, vec![0; 1024 * 1024 + 1024])] {
        let bytes = Bytes::from(bytes);
        assert_eq!(store.create(id(number), None, bytes.clone(), queued(5), MANY).await.unwrap(), Created::New);
        let stored = store.get(id(number)).await.unwrap().unwrap();
        assert_eq!((stored.bytes, stored.place), (bytes, queued(5)));
    }
}

/// Until the record is removed.
///
/// # Panics
/// If the store breaks the contract.
pub async fn a_key_has_one_record(store: &impl JobStore) {
    let (key, other) = (Some([1; 32]), Some([2; 32]));
    assert_eq!(store.create(id(1), key, bytes("one"), queued(5), MANY).await.unwrap(), Created::New);
    assert_eq!(store.create(id(2), key, bytes("two"), queued(5), MANY).await.unwrap(), Created::Exists(id(1)));
    assert_eq!(store.get(id(2)).await.unwrap(), None, "nothing was created");
    assert_eq!(store.create(id(3), other, bytes("three"), queued(5), MANY).await.unwrap(), Created::New);

    let version = store.get(id(1)).await.unwrap().unwrap().version;
    let done = Place { list: List::Done, due: 9 };
    assert!(store.replace(id(1), version, bytes("done"), done).await.unwrap().is_some());
    assert_eq!(store.create(id(2), key, bytes("two"), queued(5), MANY).await.unwrap(), Created::Exists(id(1)));
    // Also where the list is full: a key that is known is no new job.
    assert_eq!(store.create(id(2), key, bytes("two"), queued(5), 0).await.unwrap(), Created::Exists(id(1)));
    let version = store.get(id(1)).await.unwrap().unwrap().version;
    assert!(store.remove(id(1), version).await.unwrap());
    // Nothing was created, so the key is free.
    assert_eq!(store.create(id(4), key, bytes("four"), queued(5), 0).await.unwrap(), Created::Full);
    assert_eq!(store.create(id(2), key, bytes("two"), queued(5), MANY).await.unwrap(), Created::New);
    assert_eq!(store.create(id(4), other, bytes("four"), queued(5), MANY).await.unwrap(), Created::Exists(id(3)));
}

/// Even if all are made at once.
///
/// # Panics
/// If the store breaks the contract.
pub async fn of_many_creations_with_one_key_one_succeeds(store: &impl JobStore) {
    let create = |number| store.create(id(number), Some([1; 32]), bytes("x"), queued(5), MANY);
    let created: Vec<_> = join_all((1..=50).map(create)).await.into_iter().map(Result::unwrap).collect();
    let new: Vec<_> = (1..=50).zip(&created).filter(|(_, created)| **created == Created::New).collect();
    assert_eq!(new.len(), 1, "{created:?}");
    let exists = Created::Exists(id(new[0].0));
    assert_eq!(created.iter().filter(|created| **created == exists).count(), 49, "{created:?}");
    assert_eq!(store.totals(List::Queued).await.unwrap().records, 1);
}

/// The first queued job. A store may show it late.
async fn first_due(store: &impl JobStore) -> JobId {
    let began = Instant::now();
    loop {
        if let [first, ..] = store.due(List::Queued, 0..=5, 1).await.unwrap()[..] {
            return first;
        }
        assert!(began.elapsed() < LATEST, "a queued job isn't shown");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Jobs that run count, too. Those that are done make room.
///
/// # Panics
/// If the store breaks the contract.
pub async fn no_more_are_pending_than_allowed(store: &impl JobStore) {
    let create = |number| store.create(id(number), None, bytes("x"), queued(5), 3);
    let created: Vec<_> = join_all((1..=10).map(create)).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(created.iter().filter(|created| **created == Created::New).count(), 3, "{created:?}");
    assert_eq!(created.iter().filter(|created| **created == Created::Full).count(), 7, "{created:?}");
    let first = first_due(store).await;
    let version = store.get(first).await.unwrap().unwrap().version;
    let running = Place { list: List::Running, due: 5 };
    let version = store.replace(first, version, bytes("x"), running).await.unwrap().unwrap();
    assert_eq!(create(11).await.unwrap(), Created::Full);
    assert!(store.replace(first, version, bytes("x"), Place { list: List::Dead, due: 5 }).await.unwrap().is_some());
    assert_eq!(create(11).await.unwrap(), Created::New);
    assert_eq!(create(12).await.unwrap(), Created::Full);
    assert_eq!(
        (store.totals(List::Queued).await.unwrap().records, store.totals(List::Dead).await.unwrap().records),
        (3, 1)
    );
}

/// Compare and set.
///
/// # Panics
/// If the store breaks the contract.
pub async fn only_the_latest_version_is_replaced_or_removed(store: &impl JobStore) {
    store.create(id(1), None, bytes("one"), queued(5), MANY).await.unwrap();
    let first = store.get(id(1)).await.unwrap().unwrap();
    let version = store.replace(id(1), first.version, bytes("one"), queued(5)).await.unwrap();
    let second = store.get(id(1)).await.unwrap().unwrap();
    assert_eq!(version, Some(second.version));
    assert_ne!(first.version, second.version, "even if nothing else has changed");
    assert!(store.replace(id(1), first.version, bytes("old"), queued(6)).await.unwrap().is_none());
    assert!(!store.remove(id(1), first.version).await.unwrap());
    assert_eq!(store.get(id(1)).await.unwrap(), Some(second.clone()));
    assert!(store.remove(id(1), second.version).await.unwrap());
    assert_eq!(store.get(id(1)).await.unwrap(), None);
    assert!(store.replace(id(1), second.version, bytes("gone"), queued(6)).await.unwrap().is_none());
    assert!(!store.remove(id(1), second.version).await.unwrap());
    // The same id again is another record.
    store.create(id(1), None, bytes("new"), queued(5), MANY).await.unwrap();
    assert!(store.replace(id(1), second.version, bytes("gone"), queued(6)).await.unwrap().is_none());
}

/// A claim has one winner.
///
/// # Panics
/// If the store breaks the contract.
pub async fn of_many_replacements_of_one_version_one_succeeds(store: &impl JobStore) {
    store.create(id(1), None, bytes("one"), queued(5), MANY).await.unwrap();
    let version = store.get(id(1)).await.unwrap().unwrap().version;
    let replace = |number: u8| store.replace(id(1), version, Bytes::from(vec![number]), queued(6));
    let replaced: Vec<_> = join_all((0..50).map(replace)).await.into_iter().map(Result::unwrap).collect();
    let winners: Vec<_> = (0..50).zip(replaced).filter(|(_, replaced)| replaced.is_some()).collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(store.get(id(1)).await.unwrap().unwrap().bytes, vec![winners[0].0]);
}

/// In order, and as many as are asked for.
///
/// # Panics
/// If the store breaks the contract.
pub async fn records_are_found_in_their_list_when_they_are_due(store: &impl JobStore) {
    for (number, due) in [(1, 30), (2, 10), (3, 20), (4, 1_000)] {
        store.create(id(number), None, bytes("x"), queued(due), MANY).await.unwrap();
    }
    let due = async |list, now, limit| store.due(list, 0..=now, limit).await.unwrap();
    assert_eq!(due(List::Queued, 9, 10).await, []);
    assert_eq!(due(List::Queued, 20, 10).await, [id(2), id(3)]);
    assert_eq!(due(List::Queued, u64::MAX, 10).await, [id(2), id(3), id(1), id(4)]);
    assert_eq!(due(List::Queued, u64::MAX, 2).await, [id(2), id(3)]);
    assert_eq!(due(List::Dead, u64::MAX, 10).await, []);
    assert_eq!(store.due(List::Queued, 20..=30, 10).await.unwrap(), [id(3), id(1)]);

    let version = store.get(id(2)).await.unwrap().unwrap().version;
    assert!(store.replace(id(2), version, bytes("x"), Place { list: List::Dead, due: 7 }).await.unwrap().is_some());
    let version = store.get(id(3)).await.unwrap().unwrap().version;
    assert!(store.replace(id(3), version, bytes("x"), queued(40)).await.unwrap().is_some());
    assert_eq!(due(List::Queued, 100, 10).await, [id(1), id(3)]);
    assert_eq!((due(List::Dead, 6, 10).await, due(List::Dead, 7, 10).await), (vec![], vec![id(2)]));
    let version = store.get(id(1)).await.unwrap().unwrap().version;
    assert!(store.remove(id(1), version).await.unwrap());
    assert_eq!(due(List::Queued, 100, 10).await, [id(3)]);
    assert_eq!(store.totals(List::Queued).await.unwrap().records, 2);
}

/// A process whose clock was ahead has written them.
///
/// # Panics
/// If the store breaks the contract.
#[expect(clippy::disallowed_types, reason = "stores may compare records with the wall clock")]
pub async fn records_that_are_due_long_after_now_are_found(store: &impl JobStore) {
    const HOUR: u64 = 60 * 60 * 1_000;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    store.create(id(1), None, bytes("x"), queued(now + 24 * HOUR), MANY).await.unwrap();
    let late = async |list| store.due(list, now + HOUR..=u64::MAX, 10).await.unwrap();
    assert_eq!(late(List::Queued).await, [id(1)]);
    assert_eq!(store.due(List::Queued, 0..=now, 10).await.unwrap(), []);
    let version = store.get(id(1)).await.unwrap().unwrap().version;
    let running = Place { list: List::Running, due: now + 24 * HOUR };
    assert!(store.replace(id(1), version, bytes("x"), running).await.unwrap().is_some());
    assert_eq!((late(List::Queued).await, late(List::Running).await), (vec![], vec![id(1)]));
}

/// A worker that stops, or that doesn't know the kind of a job, keeps it from nobody.
///
/// # Panics
/// If the store breaks the contract.
pub async fn what_is_hidden_or_released_is_found_again(store: &impl JobStore) {
    for number in 1..=3 {
        store.create(id(number), None, bytes("x"), queued(5), MANY).await.unwrap();
    }
    let due = async || store.due(List::Queued, 0..=5, 10).await.unwrap();
    soon([id(1), id(2), id(3)].to_vec(), due).await;
    store.release().await.unwrap();
    soon([id(1), id(2), id(3)].to_vec(), due).await;
    let before = store.get(id(2)).await.unwrap();
    store.hide(id(2), Duration::from_millis(100)).await.unwrap();
    assert_eq!(store.get(id(2)).await.unwrap(), before, "it isn't written");
    soon([id(1), id(2), id(3)].to_vec(), due).await;
    // What was begun isn't released.
    let running = Place { list: List::Running, due: 5 };
    assert!(store.replace(id(2), before.unwrap().version, bytes("x"), running).await.unwrap().is_some());
    store.release().await.unwrap();
    soon([id(1), id(3)].to_vec(), due).await;
    assert_eq!(store.get(id(2)).await.unwrap().unwrap().place, running);
}

/// Wherever they are.
///
/// # Panics
/// If the store breaks the contract.
pub async fn records_and_bytes_are_counted(store: &impl JobStore) {
    let totals = async |list| store.totals(list).await.unwrap();
    let records = async || {
        let mut records = Vec::new();
        for list in [List::Queued, List::Running, List::Done, List::Dead] {
            records.push(totals(list).await.records);
        }
        records
    };
    assert_eq!(records().await, [0, 0, 0, 0]);
    for number in 1..=3 {
        store.create(id(number), None, bytes("twelve bytes"), queued(5), MANY).await.unwrap();
    }
    soon([3, 0, 0, 0], records).await;
    // As a worker does, which takes jobs only if they are due.
    let mut due = Vec::new();
    soon(3, async || {
        due = store.due(List::Queued, 0..=5, 10).await.unwrap();
        due.len()
    })
    .await;
    let mut replaced = Vec::new();
    for (id, list) in due.into_iter().zip([List::Running, List::Done, List::Dead]) {
        let version = store.get(id).await.unwrap().unwrap().version;
        let version = store.replace(id, version, bytes("5 now"), Place { list, due: 5 }).await.unwrap().unwrap();
        replaced.push((id, version));
    }
    soon([0, 1, 1, 1], records).await;
    assert_eq!((totals(List::Done).await.bytes, totals(List::Dead).await.bytes), (5, 5));
    for (id, version) in replaced {
        assert!(store.remove(id, version).await.unwrap());
    }
    soon([0, 0, 0, 0], records).await;
    assert_eq!((totals(List::Done).await.bytes, totals(List::Dead).await.bytes), (0, 0));
}

/// `store` opens the same store each time, and the one before is gone by then.
///
/// # Panics
/// If the store breaks the contract.
pub async fn records_outlive_the_store<S: JobStore>(mut store: impl AsyncFnMut() -> S) {
    let (first, key) = (store().await, Some([1; 32]));
    for number in 1..=3 {
        let key = key.filter(|_| number == 1);
        assert_eq!(first.create(id(number), key, bytes("x"), queued(5), MANY).await.unwrap(), Created::New);
    }
    // As a worker does, which ends jobs only if they are due.
    soon(3, async || first.due(List::Queued, 0..=5, 10).await.unwrap().len()).await;
    let version = first.get(id(2)).await.unwrap().unwrap().version;
    let dead = Place { list: List::Dead, due: 9 };
    let replaced = first.replace(id(2), version, bytes("dead"), dead).await.unwrap().unwrap();
    let version = first.get(id(3)).await.unwrap().unwrap().version;
    assert!(first.remove(id(3), version).await.unwrap());
    drop(first);

    let second = store().await;
    assert_eq!(second.create(id(4), key, bytes("x"), queued(5), MANY).await.unwrap(), Created::Exists(id(1)));
    let stored = second.get(id(2)).await.unwrap().unwrap();
    assert_eq!((&*stored.bytes, stored.version, stored.place), (&b"dead"[..], replaced, dead));
    assert_eq!(second.get(id(3)).await.unwrap(), None);
    assert_eq!(second.due(List::Dead, 0..=9, 10).await.unwrap(), [id(2)]);
    let totals = async |list| second.totals(list).await.unwrap().records;
    soon((1, 1), async || (totals(List::Queued).await, totals(List::Dead).await)).await;
    // A version isn't given twice.
    assert!(second.replace(id(2), replaced, bytes("dead"), dead).await.unwrap().unwrap() > replaced);
}
