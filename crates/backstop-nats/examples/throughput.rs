//! How many jobs that do nothing a worker runs in a second, beside loops that pull and acknowledge messages of the same server:
//!
//! ```text
//! cargo run --release -p backstop-nats --example throughput
//! ```
//!
//! It starts the `nats-server` that is installed. Of each job, the worker reads the record, writes that it begins, that it is done, and
//! the copy by which it is removed in the end.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "an example")]

use std::{convert::Infallible, future::pending, time::Duration};

use backstop_deferred::{Deferred, Job, JobKind, Name, name};
use backstop_nats::{
    NatsJobStore,
    async_nats::{Client, ConnectOptions, Subject},
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
    const KIND: Name = name!("nothing");
}

/// What a loop does with a message.
#[derive(Clone, Copy)]
enum Plain {
    /// Acknowledges it, and doesn't wait for an answer.
    Acknowledges,
    /// Waits for the answer.
    Confirms,
    /// Writes that it begins, and that it is done, before.
    Records,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let Some(nats) = NatsServer::start() else { return };
    let connect = || async { ConnectOptions::new().connect(nats.url()).await.expect("a connection") };
    let rate = |time: Duration| JOBS as f64 / time.as_secs_f64();
    let loops = [
        ("a loop that pulls 64, and acknowledges them", 64, Plain::Acknowledges),
        ("64 loops that pull one, and confirm it", 1, Plain::Confirms),
        ("a loop that pulls 64, and records and confirms them", 64, Plain::Records),
    ];
    let mut rows = loops.map(|(name, ..)| (name, Vec::new()));
    for round in 0..3 {
        let worker = rate(worker(connect().await, &format!("worker-{round}")).await);
        println!("the worker: {worker:.0} a second");
        for (number, (_, batch, plain)) in loops.into_iter().enumerate() {
            let queue = format!("plain-{number}-{round}");
            rows[number].1.push(rate(plain_loop(connect().await, &queue, batch, plain).await) / worker);
        }
    }
    for (name, mut ratios) in rows {
        ratios.sort_by(f64::total_cmp);
        println!("{name}: {:.1} times as many", ratios[1]);
    }
}

fn queue(client: Client, name: &str) -> Deferred<Nothing> {
    let store = NatsJobStore::builder(client, name).build().expect("a configuration");
    let jobs = Deferred::builder("jobs", store).max_pending(2 * JOBS).max_concurrent(AT_ONCE).build();
    jobs.expect("a configuration")
}

async fn fill(jobs: &Deferred<Nothing>) {
    let defer = |_| async { jobs.defer(&Nothing {}).await.expect("a job") };
    stream::iter(0..JOBS).map(defer).buffer_unordered(AT_ONCE).for_each(|_| async {}).await;
}

/// Runs through the wake-ups of as many jobs, by 64 at once.
async fn plain_loop(client: Client, name: &str, batch: usize, plain: Plain) -> Duration {
    fill(&queue(client.clone(), name)).await;
    let run = async |delivery: Subject, number: usize| {
        let publish = async |subject: String| {
            client.request(subject, "the record of a job, of a hundred bytes or so".into()).await.expect("an answer");
        };
        match plain {
            Plain::Acknowledges => return client.publish(delivery, "+ACK".into()).await.expect("a connection"),
            Plain::Confirms => {}
            Plain::Records => {
                // Subjects of the same stream.
                publish(format!("backstop.{name}.key.{number}")).await;
                publish(format!("backstop.{name}.key.{number}")).await;
            }
        }
        client.request(delivery, "+ACK".into()).await.expect("an answer");
    };
    let one_loop = async |lane: usize| {
        let inbox = client.new_inbox();
        let mut messages = client.subscribe(inbox.clone()).await.expect("a subscription");
        let mut left = JOBS as usize / (AT_ONCE / batch);
        while left > 0 {
            let request = format!("{{\"batch\": {batch}, \"no_wait\": true}}");
            let subject = format!("$JS.API.CONSUMER.MSG.NEXT.backstop_{name}_wakeups.workers");
            client.publish_with_reply(subject, inbox.clone(), request.into()).await.expect("a connection");
            let pulled = left.min(batch);
            let messages = messages.by_ref().take(pulled).enumerate();
            messages
                .for_each_concurrent(batch, |(number, message)| {
                    run(message.reply.expect("a wake-up"), (lane * left) + number)
                })
                .await;
            left -= pulled;
        }
    };
    let begun = Instant::now();
    stream::iter(0..AT_ONCE / batch).for_each_concurrent(AT_ONCE, one_loop).await;
    client.flush().await.expect("a connection");
    begun.elapsed()
}

async fn worker(client: Client, name: &str) -> Duration {
    let jobs = queue(client, name);
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
