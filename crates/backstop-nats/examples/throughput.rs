//! How many jobs that do nothing a worker runs in a second, beside a plain loop that pulls and acknowledges messages:
//!
//! ```text
//! cargo run --release -p backstop-nats --example throughput
//! ```
//!
//! It starts the `nats-server` that is installed. The plain loop keeps no record of what it has done, confirms nothing, and repeats a
//! message that it was given before it stopped. The worker has written twice when a job is done: that it begins, and that it is done.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "an example")]

use std::{convert::Infallible, future::pending, time::Duration};

use backstop_deferred::{Deferred, Job, JobKind, JobStore, List};
use backstop_nats::{
    NatsJobStore,
    async_nats::{Client, ConnectOptions, Message},
};
use backstop_test::NatsServer;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{self, Instant},
};
use tower::service_fn;

const JOBS: u64 = 20_000;
const AT_ONCE: usize = 64;

#[derive(Deserialize, Serialize)]
struct Nothing {}

impl JobKind for Nothing {
    const KIND: &str = "nothing";
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let Some(nats) = NatsServer::start() else { return };
    let connect = || async { ConnectOptions::new().connect(nats.url()).await.expect("a connection") };
    let mut ratios = Vec::new();
    for round in 1..=3 {
        let unconfirmed = plain_loop(connect().await, &format!("plain-{round}"), false).await;
        let confirmed = plain_loop(connect().await, &format!("confirmed-{round}"), true).await;
        let worker = worker(connect().await, &format!("worker-{round}")).await;
        let rates = [unconfirmed, confirmed, worker].map(|time| JOBS as f64 / time.as_secs_f64());
        let [unconfirmed, confirmed, worker] = rates;
        println!(
            "a second: plain loop {unconfirmed:.0}, with confirmed acknowledgements {confirmed:.0}, worker {worker:.0}"
        );
        ratios.push([unconfirmed / worker, confirmed / worker]);
    }
    ratios.sort_by(|a, b| a[0].total_cmp(&b[0]));
    println!(
        "median: a plain loop is {:.1} times as fast, with confirmed acknowledgements {:.1} times",
        ratios[1][0], ratios[1][1]
    );
}

fn queue(client: Client, name: &str) -> (NatsJobStore, Deferred<Nothing>) {
    let store = NatsJobStore::builder(client, name).build().expect("a configuration");
    let jobs = Deferred::builder("jobs", store.clone()).max_pending(2 * JOBS).max_concurrent(AT_ONCE).build();
    (store, jobs.expect("a configuration"))
}

async fn fill(jobs: &Deferred<Nothing>) {
    let defer = |_| async { jobs.defer(&Nothing {}).await.expect("a job") };
    stream::iter(0..JOBS).map(defer).buffer_unordered(AT_ONCE).for_each(|_| async {}).await;
}

/// Pulls and acknowledges the wake-ups of as many jobs, and does nothing else with them.
async fn plain_loop(client: Client, name: &str, is_confirmed: bool) -> Duration {
    let (store, jobs) = queue(client.clone(), name);
    fill(&jobs).await;
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await.expect("a subscription");
    let begun = Instant::now();
    let mut left = JOBS;
    while left > 0 {
        let request = format!("{{\"batch\": {AT_ONCE}, \"no_wait\": true}}");
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.backstop_{name}_wakeups.workers");
        client.publish_with_reply(subject, inbox.clone(), request.into()).await.expect("a connection");
        let pulled = left.min(AT_ONCE as u64);
        let acknowledge = async |message: Option<Message>| {
            let delivery = message.and_then(|message| message.reply).expect("a message");
            if is_confirmed {
                client.request(delivery, "+ACK".into()).await.map(drop).expect("an answer");
            } else {
                client.publish(delivery, "+ACK".into()).await.expect("a connection");
            }
        };
        let messages = messages.by_ref().take(pulled as usize);
        messages.for_each_concurrent(AT_ONCE, |message| acknowledge(Some(message))).await;
        left -= pulled;
    }
    client.flush().await.expect("a connection");
    let time = begun.elapsed();
    while store.totals(List::Queued).await.expect("an answer").records > 0 {}
    time
}

async fn worker(client: Client, name: &str) -> Duration {
    let (_, jobs) = queue(client, name);
    let (done, mut count) = watch::channel(0);
    let (open, gate) = watch::channel(true);
    let service = service_fn(move |_: Job<Nothing>| {
        let (done, mut gate) = (done.clone(), gate.clone());
        async move {
            _ = gate.wait_for(|is_open| *is_open).await;
            done.send_modify(|count| *count += 1);
            Ok::<_, Infallible>(())
        }
    });
    let measured = async {
        // The slow start: one more at once after each 10 s of success.
        for n in 1..2 * AT_ONCE as u64 {
            jobs.defer(&Nothing {}).await.expect("a job");
            _ = count.wait_for(|count| *count == n).await;
            time::pause();
            time::advance(Duration::from_secs(10)).await;
            time::resume();
        }
        open.send_replace(false);
        fill(&jobs).await;
        let (before, begun) = (*count.borrow(), Instant::now());
        open.send_replace(true);
        _ = count.wait_for(|count| *count == before + JOBS).await;
        begun.elapsed()
    };
    tokio::select! {
        measured = measured => measured,
        () = jobs.worker(service).run(pending()) => unreachable!("nobody stops it"),
    }
}
