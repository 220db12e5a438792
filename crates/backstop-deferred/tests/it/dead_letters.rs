//! What operators see of dead letters, and do to them.

use std::{
    collections::BTreeSet,
    ops::RangeInclusive,
    sync::{Arc, Mutex},
};

use backstop_core::{EventLog, Inspect, OperationError, OperationRequest, Reach, Value};
use backstop_deferred::{
    Deferred, DeferredHandle, Failure, JobId, JobState, MemoryJobStore, Permanent, StoreError,
    store::{Created, JobStore, List, Place, StoredRecord, Totals},
};
use backstop_test::Logs;
use bytes::Bytes;
use tokio::time::sleep;
use tower::BoxError;
use tracing::Level;

use crate::common::{Breakable, Email, Fault, email, emails, secs, work};

/// A queue with as many dead letters. Each third one has failed in all of its attempts, of which there is one.
async fn buried(number: usize) -> (Deferred<Email>, Vec<JobId>) {
    let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).max_attempts(1).build().unwrap();
    let (_sent, worker) = work(&emails, async |job| match job.payload().to.parse::<usize>() {
        Ok(number) if number % 3 == 0 => Err(BoxError::from("down")),
        _ => Err(Permanent::new("no such address").into()),
    });
    let mut ids = Vec::new();
    for number in 0..number {
        ids.push(emails.defer(&email(&number.to_string())).await.unwrap().id);
    }
    sleep(secs(60)).await;
    worker.abort();
    _ = worker.await;
    (emails, ids)
}

async fn ids(handle: &DeferredHandle) -> Vec<JobId> {
    let mut ids: Vec<_> = handle.dead_letters(None, 1_000).await.unwrap().iter().map(|letter| letter.id).collect();
    ids.sort();
    ids
}

#[tokio::test(start_paused = true)]
async fn pages_have_each_dead_letter_once_also_if_others_are_removed_meanwhile() {
    let (emails, mut all) = buried(50).await;
    let handle = emails.handle();
    let (mut seen, mut last) = (Vec::new(), None);
    loop {
        let page = handle.dead_letters(last.as_ref(), 7).await.unwrap();
        assert!(page.len() <= 7 && page.is_sorted_by_key(|letter| (letter.kept_until, letter.id)));
        seen.extend(page.iter().map(|letter| letter.id));
        last = page.into_iter().next_back();
        let Some(last) = &last else { break };
        assert!(handle.discard(last.id).await.unwrap(), "the next page begins after it nevertheless");
    }
    seen.sort();
    all.sort();
    assert_eq!(seen, all);
    assert_eq!(handle.dead_letters(None, 0).await.unwrap(), []);
}

#[tokio::test]
async fn dead_letters_that_are_due_together_are_on_several_pages() {
    let store = MemoryJobStore::new();
    let emails = emails(store.clone());
    let queued = emails.defer(&email("ada")).await.unwrap().id;
    let record = store.get(queued).await.unwrap().unwrap();
    // Failed for good, and permanently.
    let mut bytes = record.bytes.to_vec();
    bytes[1] = 3;
    for number in 0..100 {
        let dead = Place { list: List::Dead, due: u64::MAX };
        store.create(JobId::from_bytes([number; 16]), None, bytes.clone().into(), dead, 1_000).await.unwrap();
    }
    let (handle, mut seen, mut last) = (emails.handle(), Vec::new(), None);
    loop {
        let page = handle.dead_letters(last.as_ref(), 3).await.unwrap();
        seen.extend(page.iter().map(|letter| letter.id));
        last = page.into_iter().next_back();
        if last.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..100).map(|number| JobId::from_bytes([number; 16])).collect::<Vec<_>>());
}

/// Before it reads this record, it is replayed and fails again, which takes it to the end of the dead letters.
#[derive(Clone)]
struct Moving {
    inner: MemoryJobStore,
    moves: Arc<Mutex<Option<JobId>>>,
}

impl JobStore for Moving {
    async fn create(
        &self,
        id: JobId,
        key: Option<[u8; 32]>,
        bytes: Bytes,
        place: Place,
        max_pending: u64,
    ) -> Result<Created, StoreError> {
        self.inner.create(id, key, bytes, place, max_pending).await
    }

