//! Calls that stop in the middle.

use std::{future::poll_fn, pin::pin, task::Poll};

use backstop_deferred::{
    JobId, StoreError,
    store::{Created, JobStore, List, Place},
};
use backstop_nats::NatsJobStore;
use backstop_test::NatsServer;
use bytes::Bytes;

use crate::common::{client, now, put, secs, store, within};

const QUEUED: Place = Place { list: List::Queued, due: 0 };
const MANY: u64 = 1_000_000;
/// More than any call waits.
const STEPS: u8 = 40;

/// Polls a call until it has waited that often, and drops it: the requests so far are sent. Its result, if it ended before.
async fn interrupt<T>(call: impl Future<Output = T>, waits: u8) -> Option<T> {
    let (mut call, mut left) = (pin!(call), waits);
    poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

fn id(number: u8) -> JobId {
    JobId::from_bytes([number; 16])
}

fn bytes(number: u8) -> Bytes {
    vec![number].into()
}

fn later(list: List) -> Place {
    Place { list, due: now() + 3_600_000 }
}

/// Claims and completes what is due, until nothing is pending. The ids, in any order.
async fn work(store: &NatsJobStore) -> Vec<JobId> {
    let mut done = Vec::new();
    within(secs(100), "nothing is pending", async || {
        for job in store.due(List::Queued, 0..=now(), 100).await.unwrap() {
            let stored = store.get(job).await.unwrap();
            let Some(stored) = stored.filter(|stored| stored.place.list == List::Queued) else { continue };
            if store.replace(job, stored.version, stored.bytes, later(List::Running)).await.unwrap().is_some() {
                put(store, job, later(List::Done)).await;
                done.push(job);
            }
        }
        store.totals(List::Queued).await.unwrap().records == 0
    })
    .await;
    done
}

#[tokio::test]
async fn a_creation_that_stops_at_any_step_is_finished_by_the_next_with_its_key_and_leaves_nothing() {
    let Some(nats) = NatsServer::start() else { return };
    let (broken, fine) = (store(&nats, "emails").await, store(&nats, "emails").await);
    fine.totals(List::Queued).await.unwrap();
    let (mut ids, mut interrupted) = (Vec::new(), 0);
    for step in 0..STEPS {
        let (first, second, key) = (id(step), id(step + STEPS), Some([step; 32]));
        let result = interrupt(broken.create(first, key, bytes(step), QUEUED, MANY), step).await;
        interrupted += usize::from(result.is_none());
        let created = fine.create(second, key, bytes(step), QUEUED, MANY).await.unwrap();
        ids.push(match created {
            Created::New => second,
            Created::Exists(id) => id,
            created => panic!("{created:?}"),
        });
        if let Some(result) = result {
            assert_eq!((result.unwrap(), created), (Created::New, Created::Exists(first)));
        }
    }
    assert!((5..usize::from(STEPS)).contains(&interrupted), "{interrupted}");
    let mut done = work(&fine).await;
    done.sort_unstable();
    ids.sort_unstable();
    assert_eq!(done, ids, "each key has one job, which ran once");
}

#[tokio::test]
async fn a_move_that_stops_at_any_step_loses_no_job() {
    let Some(nats) = NatsServer::start() else { return };
    let moves = [
        (List::Queued, List::Running),
        (List::Running, List::Queued),
        (List::Running, List::Done),
        (List::Running, List::Dead),
        (List::Dead, List::Queued),
    ];
    let one = async |number: usize, from: List, to: List| {
        let queue = format!("queue-{number}");
        let (broken, fine) = (store(&nats, &queue).await, store(&nats, &queue).await);
        let mut interrupted = 0;
        for step in 0..STEPS {
            assert_eq!(broken.create(id(step), None, bytes(step), QUEUED, MANY).await.unwrap(), Created::New);
            assert!(broken.due(List::Queued, 0..=now(), 100).await.unwrap().contains(&id(step)));
            if from != List::Queued {
                put(&broken, id(step), later(from)).await;
            }
            let stored = broken.get(id(step)).await.unwrap().unwrap();
            let place = Place { list: to, due: if to == List::Queued { 0 } else { now() + 1_000 } };
            let replaced = interrupt(broken.replace(id(step), stored.version, bytes(step), place), step).await;
            interrupted += usize::from(replaced.is_none());
        }
        drop(broken);
        assert!((1..usize::from(STEPS)).contains(&interrupted), "{from:?} {to:?}: {interrupted}");
        // Another process gets what the first one held, after 30 s: what is due, and what is settled.
        within(secs(100), "nothing is pending", async || {
            for list in [List::Running, List::Queued] {
                for job in fine.due(list, 0..=now(), 100).await.unwrap() {
                    put(&fine, job, later(List::Done)).await;
                }
            }
            // Claims that have run out, with the time of the test.
            for step in 0..STEPS {
                let stored = fine.get(id(step)).await.unwrap().unwrap();
                if stored.place.list == List::Running {
                    fine.replace(id(step), stored.version, stored.bytes, QUEUED).await.unwrap();
                }
            }
            fine.totals(List::Queued).await.unwrap().records == 0
        })
        .await;
        let mut ended = Vec::new();
        for list in [List::Done, List::Dead] {
            let found = fine.due(list, 0..=u64::MAX, 1_000).await.unwrap();
            assert_eq!(fine.totals(list).await.unwrap().records, found.len() as u64, "{from:?} {to:?} {list:?}");
            ended.extend(found);
        }
        ended.sort_unstable();
        assert_eq!(ended, (0..STEPS).map(id).collect::<Vec<_>>(), "{from:?} {to:?}");
    };
    let all = moves.iter().enumerate().map(|(number, (from, to))| one(number, *from, *to));
    futures_util::future::join_all(all).await;
}

#[tokio::test]
async fn a_removal_that_stops_at_any_step_frees_the_key() {
    let Some(nats) = NatsServer::start() else { return };
    let (broken, fine) = (store(&nats, "emails").await, store(&nats, "emails").await);
    for step in 0..STEPS {
        let key = Some([step; 32]);
        broken.create(id(step), key, bytes(step), QUEUED, MANY).await.unwrap();
        assert_eq!(broken.due(List::Queued, 0..=now(), 100).await.unwrap(), [id(step)]);
        put(&broken, id(step), Place { list: List::Done, due: 1 }).await;
        let version = broken.get(id(step)).await.unwrap().unwrap().version;
        interrupt(broken.remove(id(step), version), step).await;
    }
    // As a worker sweeps.
    within(secs(10), "nothing is left", async || {
        for job in fine.due(List::Done, 0..=now(), 100).await.unwrap() {
            let version = fine.get(job).await.unwrap().unwrap().version;
            assert!(fine.remove(job, version).await.unwrap());
        }
        fine.totals(List::Done).await.unwrap().records == 0
    })
    .await;
    for step in 0..STEPS {
        let created = fine.create(id(step + STEPS), Some([step; 32]), bytes(step), QUEUED, MANY).await.unwrap();
        assert_eq!(created, Created::New, "{step}");
    }
    assert_eq!(work(&fine).await.len(), usize::from(STEPS));
}

#[tokio::test]
async fn a_key_has_one_job_while_its_record_is_removed() {
    let Some(nats) = NatsServer::start() else { return };
    let (removing, creating) = (store(&nats, "emails").await, store(&nats, "emails").await);
    creating.totals(List::Queued).await.unwrap();
    let mut jobs = 0;
    for step in 0..STEPS {
        let key = Some([step; 32]);
        removing.create(id(step), key, bytes(step), QUEUED, MANY).await.unwrap();
        put(&removing, id(step), Place { list: List::Done, due: 1 }).await;
        let version = removing.get(id(step)).await.unwrap().unwrap().version;
        let (mut removal, mut polls) = (pin!(removing.remove(id(step), version)), 0);
        let has_ended = poll_fn(|cx| {
            polls += 1;
            if polls > step { Poll::Ready(false) } else { removal.as_mut().poll(cx).map(|_| true) }
        })
        .await;
        // Another process creates a job under the key when the removal is that far, and once more when it has ended.
        let new = id(step + STEPS);
        let mut created = vec![creating.create(new, key, bytes(step), QUEUED, MANY).await.unwrap()];
        if created == [Created::Exists(id(step))] {
            continue;
        }
        if !has_ended {
            removal.await.unwrap();
        }
        created.push(creating.create(id(step + 2 * STEPS), key, bytes(step), QUEUED, MANY).await.unwrap());
        assert_eq!(created, [Created::New, Created::Exists(new)], "{step}");
        jobs += 1;
    }
    assert!((1..=usize::from(STEPS)).contains(&jobs), "{jobs}");
    assert_eq!(work(&creating).await.len(), jobs);
}

#[tokio::test]
async fn a_creation_that_comes_too_late_fails_and_its_wakeup_is_gone() {
    let Some(nats) = NatsServer::start() else { return };
    let emails = store(&nats, "emails").await;
    assert_eq!(emails.totals(List::Queued).await.unwrap().records, 0);
    // What a process leaves that stops after its first step.
    client(&nats.url()).await.request("backstop.emails.wakeup", vec![1; 17].into()).await.unwrap();
    assert_eq!(work(&emails).await, []);
    let late: StoreError = emails.create(id(1), None, bytes(1), QUEUED, MANY).await.unwrap_err();
    assert_eq!(late.to_string(), "creating the record took too long");
    assert_eq!(emails.get(id(1)).await.unwrap(), None);
    assert_eq!(work(&emails).await, [], "the second wake-up was taken back");
    // In the end nothing is left of it.
    assert_eq!(emails.totals(List::Done).await.unwrap().records, 1);
    assert_eq!(emails.due(List::Done, 0..=u64::MAX, 10).await.unwrap(), []);
    assert_eq!(emails.create(id(1), None, bytes(1), QUEUED, MANY).await.unwrap(), Created::New);
    assert_eq!(work(&emails).await, [id(1)]);
}

#[tokio::test]
async fn a_record_that_cant_be_read_holds_nobody_up() {
    let Some(nats) = NatsServer::start() else { return };
    let emails = store(&nats, "emails").await;
    emails.create(id(1), None, bytes(1), QUEUED, MANY).await.unwrap();
    // Of a newer version.
    let newer = [vec![2], vec![0; 100]].concat();
    let (client, subject) = (client(&nats.url()).await, format!("backstop.emails.job.{}", id(1)));
    client.request(subject, newer.clone().into()).await.unwrap();
    client.request("backstop.emails.wakeup", newer.into()).await.unwrap();
    for list in ["done", "dead"] {
        client.request(format!("backstop.emails.{list}.garbage"), "garbage".into()).await.unwrap();
    }
    emails.create(id(2), None, bytes(2), QUEUED, MANY).await.unwrap();
    within(secs(10), "the other job is found", async || {
        emails.due(List::Queued, 0..=now(), 10).await.unwrap() == [id(2)]
    })
    .await;
    assert_eq!(emails.get(id(1)).await.unwrap_err().to_string(), "a record that this version can't read");
    assert_eq!(emails.totals(List::Queued).await.unwrap().records, 3, "they are kept");
    put(&emails, id(2), Place { list: List::Done, due: 1 }).await;
    assert_eq!(emails.due(List::Done, 0..=1, 10).await.unwrap(), [id(2)]);
    assert_eq!(emails.due(List::Dead, 0..=1, 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_pull_that_is_dropped_loses_no_wakeup() {
    let Some(nats) = NatsServer::start() else { return };
    let emails = store(&nats, "emails").await;
    for number in 0..STEPS {
        emails.create(id(number), None, bytes(number), QUEUED, MANY).await.unwrap();
    }
    let since = tokio::time::Instant::now();
    let mut found = Vec::new();
    for step in 0..STEPS {
        _ = interrupt(emails.due(List::Queued, 0..=now(), 5), step % 5).await;
        for job in emails.due(List::Queued, 0..=now(), 5).await.unwrap() {
            put(&emails, job, later(List::Done)).await;
            found.push(job);
        }
    }
    assert!(since.elapsed() < secs(20), "before they would be delivered again");
    found.sort_unstable();
    assert_eq!(found, (0..STEPS).map(id).collect::<Vec<_>>());
}
