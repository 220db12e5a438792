//! What must hold whatever bytes a store returns as the record of a job.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_deferred::{
    Deferred, Job, JobId, JobKind, JobState, MemoryJobStore, Name, name,
    store::{JobStore, List, Place},
};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

#[derive(Deserialize, Serialize)]
struct Email {
    to: String,
}

impl JobKind for Email {
    const KIND: Name = name!("email");
}

/// The first byte chooses the list, and whether the others are a record or changes of one: each is where, and by what.
pub(crate) fn holds_for(input: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(work(input));
}

async fn work(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let store = MemoryJobStore::new();
    let emails = Deferred::<Email>::builder("emails", store.clone()).build().expect("a configuration");
    let good = emails.defer(&Email { to: "ada".to_owned() }).await.expect("a job").id;
    let stored = store.get(good).await.expect("an answer").expect("a job");
    let bytes = if first & 4 == 0 { rest.to_vec() } else { changed(stored.bytes.to_vec(), rest) };
    let list = [List::Queued, List::Running, List::Done, List::Dead][usize::from(first & 3)];
    let id = JobId::from_bytes([7; 16]);
    store.create(id, None, bytes.into(), Place { list, due: stored.place.due }, 10).await.expect("an answer");

    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    let send = tower::service_fn(move |job: Job<Email>| {
        if job.id() == id {
            counted.fetch_add(1, Relaxed);
        }
        async { Ok::<_, Infallible>(()) }
    });
    let worked = timeout(Duration::from_secs(10), emails.worker(send).run(sleep(Duration::from_secs(5)))).await;
    assert!(worked.is_ok(), "the worker ends");
    assert_eq!(emails.state(good).await.expect("an answer"), Some(JobState::Done), "other jobs run");
    let runs = runs.load(Relaxed);
    assert!(runs <= 1, "it runs once");
    let left = store.get(id).await.expect("an answer");
    let left = left.map(|stored| stored.place.list);
    assert!(runs == 0 || left == Some(List::Done), "{left:?}");
    // Whatever it is, these say something.
    _ = emails.state(id).await.expect("an answer");
    _ = emails.handle().dead_letters(None, 10).await.expect("an answer");
    _ = emails.handle().replay(id).await.expect("an answer");
    _ = emails.handle().discard(id).await.expect("an answer");
}

fn changed(mut record: Vec<u8>, changes: &[u8]) -> Vec<u8> {
    for change in changes.chunks(2) {
        match *change {
            // Cuts it off.
            [at] => record.truncate(usize::from(at)),
            [at, by] => {
                if let Some(byte) = record.get_mut(usize::from(at)) {
                    *byte ^= by;
                }
            }
            _ => {}
        }
    }
    record
}
