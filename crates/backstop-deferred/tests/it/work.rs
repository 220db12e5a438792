//! Running jobs.

use std::{
    future::pending,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use backstop_circuit_breaker::CircuitBreakerLayer;
use backstop_core::scope;
use backstop_deferred::{
    Deferred, Failure, Job, JobId, JobKind, JobState, MemoryJobStore, Name, Permanent, name,
    store::{JobStore, List, Place, StoredRecord},
};
use backstop_test::Logs;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};
use tower::{BoxError, Layer, ServiceExt, util::BoxCloneService};
use tracing::Level;

use crate::common::{Breakable, Email, Fault, Sent, email, emails, secs, work};

#[tokio::test(start_paused = true)]
async fn a_job_is_run_once_and_its_payload_is_erased() {
    let store = MemoryJobStore::new();
    let emails = emails(store.clone());
    let keys = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&keys);
    let (sent, _worker) = work(&emails, move |job| {
        seen.lock().unwrap().push(job.idempotency_key());
        async { Ok(()) }
    });
    let receipt = emails.defer(&email("ada")).await.unwrap();
    sleep(secs(3_600)).await;
    assert_eq!(sent.all(), [("ada".to_owned(), 1)]);
    assert_eq!(*keys.lock().unwrap(), [receipt.id.to_string()]);
    let stored = store.get(receipt.id).await.unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&stored.bytes).contains("ada"));
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_an_hour_leaves_no_dead_letter_and_waits_grow() {
    let emails = emails(MemoryJobStore::new());
    let since = Instant::now();
    let (sent, _worker) =
        work(&emails, move |_| async move { if since.elapsed() < secs(3_600) { Err("down".into()) } else { Ok(()) } });
    let receipt = emails.defer(&email("ada")).await.unwrap();
    sleep(secs(3_600 + 1_000)).await;
    assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Done));
    let attempts: Vec<_> = sent.all().into_iter().map(|(_, attempt)| attempt).collect();
    assert_eq!(attempts, (1..=attempts.len() as u32).collect::<Vec<_>>(), "each is counted");
    assert!((8..=16).contains(&attempts.len()), "{attempts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_always_is_a_dead_letter_that_can_be_replayed_or_discarded() {
    let store = MemoryJobStore::new();
    let emails = emails(store.clone());
    let works = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&works);
    let logs = Logs::up_to(Level::WARN);
    let _guard = logs.listen();
    let (sent, _worker) = work(&emails, move |_| {
        let works = now.load(Relaxed);
        async move { if works { Ok(()) } else { Err("https://ada:secret@mail/ is down".into()) } }
    });
    let first = emails.defer(&email("ada")).key("ada", "17").await.unwrap();
    // 15 waits of at most 5 s to 15 min.
    sleep(secs(3 * 3_600)).await;
    assert_eq!(emails.state(first.id).await.unwrap(), Some(JobState::Failed(Failure::Attempts)));
    assert_eq!(sent.all().len(), 16);
    let letters = emails.handle().dead_letters(None, 10).await.unwrap();
    assert_eq!((letters[0].id, letters[0].attempts, letters.len()), (first.id, 16, 1));
    assert_eq!(logs.events().only().field("error"), Some("https://mail/ is down"));

    works.store(true, Relaxed);
    assert!(emails.handle().replay(first.id).await.unwrap());
    sleep(secs(5)).await;
    assert_eq!(emails.state(first.id).await.unwrap(), Some(JobState::Done));
    assert!(!emails.handle().replay(first.id).await.unwrap() && !emails.handle().discard(first.id).await.unwrap());
    assert_eq!(emails.defer(&email("ada")).key("ada", "17").await.unwrap().id, first.id, "the key is the same");

    works.store(false, Relaxed);
    let second = emails.defer(&email("bob")).await.unwrap();
    sleep(secs(3 * 3_600)).await;
    assert!(emails.handle().discard(second.id).await.unwrap());
    assert_eq!(emails.state(second.id).await.unwrap(), None);
    assert_eq!(store.totals(List::Dead).await.unwrap().records, 0);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_is_a_dead_letter_at_once() {
    let emails = emails(MemoryJobStore::new());
    let (sent, _worker) = work(&emails, async |_| Err(Permanent::new("no such address").into()));
    let receipt = emails.defer(&email("nobody")).await.unwrap();
    sleep(secs(5)).await;
    assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Failed(Failure::Permanent)));
    assert_eq!(sent.all().len(), 1);
}

