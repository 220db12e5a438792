//! What a dashboard shows.

use std::future::pending;

use backstop_core::scope;
use backstop_deferred::{Deferred, MemoryJobStore, Permanent, describe_metrics};
use backstop_test::Metrics;
use tokio::time::sleep;

use crate::common::{Breakable, Email, Fault, email, secs, work};

#[tokio::test(start_paused = true)]
async fn jobs_and_attempts_are_counted_by_what_became_of_them() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let store = Breakable::default();
    let builder = Deferred::<Email>::builder("emails", store.clone()).max_pending(4).max_payload(20);
    let emails = builder.max_attempts(2).build().unwrap();
    for to in ["done", "fails", "refused", "no"] {
        emails.defer(&email(to)).key("ada", to).await.unwrap();
    }
    emails.defer(&email("done")).key("ada", "done").await.unwrap();
    emails.defer(&email("other")).key("ada", "done").await.unwrap_err();
    emails.defer(&email("fifth")).await.unwrap_err();
    emails.defer(&email("much longer than allowed")).await.unwrap_err();
    store.set(Fault::Refuses);
    emails.defer(&email("lost")).await.unwrap_err();
    store.set(Fault::None);
    for (result, count) in
        [("accepted", 4), ("duplicate", 1), ("key-reused", 1), ("full", 1), ("invalid", 1), ("unknown", 1)]
    {
        let labels = [("queue", "emails"), ("result", result)];
        assert_eq!(metrics.counter("deferred_jobs_total", &labels), count, "{result}: {metrics}");
    }

    sleep(secs(7)).await;
    let (_sent, _worker) = work(&emails, async |job| match &*job.payload().to {
        "done" => Ok(()),
        "no" => Err(Permanent::new("no such address").into()),
        "refused" => {
            scope::inject_fault(|| ());
            Err("a fault was injected".into())
        }
        _ => Err("down".into()),
    });
    sleep(secs(2)).await;
    let attempts = |result| metrics.counter("deferred_attempts_total", &[("queue", "emails"), ("result", result)]);
    assert_eq!(
        ["succeeded", "failed", "failed-for-good", "refused", "stopped", "lost"].map(attempts),
        [1, 1, 1, 1, 0, 0],
        "{metrics}"
    );
    assert_eq!(metrics.counter("deferred_dead_letters_total", &[("failure", "permanent")]), 1);
    let completions = metrics.histogram("deferred_completion_seconds", &[("queue", "emails")]);
    assert!(completions.len() == 1 && (7.0..8.5).contains(&completions[0]), "{completions:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_the_store_is_shown_each_second() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).build().unwrap();
    let (_sent, _worker) = work(&emails, async |job| match &*job.payload().to {
        "0" => Err(Permanent::new("no such address").into()),
        _ => pending().await,
    });
    for i in 0..5 {
        emails.defer(&email(&i.to_string())).await.unwrap();
        sleep(secs(1)).await;
    }
    sleep(secs(20)).await;
    let jobs = |state| metrics.gauge("deferred_jobs", &[("queue", "emails"), ("state", state)]);
    assert_eq!(["queued", "running", "dead"].map(jobs), [Some(3.0), Some(1.0), Some(1.0)]);
    let oldest = metrics.gauge("deferred_oldest_seconds", &[("queue", "emails")]).unwrap();
    assert!((21.0..=23.0).contains(&oldest), "{oldest}");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_can_not_be_renewed_is_counted_as_lost_once() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let store = Breakable::default();
    let emails = Deferred::<Email>::builder("emails", store.clone()).build().unwrap();
    let (_sent, _worker) = work(&emails, async |_| pending().await);
    emails.defer(&email("ada")).await.unwrap();
    sleep(secs(1)).await;
    store.set(Fault::Hangs);
    sleep(secs(300)).await;
    assert_eq!(metrics.counter("deferred_claims_lost_total", &[("queue", "emails")]), 1);
    assert_eq!(metrics.counter("deferred_attempts_total", &[]), 1, "{metrics}");
}

#[test]
fn each_metric_is_described() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    describe_metrics();
    assert_eq!(metrics.descriptions().len(), 7);
}
