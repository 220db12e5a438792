//! Lists of jobs that are done or dead.

use std::collections::BTreeSet;

use backstop_deferred::{
    JobId,
    store::{JobStore, List, Place},
};
use backstop_nats::NatsJobStore;
use backstop_test::NatsServer;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::common::{put, store};

fn id(number: u16) -> JobId {
    let [high, low] = number.to_be_bytes();
    let mut bytes = [0; 16];
    (bytes[0], bytes[1]) = (high, low);
    JobId::from_bytes(bytes)
}

/// Ends a job for each time, in this order.
async fn end(store: &NatsJobStore, list: List, first: u16, due: &[u64]) {
    let queued = Place { list: List::Queued, due: 0 };
    let create = async |number| store.create(id(number), None, Bytes::new(), queued, 100_000).await.unwrap();
    let last = first + due.len() as u16;
    stream::iter(first..last).map(create).buffer_unordered(32).for_each(|_| async {}).await;
    for (number, due) in (first..last).zip(due) {
        put(store, id(number), Place { list, due: *due }).await;
    }
}

#[tokio::test]
async fn jobs_that_are_kept_for_less_time_are_removed_before_those_that_are_kept_longer() {
    let Some(nats) = NatsServer::start() else { return };
    let store = store(&nats, "emails").await;
    let long: Vec<u64> = (0..400).map(|number| 1_000_000 + number).collect();
    let short: Vec<u64> = (0..150).collect();
    end(&store, List::Done, 0, &long).await;
    end(&store, List::Done, 1_000, &short).await;
    end(&store, List::Done, 2_000, &long[..100]).await;
    // As a worker sweeps.
    let mut removed = BTreeSet::new();
    loop {
        let due = store.due(List::Done, 0..=500, 100).await.unwrap();
        if due.is_empty() {
            break;
        }
        for id in due {
            let version = store.get(id).await.unwrap().unwrap().version;
            assert!(store.remove(id, version).await.unwrap());
            removed.insert(id);
        }
    }
    assert!(removed.iter().all(|removed| (1_000..1_150).any(|number| id(number) == *removed)));
    assert!(removed.len() > 150 - 650 / 32, "{}", removed.len());
    let left = store.totals(List::Done).await.unwrap().records;
    assert_eq!(left, 650 - removed.len() as u64);
}

#[tokio::test]
async fn all_of_a_list_is_listed_in_order_whatever_order_it_was_written_in() {
    let Some(nats) = NatsServer::start() else { return };
    let store = store(&nats, "emails").await;
    let due: Vec<u64> = (0..500).map(|number| (number * 7_919) % 250).collect();
    end(&store, List::Dead, 0, &due).await;
    let mut expected: Vec<_> = due.iter().zip(0..).map(|(due, number)| (*due, id(number))).collect();
    expected.sort();
    let ids = |places: &[(u64, JobId)]| places.iter().map(|(_, id)| *id).collect::<Vec<_>>();
    assert_eq!(store.due(List::Dead, 0..=u64::MAX, 1_000).await.unwrap(), ids(&expected));
    assert_eq!(store.due(List::Dead, 0..=u64::MAX, 10).await.unwrap(), ids(&expected[..10]));
    assert_eq!(store.due(List::Dead, 100..=u64::MAX, 10).await.unwrap(), ids(&expected[200..210]));
    // Some are removed in the middle.
    for (_, id) in &expected[5..300] {
        let version = store.get(*id).await.unwrap().unwrap().version;
        assert!(store.remove(*id, version).await.unwrap());
    }
    let left = [&expected[..5], &expected[300..]].concat();
    assert_eq!(store.due(List::Dead, 0..=u64::MAX, 1_000).await.unwrap(), ids(&left));
}
