//! Accepting jobs.

use backstop_deferred::{
    DeferError, Deferred, JobKind, JobState, MemoryJobStore, Name, NotAccepted,
    store::{JobStore, List},
};
use backstop_test::Logs;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tracing::Level;

use crate::common::{Breakable, Email, Fault, email, emails, secs, work};

fn refusal(error: DeferError) -> NotAccepted {
    match error {
        DeferError::NotAccepted(refusal) => refusal,
        error => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_receipt_is_for_a_job_that_is_stored() {
    let emails = emails(MemoryJobStore::new());
    let receipt = emails.defer(&email("ada")).await.unwrap();
    assert!(receipt.is_new);
    assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Queued));
    assert_eq!(emails.state(receipt.id.to_string().parse().unwrap()).await.unwrap(), Some(JobState::Queued));
    let other = emails.defer(&email("ada")).await.unwrap();
    assert_ne!(other.id, receipt.id, "without a key, the same again is another job");
    assert_eq!(emails.state(backstop_deferred::JobId::from_bytes([0; 16])).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_key_has_one_job_and_belongs_to_its_principal_queue_and_kind() {
    let store = MemoryJobStore::new();
    let all = emails(store.clone());
    let first = all.defer(&email("ada")).key("ada", "17").await.unwrap();
    let again = all.defer(&email("ada")).key("ada", "17").await.unwrap();
    assert_eq!((again.id, again.is_new), (first.id, false));
    assert_eq!(refusal(all.defer(&email("bob")).key("ada", "17").await.unwrap_err()), NotAccepted::KeyReused);
    // Neither is a part of another: lengths count.
    for (principal, key) in [("bob", "17"), ("ada", "18"), ("ada1", "7"), ("", "ada17")] {
        assert!(all.defer(&email("ada")).key(principal, key).await.unwrap().is_new, "{principal} {key}");
    }
    let others = Deferred::<Email>::builder("others", store.clone()).build().unwrap();
    assert!(others.defer(&email("ada")).key("ada", "17").await.unwrap().is_new);
    assert_eq!(store.totals(List::Queued).await.unwrap().records, 6);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_known_for_some_time_after_its_job_is_done() {
    let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).keep_done(secs(600)).build().unwrap();
    let (sent, _worker) = work(&emails, async |_| Ok(()));
    let first = emails.defer(&email("ada")).key("ada", "17").await.unwrap();
    sleep(secs(600 - 10)).await;
    assert_eq!(emails.state(first.id).await.unwrap(), Some(JobState::Done));
    assert!(!emails.defer(&email("ada")).key("ada", "17").await.unwrap().is_new);
    assert_eq!(refusal(emails.defer(&email("bob")).key("ada", "17").await.unwrap_err()), NotAccepted::KeyReused);
    sleep(secs(20)).await;
    assert_eq!(emails.state(first.id).await.unwrap(), None);
    assert!(emails.defer(&email("bob")).key("ada", "17").await.unwrap().is_new);
    sleep(secs(5)).await;
    assert_eq!(sent.all().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_and_a_long_payload_are_certainly_not_accepted() {
    let store = MemoryJobStore::new();
    let emails = Deferred::<Email>::builder("emails", store.clone()).max_pending(2).max_payload(100).build().unwrap();
    let first = emails.defer(&email("a")).key("a", "1").await.unwrap();
    emails.defer(&email("b")).await.unwrap();
    let full = refusal(emails.defer(&email("c")).await.unwrap_err());
    assert!(matches!(full, NotAccepted::Full { retry_after } if retry_after >= secs(1)), "{full:?}");
    assert_eq!(emails.defer(&email("a")).key("a", "1").await.unwrap().id, first.id, "it is no new job");
    let too_long = refusal(emails.defer(&email(&"x".repeat(100))).await.unwrap_err());
    assert_eq!(too_long, NotAccepted::TooLong { len: r#"{"to":""}"#.len() + 100, max: 100 });
    assert_eq!(store.totals(List::Queued).await.unwrap().records, 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_hangs_or_loses_its_answer_leaves_it_unknown() {
    let store = Breakable::default();
    let emails = emails(store.clone());
    for fault in [Fault::Refuses, Fault::Hangs, Fault::LosesAnswers] {
        store.set(fault);
        let since = Instant::now();
        let error = emails.defer(&email("ada")).key("ada", "17").await.unwrap_err();
        assert!(matches!(error, DeferError::Unknown(_)), "{error}");
        assert!(since.elapsed() <= secs(2));
    }
    // Only the last one has created it, and the same again finds it.
    store.set(Fault::None);
    assert!(!emails.defer(&email("ada")).key("ada", "17").await.unwrap().is_new);
    assert_eq!(store.totals(List::Queued).await.unwrap().records, 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_shows_a_payload_or_a_key() {
    let emails = emails(MemoryJobStore::new());
    let shown = format!("{emails:?} {:?}", emails.defer(&email("secret")).key("secret", "secret"));
    assert!(!shown.contains("secret"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn after_a_deployment_that_changes_the_payload_a_key_is_still_the_same_job() {
    #[derive(Deserialize, Serialize)]
    struct NewEmail {
        to: String,
        #[serde(default)]
        language: Option<String>,
    }

    impl JobKind for NewEmail {
        const KIND: Name = Email::KIND;
        const VERSION: u32 = 2;
    }

    let store = MemoryJobStore::new();
    let first = emails(store.clone()).defer(&email("ada")).key("ada", "17").await.unwrap();
    let new = Deferred::<NewEmail>::builder("emails", store).build().unwrap();
    let again = new.defer(&NewEmail { to: "ada".to_owned(), language: None }).key("ada", "17").await.unwrap();
    assert_eq!((again.id, again.is_new), (first.id, false));
}

#[tokio::test(start_paused = true)]
async fn while_too_many_done_jobs_are_kept_none_is_accepted_but_known_keys_are_known() {
    let store = MemoryJobStore::new();
    let builder = Deferred::<Email>::builder("emails", store.clone()).max_done(3).keep_done(secs(600));
    let emails = builder.build().unwrap();
    let (sent, worker) = work(&emails, async |_| Ok(()));
    let logs = Logs::up_to(Level::WARN);
    let _guard = logs.listen();
    for number in ["1", "2", "3"] {
        emails.defer(&email(number)).key("ada", number).await.unwrap();
        sleep(secs(3)).await;
    }
    assert_eq!((sent.all().len(), emails.handle().done()), (3, 3));
    assert!(matches!(refusal(emails.defer(&email("4")).await.unwrap_err()), NotAccepted::Full { .. }));
    let known = emails.defer(&email("2")).key("ada", "2").await.unwrap();
    assert_eq!((known.is_new, known.state), (false, JobState::Done));
    assert_eq!(refusal(emails.defer(&email("other")).key("ada", "2").await.unwrap_err()), NotAccepted::KeyReused);
    let full = "too many jobs that are done are kept: no job is accepted";
    assert_eq!(logs.events().only().message(), full, "once a minute");

    // A process that runs no jobs counts by itself.
    worker.abort();
    let other = Deferred::<Email>::builder("emails", store.clone()).max_done(3).build().unwrap();
    assert!(matches!(refusal(other.defer(&email("4")).await.unwrap_err()), NotAccepted::Full { .. }));
    let (_sent, _worker) = work(&emails, async |_| Ok(()));
    sleep(secs(600)).await;
    assert!(emails.defer(&email("4")).await.unwrap().is_new, "they are kept no longer");
    assert!(other.defer(&email("5")).await.unwrap().is_new);
}
