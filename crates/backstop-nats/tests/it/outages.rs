//! A server that is killed, stopped, paused, and loses its disk, while two processes accept and run jobs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_deferred::{DeferError, Deferred, JobId, JobState};
use backstop_test::NatsServer;
use tokio::{
    task::{JoinHandle, block_in_place},
    time::{Instant, sleep},
};

use crate::common::{Email, Sent, email, emails, secs, within};

/// Accepts jobs until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    confirmed: JoinHandle<Vec<(JobId, String)>>,
}

impl Load {
    fn start(emails: &Deferred<Email>, prefix: &'static str) -> Self {
        let (stop, emails) = (Arc::new(AtomicBool::new(false)), emails.clone());
        let stopped = Arc::clone(&stop);
        let confirmed = tokio::spawn(async move {
            let mut confirmed = Vec::new();
            for number in 0.. {
                if stopped.load(Relaxed) {
                    break;
                }
                let to = format!("{prefix}{number}");
                let since = Instant::now();
                match emails.defer(&email(&to)).key("ada", &to).await {
                    Ok(receipt) => confirmed.push((receipt.id, to)),
                    Err(DeferError::Unknown(_)) => {}
                    Err(error) => panic!("{error}"),
                }
                // Some more for a machine that is busy.
                assert!(since.elapsed() < secs(2) + secs(1), "it took {:?}", since.elapsed());
                sleep(Duration::from_millis(5)).await;
            }
            confirmed
        });
        Self { stop, confirmed }
    }

    async fn stop(self) -> Vec<(JobId, String)> {
        self.stop.store(true, Relaxed);
        self.confirmed.await.unwrap()
    }
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
    let mut confirmed = Vec::new();
    for load in loads {
        confirmed.extend(load.stop().await);
    }
    assert!(confirmed.len() > 100, "{}", confirmed.len());
    let mut left = confirmed.clone();
    within(secs(120), "all are done", async || {
        let mut states = Vec::new();
        for job in left.drain(..) {
            match one.state(job.0).await.unwrap() {
                Some(JobState::Done) => {}
                Some(JobState::Queued | JobState::Running) => states.push(job),
                state => panic!("{job:?}, one of {}, is {state:?}", confirmed.len()),
            }
        }
        left = states;
        left.is_empty()
    })
    .await;
    for (id, to) in confirmed {
        assert!(sent.to(&to) >= 1, "{id} {to}");
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