#[derive(Debug)]
enum SendError {
    NoSuchAddress(Permanent),
    Down(std::io::Error),
}

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not sent")
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoSuchAddress(permanent) => Some(permanent),
            Self::Down(error) => Some(error),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn causes_are_found_in_an_error_of_the_users_own() {
    let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).max_attempts(1).build().unwrap();
    let logs = Logs::up_to(Level::DEBUG);
    let _guard = logs.listen();
    let send = tower::service_fn(async |job: Job<Email>| match &*job.payload().to {
        "nobody" => Err(SendError::NoSuchAddress(Permanent::new("no such address"))),
        _ => Err(SendError::Down(std::io::Error::other("connection refused"))),
    });
    tokio::spawn(emails.worker(send).run(pending()));
    for (to, failure, text) in [
        ("nobody", Failure::Permanent, "not sent: no such address"),
        ("ada", Failure::Attempts, "not sent: connection refused"),
    ] {
        let receipt = emails.defer(&email(to)).await.unwrap();
        sleep(secs(5)).await;
        assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Failed(failure)));
        let events = logs.events();
        assert!(events.iter().any(|event| event.field("error") == Some(text)), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_returns_jobs_uncounted() {
    let emails = emails(MemoryJobStore::new());
    let sent = Sent::default();
    let recorded = sent.clone();
    let service = tower::service_fn(move |job: Job<Email>| {
        recorded.add(&job, &job.payload().to);
        async { Ok::<_, BoxError>(()) }
    });
    let breaker = CircuitBreakerLayer::builder("mail").plain().build().unwrap();
    let circuit = breaker.handle();
    tokio::spawn(emails.worker(breaker.layer(service)).run(pending()));
    circuit.isolate();
    let logs = Logs::up_to(Level::DEBUG);
    let guard = logs.listen();
    let receipt = emails.defer(&email("ada")).await.unwrap();
    sleep(secs(3 * 3_600)).await;
    drop(guard);
    let refused = "an attempt was refused, and doesn't count";
    // Waits grow from 5 s to 15 min.
    let refusals = logs.events().iter().filter(|event| event.message() == refused).count();
    assert!((17..50).contains(&refusals), "{refusals}");
    assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Queued));
    circuit.close();
    sleep(secs(15 * 60 + 10)).await;
    assert_eq!(sent.all(), [("ada".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_a_handler_got_after_a_first_step_counts() {
    let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).max_attempts(3).build().unwrap();
    let breaker = CircuitBreakerLayer::builder("mail").plain().build().unwrap();
    breaker.handle().isolate();
    let mail = breaker.layer(tower::service_fn(|_: Job<Email>| async { Ok::<_, BoxError>(()) }));
    let mail = BoxCloneService::new(mail);
    let (charged, _worker) = work(&emails, move |job| {
        let mail = mail.clone();
        async move { mail.oneshot(job).await }
    });
    let receipt = emails.defer(&email("ada")).await.unwrap();
    sleep(secs(3_600)).await;
    assert_eq!(charged.all().len(), 3);
    assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Failed(Failure::Attempts)));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_panics_is_a_dead_letter_after_three_crashes_and_others_run() {
    let emails = emails(MemoryJobStore::new());
    let logs = Logs::up_to(Level::WARN);
    let _guard = logs.listen();
    let (sent, worker) = work(&emails, async |job| match &*job.payload().to {
        "panics" => panic!("a bug"),
        _ => Ok(()),
    });
    let poison = emails.defer(&email("panics")).await.unwrap();
    let good = emails.defer(&email("ada")).await.unwrap();
    sleep(secs(10)).await;
    assert_eq!(emails.state(good.id).await.unwrap(), Some(JobState::Done));
    sleep(secs(120)).await;
    assert_eq!(emails.state(poison.id).await.unwrap(), Some(JobState::Failed(Failure::Crashes)));
    let attempts: Vec<_> =
        sent.all().into_iter().filter(|(to, _)| to == "panics").map(|(_, attempt)| attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    assert!(!worker.is_finished());
    let said: Vec<_> = logs.events().iter().map(|event| event.message().to_owned()).collect();
    let panicked = "an attempt panicked, which counts as a crash";
    assert_eq!(said, [panicked, panicked, panicked, "a job goes to the dead letters"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_claim_was_in_doubt_when_the_worker_was_stopped_does_not_begin() {
    let store = Breakable::default();
    let emails = emails(store.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let sent = Sent::default();
    let recorded = sent.clone();
    let send = tower::service_fn(move |job: Job<Email>| {
        recorded.add(&job, &job.payload().to);
        async { Ok::<_, BoxError>(()) }
    });
    let worker = tokio::spawn(emails.worker(send).run(async { _ = stopped.await }));
    sleep(secs(2)).await;
    store.set(Fault::LosesClaims);
    let receipt = emails.defer(&email("ada")).await.unwrap();
    sleep(secs(2)).await;
    assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Running));
    stop.send(()).unwrap();
    sleep(secs(1)).await;
    store.set(Fault::None);
    worker.await.unwrap();
    assert_eq!((sent.all(), emails.state(receipt.id).await.unwrap()), (vec![], Some(JobState::Queued)));
    let (sent, _worker) = work(&emails, async |_| Ok(()));
    sleep(secs(5)).await;
    assert_eq!(sent.all(), [("ada".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_ends_within_its_grace_and_30_s_whatever_the_store_does() {
    let store = Breakable::default();
    let emails = emails(store.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let send = tower::service_fn(|_: Job<Email>| pending::<Result<(), BoxError>>());
    let worker = tokio::spawn(emails.worker(send).run(async { _ = stopped.await }));
    emails.defer(&email("ada")).await.unwrap();
    sleep(secs(5)).await;
    store.set(Fault::Hangs);
    stop.send(()).unwrap();
    let since = Instant::now();
    worker.await.unwrap();
    assert!(since.elapsed() > secs(15) && since.elapsed() < secs(46), "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn permanent_errors_do_not_slow_a_worker_down() {
    let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).max_concurrent(3).build().unwrap();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let now = (Arc::clone(&running), Arc::clone(&most));
    let (_sent, _worker) = work(&emails, move |job| {
        let (running, most) = now.clone();
        async move {
            most.fetch_max(running.fetch_add(1, Relaxed) + 1, Relaxed);
            sleep(secs(1)).await;
            running.fetch_sub(1, Relaxed);
            if job.payload().to.ends_with('0') { Err(Permanent::new("declined").into()) } else { Ok(()) }
        }
    });
    for n in 0..100 {
        emails.defer(&email(&n.to_string())).await.unwrap();
    }
    sleep(secs(60)).await;
    assert_eq!(most.load(Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn attempts_that_an_injected_fault_has_hit_are_not_counted_and_bury_no_job() {
    let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).max_attempts(4).build().unwrap();
    let until = Instant::now() + secs(900);
    let (sent, _worker) = work(&emails, move |job| async move {
        if Instant::now() >= until {
            return Ok(());
        }
        tokio::task::yield_now().await;
        scope::inject_fault(|| ());
        match &*job.payload().to {
            "panic" => panic!("a fault was injected"),
            "ada" => Err("a fault was injected".into()),
            _ => Err(Permanent::new("a fault was injected").into()),
        }
    });
    let mut receipts = Vec::new();
    for to in ["ada", "grace", "panic"] {
        receipts.push(emails.defer(&email(to)).await.unwrap());
    }
    sleep(secs(3_600)).await;
    for receipt in receipts {
        assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Done));
    }
    assert!(sent.all().len() > 12, "more than would bury them");
    assert!(sent.all().iter().all(|(_, attempt)| *attempt == 1));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_loses_its_job_to_another_after_30_s_and_three_crashes_are_too_many() {
    let emails = emails(MemoryJobStore::new());
    let receipt = emails.defer(&email("ada")).await.unwrap();
    for attempt in 1..=3 {
        let (sent, worker) = work(&emails, async |_| pending().await);
        // It is renewed for as long as the worker lives.
        sleep(secs(300)).await;
        assert_eq!(sent.all(), [("ada".to_owned(), attempt)]);
        worker.abort();
        assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Running));
        let (sent, worker) = work(&emails, async |_| Ok(()));
        sleep(secs(15)).await;
        assert_eq!(sent.all(), [], "it is claimed");
        worker.abort();
        sleep(secs(20)).await;
    }
    let (sent, _worker) = work(&emails, async |_| Ok(()));
    sleep(secs(40)).await;
    assert_eq!(sent.all(), []);
    assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Failed(Failure::Crashes)));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_has_lost_its_claim_stops_and_records_nothing() {
    let store = Breakable::default();
    let (slow, fast) = (emails(store.clone()), emails(store.inner.clone()));
    let dropped = Arc::new(AtomicUsize::new(0));
    struct CountDrop(Arc<AtomicUsize>);
    impl Drop for CountDrop {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let counted = Arc::clone(&dropped);
    let (first, _one) = work(&slow, move |_| {
        let guard = CountDrop(Arc::clone(&counted));
        async move {
            let _guard = guard;
            pending().await
        }
    });
    let receipt = slow.defer(&email("ada")).await.unwrap();
    sleep(secs(1)).await;
    assert_eq!(first.all().len(), 1);
    // It can't renew its claim.
    store.set(Fault::Refuses);
    let (second, _other) = work(&fast, async |_| pending().await);
    sleep(secs(60)).await;
    assert_eq!(second.all(), [("ada".to_owned(), 2)]);
    assert_eq!(dropped.load(Relaxed), 1, "the first one has stopped");
    store.set(Fault::None);
    sleep(secs(60)).await;
    assert_eq!(fast.state(receipt.id).await.unwrap(), Some(JobState::Running));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_was_suspended_records_nothing_after_another_has_done_its_job() {
    let store = MemoryJobStore::new();
    let (suspended, other) = (emails(store.clone()), emails(store.clone()));
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun);
    let send = tower::service_fn(move |_: Job<Email>| {
        counted.fetch_add(1, Relaxed);
        async {
            sleep(secs(20)).await;
            Ok::<_, BoxError>(())
        }
    });
    let mut worker = pin!(suspended.worker(send).run(pending()));
    let receipt = suspended.defer(&email("ada")).await.unwrap();
    assert!(timeout(secs(5), &mut worker).await.is_err());
    assert_eq!(begun.load(Relaxed), 1);
    // It isn't polled any more, like a process that is stopped.
    let (sent, _worker) = work(&other, async |_| Ok(()));
    sleep(secs(60)).await;
    assert_eq!(sent.all(), [("ada".to_owned(), 2)]);
    let done = store.get(receipt.id).await.unwrap();
    // It goes on, and its job is done at once.
    assert!(timeout(secs(5), &mut worker).await.is_err());
    assert_eq!(store.get(receipt.id).await.unwrap(), done);
    assert_eq!(begun.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn jobs_that_a_process_whose_clock_was_ahead_has_written_run_at_once() {
    let store = MemoryJobStore::new();
    let before = emails(store.clone());
    for n in 0..250 {
        let id = before.defer(&email(&n.to_string())).await.unwrap().id;
        let StoredRecord { bytes, version, place: Place { list, due } } = store.get(id).await.unwrap().unwrap();
        // Years, or just more than any wait.
        let ahead = if n % 2 == 0 { secs(1_000_000_000) } else { secs(31 * 60) };
        // Some are still claimed by it.
        let list = if n % 3 == 0 { List::Running } else { list };
        let place = Place { list, due: due + ahead.as_millis() as u64 };
        store.replace(id, version, bytes, place).await.unwrap().unwrap();
    }
    let (sent, _worker) = work(&emails(store), async |_| Ok(()));
    sleep(secs(10)).await;
    assert_eq!(sent.all().len(), 250);
}

#[tokio::test(start_paused = true)]
async fn a_completion_whose_answer_is_lost_is_recorded_once() {
    let store = Breakable::default();
    let emails = emails(store.clone());
    let broken = store.clone();
    let (sent, _worker) = work(&emails, move |_| {
        broken.set(Fault::LosesAnswers);
        async { Ok(()) }
    });
    let receipt = emails.defer(&email("ada")).await.unwrap();
    sleep(secs(10)).await;
    store.set(Fault::None);
    sleep(secs(300)).await;
    assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Done));
    assert_eq!(sent.all(), [("ada".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_is_lost_is_no_crash() {
    let store = Breakable::default();
    let emails = emails(store.clone());
    let receipt = emails.defer(&email("ada")).await.unwrap();
    let (sent, _worker) = work(&emails, async |_| Ok(()));
    for _ in 0..10 {
        store.set(Fault::LosesAnswers);
        sleep(secs(5)).await;
        store.set(Fault::None);
        sleep(secs(5)).await;
    }
    assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Done));
    assert_eq!(sent.all(), [("ada".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_an_hour_loses_no_job_and_is_logged_once() {
    let store = Breakable::default();
    let emails = emails(store.clone());
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let (sent, _worker) = work(&emails, async |_| Ok(()));
    sleep(secs(5)).await;
    emails.defer(&email("ada")).await.unwrap();
    store.set(Fault::Hangs);
    sleep(secs(3_600)).await;
    store.set(Fault::None);
    sleep(secs(10)).await;
    assert_eq!(sent.all(), [("ada".to_owned(), 1)]);
    let said: Vec<_> = logs.events().iter().map(|event| event.message().to_owned()).collect();
    assert_eq!(said, ["the store doesn't work; no job is taken", "jobs are taken again"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_of_a_newer_version_or_another_kind_is_left_to_others_uncounted() {
    #[derive(Deserialize, Serialize)]
    struct NewEmail {
        to: String,
    }
    impl JobKind for NewEmail {
        const KIND: Name = name!("email");
        const VERSION: u32 = 2;
    }
    let store = MemoryJobStore::new();
    let old = emails(store.clone());
    let new = Deferred::<NewEmail>::builder("emails", store).build().unwrap();
    let (sent, _worker) = work(&old, async |_| Ok(()));
    let receipt = new.defer(&NewEmail { to: "ada".to_owned() }).await.unwrap();
    sleep(secs(3_600)).await;
    assert_eq!((sent.all(), old.state(receipt.id).await.unwrap()), (vec![], Some(JobState::Queued)));
    let done = Sent::default();
    let recorded = done.clone();
    let send = tower::service_fn(move |job: Job<NewEmail>| {
        recorded.add(&job, &job.payload().to);
        async { Ok::<_, BoxError>(()) }
    });
    tokio::spawn(new.worker(send).run(pending()));
    // Sometimes the old one is the first to see that the job is due, and leaves it alone for 30 s more.
    sleep(secs(3_600)).await;
    assert_eq!(done.all(), [("ada".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_record_holds_up_no_other_and_is_a_dead_letter() {
    let store = MemoryJobStore::new();
    let corrupt = JobId::from_bytes([7; 16]);
    let first = Place { list: List::Queued, due: 0 };
    store.create(corrupt, None, Bytes::from_static(b"\x01garbage"), first, 100).await.unwrap();
    let emails = Deferred::<Email>::builder("emails", store).max_concurrent(1).build().unwrap();
    emails.defer(&email("ada")).await.unwrap();
    let (sent, _worker) = work(&emails, async |_| Ok(()));
    sleep(secs(1)).await;
    assert_eq!(sent.all(), [("ada".to_owned(), 1)]);
    let letters = emails.handle().dead_letters(None, 10).await.unwrap();
    assert_eq!((letters[0].id, letters[0].failure, letters.len()), (corrupt, Failure::Malformed, 1));
    assert!(emails.handle().discard(corrupt).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_record_that_the_store_can_not_read_holds_up_no_other() {
    let store = Breakable::default();
    let emails = Deferred::<Email>::builder("emails", store.clone()).max_concurrent(1).build().unwrap();
    store.corrupt(emails.defer(&email("nobody")).await.unwrap().id);
    for i in 0..100 {
        emails.defer(&email(&i.to_string())).await.unwrap();
    }
    let (sent, _worker) = work(&emails, async |_| Ok(()));
    sleep(secs(1)).await;
    assert_eq!(sent.all().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_too_old_is_a_dead_letter_and_those_are_removed_in_the_end() {
    let builder = Deferred::<Email>::builder("emails", MemoryJobStore::new()).keep_dead_letters(secs(3_600));
    let emails = builder.expires_after(secs(600)).build().unwrap();
    let receipt = emails.defer(&email("ada")).await.unwrap();
    sleep(secs(600)).await;
    let (sent, _worker) = work(&emails, async |_| Ok(()));
    sleep(secs(5)).await;
    assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Failed(Failure::Expired)));
    sleep(secs(3_600)).await;
    assert_eq!((emails.state(receipt.id).await.unwrap(), sent.all()), (None, vec![]));
}

#[tokio::test(start_paused = true)]
async fn while_there_are_too_many_dead_letters_no_job_is_taken() {
    let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).max_dead_letters(1).build().unwrap();
    let (sent, _worker) = work(&emails, async |_| Err(Permanent::new("no").into()));
    let first = emails.defer(&email("ada")).await.unwrap();
    sleep(secs(5)).await;
    emails.defer(&email("bob")).await.unwrap();
    sleep(secs(60)).await;
    assert_eq!(sent.all().len(), 1);
    emails.handle().discard(first.id).await.unwrap();
    sleep(secs(5)).await;
    assert_eq!(sent.all().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn while_dead_letters_have_too_many_bytes_no_job_is_taken() {
    let builder = Deferred::<Email>::builder("emails", MemoryJobStore::new()).max_payload(1024 * 1024);
    let emails = builder.max_dead_letter_bytes(1024 * 1024).build().unwrap();
    let (sent, _worker) = work(&emails, async |_| Err(Permanent::new("no").into()));
    let half = email(&"x".repeat(512 * 1024));
    let first = emails.defer(&half).await.unwrap();
    emails.defer(&half).await.unwrap();
    sleep(secs(5)).await;
    emails.defer(&email("ada")).await.unwrap();
    sleep(secs(60)).await;
    assert_eq!(sent.all().len(), 2);
    emails.handle().discard(first.id).await.unwrap();
    sleep(secs(5)).await;
    assert_eq!(sent.all().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_worker_starts_slowly_and_runs_no_more_at_once_than_allowed() {
    let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).max_concurrent(3).build().unwrap();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, seen) = (Arc::clone(&running), Arc::clone(&most));
    let (_sent, _worker) = work(&emails, move |_| {
        let now = Arc::clone(&now);
        seen.fetch_max(now.fetch_add(1, Relaxed) + 1, Relaxed);
        async move {
            sleep(secs(1)).await;
            now.fetch_sub(1, Relaxed);
            Ok(())
        }
    });
    for i in 0..200 {
        emails.defer(&email(&i.to_string())).await.unwrap();
    }
    for (after, expected) in [(9, 1), (8, 2), (60, 3)] {
        sleep(secs(after)).await;
        assert_eq!(most.load(Relaxed), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_jobs_end_and_returns_the_rest_uncounted() {
    let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).max_concurrent(2).build().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let sent = Sent::default();
    let recorded = sent.clone();
    let send = tower::service_fn(move |job: Job<Email>| {
        recorded.add(&job, &job.payload().to);
        async move {
            sleep(if job.payload().to == "hangs" { secs(3_600) } else { secs(1) }).await;
            Ok::<_, BoxError>(())
        }
    });
    let worker = tokio::spawn(emails.worker(send).run(async { _ = stopped.await }));
    for i in 0..12 {
        emails.defer(&email(&i.to_string())).await.unwrap();
    }
    sleep(secs(15)).await;
    let hangs = emails.defer(&email("hangs")).await.unwrap();
    sleep(secs(5)).await;
    assert_eq!(emails.state(hangs.id).await.unwrap(), Some(JobState::Running));
    stop.send(()).unwrap();
    let late = emails.defer(&email("late")).await.unwrap();
    let since = Instant::now();
    worker.await.unwrap();
    assert!(since.elapsed() >= secs(15) && since.elapsed() < secs(16), "{:?}", since.elapsed());
    for id in [hangs.id, late.id] {
        assert_eq!(emails.state(id).await.unwrap(), Some(JobState::Queued));
    }
    let (sent, _worker) = work(&emails, async |_| Ok(()));
    sleep(secs(5)).await;
    assert!(sent.all().contains(&("hangs".to_owned(), 1)), "{:?}: the returned attempt doesn't count", sent.all());
}