    async fn get(&self, id: JobId) -> Result<Option<StoredRecord>, StoreError> {
        if self.moves.lock().unwrap().take_if(|moves| *moves == id).is_some()
            && let Some(StoredRecord { bytes, version, place }) = self.inner.get(id).await?
        {
            self.inner.replace(id, version, bytes, Place { due: place.due + 1_000, ..place }).await?;
        }
        self.inner.get(id).await
    }

    async fn replace(&self, id: JobId, version: u64, bytes: Bytes, place: Place) -> Result<Option<u64>, StoreError> {
        self.inner.replace(id, version, bytes, place).await
    }

    async fn remove(&self, id: JobId, version: u64) -> Result<bool, StoreError> {
        self.inner.remove(id, version).await
    }

    async fn due(&self, list: List, times: RangeInclusive<u64>, limit: usize) -> Result<Vec<JobId>, StoreError> {
        self.inner.due(list, times, limit).await
    }

    async fn totals(&self, list: List) -> Result<Totals, StoreError> {
        self.inner.totals(list).await
    }
}

#[tokio::test]
async fn pages_leave_out_no_dead_letter_if_another_moves_while_they_are_read() {
    const LETTERS: u8 = 20;
    let id = |number| JobId::from_bytes([number; 16]);
    for moves in 0..LETTERS {
        let inner = MemoryJobStore::new();
        let queued = emails(inner.clone()).defer(&email("ada")).await.unwrap().id;
        let mut bytes = inner.get(queued).await.unwrap().unwrap().bytes.to_vec();
        // Failed for good, and permanently.
        bytes[1] = 3;
        for number in 0..LETTERS {
            let dead = Place { list: List::Dead, due: u64::MAX / 2 + u64::from(number) };
            inner.create(id(number), None, bytes.clone().into(), dead, 1_000).await.unwrap();
        }
        let store = Moving { inner, moves: Arc::new(Mutex::new(Some(id(moves)))) };
        let handle = emails(store).handle();
        let (mut seen, mut last) = (BTreeSet::new(), None);
        loop {
            let page = handle.dead_letters(last.as_ref(), 4).await.unwrap();
            seen.extend(page.iter().map(|letter| letter.id));
            last = page.into_iter().next_back();
            if last.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..LETTERS).map(id).collect(), "{moves} moves");
    }
}

#[tokio::test(start_paused = true)]
async fn many_are_replayed_or_discarded_as_chosen_and_no_more_than_the_limit() {
    let (emails, all) = buried(30).await;
    let handle = emails.handle();
    let failed = |letter: &backstop_deferred::DeadLetter| letter.failure == Failure::Attempts;
    assert_eq!(handle.replay_many(4, failed).await.unwrap(), 4);
    assert_eq!(handle.replay_many(100, failed).await.unwrap(), 6);
    assert_eq!(handle.replay_many(100, failed).await.unwrap(), 0);
    assert_eq!(ids(&handle).await.len(), 20);
    for (number, id) in all.iter().enumerate() {
        let expected = if number % 3 == 0 { JobState::Queued } else { JobState::Failed(Failure::Permanent) };
        assert_eq!(emails.state(*id).await.unwrap(), Some(expected));
    }
    assert_eq!(handle.discard_many(5, |_| true).await.unwrap(), 5);
    assert_eq!(handle.discard_many(0, |_| true).await.unwrap(), 0);
    assert_eq!(ids(&handle).await.len(), 15);
    // What fails again at once isn't replayed again.
    let (sent, _worker) = work(&emails, async |_| Err(Permanent::new("no such address").into()));
    sleep(secs(60)).await;
    assert_eq!(sent.all().len(), 10);
    assert_eq!(handle.replay_many(1_000, |_| true).await.unwrap(), 25);
}

fn ask(name: &str) -> OperationRequest {
    OperationRequest::new(name, "ada", "the mail service is back")
}

