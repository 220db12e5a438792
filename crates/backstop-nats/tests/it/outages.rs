//! A server that is killed, stopped, paused, and loses its disk, while two processes accept and run jobs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_deferred::{
    DeferError, Deferred, JobId, JobState,
    store::{JobStore, List},
};
use backstop_test::NatsServer;
use tokio::{
    task::{JoinHandle, block_in_place},
    time::{Instant, sleep},
};

use crate::common::{Email, Sent, email, emails, secs, store, within};

/// Accepts jobs until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    outcome: JoinHandle<Outcome>,
}

/// Whom the e-mails were for.
#[derive(Default)]
struct Outcome {
    confirmed: Vec<(JobId, String)>,
    refused: Vec<String>,
}

impl Load {
    fn start(emails: &Deferred<Email>, prefix: &'static str) -> Self {
        let (stop, emails) = (Arc::new(AtomicBool::new(false)), emails.clone());
        let stopped = Arc::clone(&stop);
        let outcome = tokio::spawn(async move {
            let mut outcome = Outcome::default();
            for number in 0.. {
                if stopped.load(Relaxed) {
                    break;
                }
                let to = format!("{prefix}{number}");
                let since = Instant::now();
                match emails.defer(&email(&to)).key("ada", &to).await {
                    Ok(receipt) => outcome.confirmed.push((receipt.id, to)),
                    Err(DeferError::NotAccepted(_)) => outcome.refused.push(to),
                    Err(DeferError::Unknown(_)) => {}
                    Err(error) => panic!("{error}"),
                }
                // Some more for a machine that is busy.
                assert!(since.elapsed() < secs(2) + secs(1), "it took {:?}", since.elapsed());
                sleep(Duration::from_millis(5)).await;
            }
            outcome
        });
        Self { stop, outcome }
    }

    async fn stop(self) -> Outcome {
        self.stop.store(true, Relaxed);
        self.outcome.await.unwrap()
    }
}

/// Waits until all are done, for two minutes at most.
async fn all_are_done(emails: &Deferred<Email>, jobs: &[(JobId, String)]) {
    let mut left: Vec<_> = jobs.iter().collect();
    within(secs(120), "all are done", async || {
        let mut pending = Vec::new();
        for job in left.drain(..) {
            match emails.state(job.0).await {
                Ok(Some(JobState::Done)) => {}
                // The connection may just be made.
                Ok(Some(JobState::Queued | JobState::Running)) | Err(_) => pending.push(job),
                state => panic!("{job:?}, one of {}, is {state:?}", jobs.len()),
            }
        }
        left = pending;
        left.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_confirmed_job_runs_however_the_server_is_broken() {
    let Some(mut nats) = NatsServer::start() else { return };
    let (one, other) = (emails(&nats, "emails").await, emails(&nats, "emails").await);
    let sent = Sent::default();
    for emails in [&one, &other] {
        sent.work(emails, async || Ok(()));
    }
    let loads = [Load::start(&one, "one-"), Load::start(&other, "other-")];
    sleep(secs(1)).await;
    for _ in 0..2 {
        block_in_place(|| nats.kill());
        sleep(secs(1)).await;
        block_in_place(|| nats.restart());
        sleep(secs(1)).await;
        block_in_place(|| nats.pause());
        sleep(secs(3)).await;
        block_in_place(|| nats.resume());
        sleep(secs(1)).await;
        block_in_place(|| nats.stop());
        sleep(secs(1)).await;
        block_in_place(|| nats.restart());
        sleep(secs(1)).await;
    }
    for load in loads {
        let Outcome { confirmed, refused } = load.stop().await;
        assert!(confirmed.len() > 100 && refused.is_empty(), "{} {refused:?}", confirmed.len());
        all_are_done(&one, &confirmed).await;
        for (id, to) in confirmed {
            assert!(sent.to(&to) >= 1, "{id} {to}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_full_queue_refuses_never_runs() {
    let Some(mut nats) = NatsServer::start() else { return };
    let store = store(&nats, "emails").await;
    let queue = || Deferred::<Email>::builder("emails", store.clone()).max_pending(5).build().unwrap();
    let (emails, sent) = (queue(), Sent::default());
    sent.work(&emails, async || {
        sleep(secs(1) / 50).await;
        Ok(())
    });
    let loads = [Load::start(&emails, "one-"), Load::start(&queue(), "other-")];
    for _ in 0..3 {
        sleep(secs(2)).await;
        block_in_place(|| nats.restart());
        assert!(store.totals(List::Queued).await.map_or(0, |totals| totals.records) <= 5);
    }
    for load in loads {
        let Outcome { confirmed, refused } = load.stop().await;
        assert!(confirmed.len() > 10 && refused.len() > 10, "{} {}", confirmed.len(), refused.len());
        all_are_done(&emails, &confirmed).await;
        // As all that were accepted are done, these would be, too.
        for to in refused {
            assert_eq!(sent.to(&to), 0, "{to}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_loses_its_disk_loses_its_jobs_and_goes_on() {
    let Some(mut nats) = NatsServer::start() else { return };
    let emails = emails(&nats, "emails").await;
    let sent = Sent::default();
    let worker = sent.work(&emails, async || Ok(()));
    let done = emails.defer(&email("ada")).key("ada", "1").await.unwrap();
    within(secs(10), "it is done", async || emails.state(done.id).await.unwrap() == Some(JobState::Done)).await;
    worker.abort();
    let lost = emails.defer(&email("bob")).key("bob", "1").await.unwrap();
    block_in_place(|| nats.restart_empty());
    sent.work(&emails, async || Ok(()));
    within(secs(10), "it is gone", async || matches!(emails.state(lost.id).await, Ok(None))).await;
    assert_eq!(emails.state(done.id).await.unwrap(), None);
    let again = emails.defer(&email("bob")).key("bob", "1").await.unwrap();
    assert!(again.is_new, "its key is free again");
    within(secs(10), "it is done", async || emails.state(again.id).await.unwrap() == Some(JobState::Done)).await;
    assert_eq!(sent.to("bob"), 1);
}