#[tokio::test(start_paused = true)]
async fn an_operator_replays_and_discards_and_the_logs_say_who_and_why() {
    let (emails, all) = buried(9).await;
    let handle = emails.handle();
    let of: &dyn Inspect = &handle;
    let log = EventLog::new(8);
    of.report_to(&log);
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let id = |number: usize| all[number].to_string();
    for request in [
        ask("replay").with("id", id(0)),
        ask("discard").with("id", id(1)),
        ask("replay-many").with("limit", 1_u64).with("failure", "attempts").with("kind", "email"),
        ask("discard-many").with("limit", 100_u64).with("failure", "permanent"),
        ask("replay-many").with("limit", 100_u64).with("kind", "letter"),
    ] {
        assert_eq!(of.operate(&request).await, Ok(Reach::Fleet), "{request:?}");
    }
    assert_eq!(ids(&handle).await.len(), 1);
    let jobs: Vec<_> =
        log.after(0).into_iter().map(|event| event.fields.into_iter().find(|f| f.0 == "jobs").unwrap().1).collect();
    assert_eq!(jobs, [1_u64, 1, 1, 5, 0].map(Value::Integer));
    let events = logs.events();
    let said: Vec<_> = events.iter().filter(|event| event.message() == "an operator changed dead letters").collect();
    assert_eq!(said.len(), 5);
    for event in said {
        assert_eq!((event.field("who"), event.field("reason")), (Some("ada"), Some("the mail service is back")));
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_is_wrong_changes_nothing_and_says_what_is_allowed() {
    let (emails, _) = buried(3).await;
    let handle = emails.handle();
    let unknown = JobId::from_bytes([0; 16]).to_string();
    for (request, field) in [
        (ask("replay"), "id"),
        (ask("replay").with("id", "17"), "id"),
        (ask("discard").with("id", unknown), "id"),
        (ask("replay-many"), "limit"),
        (ask("replay-many").with("limit", 0_u64), "limit"),
        (ask("discard-many").with("limit", 10_001_u64), "limit"),
        (ask("discard-many").with("limit", 1_u64).with("failure", "bad luck"), "failure"),
        (ask("discard-many").with("limit", 1_u64).with("kind", 1_u64), "kind"),
        (ask("discard-many").with("limit", 1_u64).with("knid", "email"), "arguments"),
        (OperationRequest::new("discard-many", "ada", " ").with("limit", 1_u64), "reason"),
        (ask("replay-many").with("limit", 1_u64).lasting(secs(60)), "time"),
        (ask("delete"), "operation"),
    ] {
        match handle.operate(&request).await {
            Err(OperationError::Invalid(error)) => assert_eq!(error.field, field, "{error}"),
            other => panic!("{request:?}: {other:?}"),
        }
    }
    assert_eq!(ids(&handle).await.len(), 3);
    assert_eq!(handle.operations().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_operation_while_the_store_is_away_may_have_run() {
    let store = Breakable::default();
    let handle = emails(store.clone()).handle();
    store.set(Fault::Refuses);
    let request = ask("replay-many").with("limit", 1_u64);
    assert_eq!(handle.operate(&request).await, Err(OperationError::Unavailable("refused".to_owned())));
    let error: StoreError = handle.dead_letters(None, 1).await.unwrap_err();
    assert_eq!(error.to_string(), "refused");
}

#[tokio::test(start_paused = true)]
async fn the_first_dead_letters_are_shown_without_payloads() {
    let (emails, all) = buried(30).await;
    let (_sent, _worker) = work(&emails, async |_| Ok(()));
    sleep(secs(2)).await;
    let shown = || match emails.handle().state().into_iter().find(|(name, _)| *name == "dead_letters").unwrap().1 {
        Value::List(letters) => letters,
        other => panic!("{other:?}"),
    };
    let letters = shown();
    assert_eq!(letters.len(), 20);
    for letter in &letters {
        let Value::Map(fields) = letter else { panic!("{letter:?}") };
        let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
        let expected = ["id", "kind", "version", "attempts", "failure", "accepted_unix_ms", "kept_until_unix_ms"];
        assert_eq!(names, expected);
        assert!(all.iter().any(|id| fields[0].1 == Value::from(id.to_string())));
    }
    emails.handle().discard_many(100, |_| true).await.unwrap();
    sleep(secs(31)).await;
    assert_eq!(shown(), []);
}
