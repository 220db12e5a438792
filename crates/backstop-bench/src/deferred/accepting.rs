//! Jobs that are accepted: one commit each, together, with idempotency keys, and with many waiting.

use std::{
    iter, thread,
    time::{Duration, Instant},
};

use backstop::deferred::{Deferred, JobKind, MemoryJobStore, Name, name, store::JobStore};
use futures_util::{StreamExt, future, stream};
use serde::{Deserialize, Serialize};
use tokio::runtime;

use super::{AT_ONCE, JOBS, ROUNDS, redb};
use crate::{
    hang::resident_kibibytes,
    measure::{median, print_table},
};

const MANY: u64 = 1_000_000;
const FEW: u64 = 1_000;
/// How many are accepted one after the other.
const ALONE: u64 = 2_000;

#[derive(Deserialize, Serialize)]
struct Email {
    text: String,
}

impl JobKind for Email {
    const KIND: Name = name!("email");
}

/// Defers jobs of about 300 bytes. Returns how many a second.
async fn defer(emails: &Deferred<Email>, keys: bool, jobs: u64, at_once: usize) -> f64 {
    let email = Email { text: "x".repeat(200) };
    let defer = async |number: u64| {
        let call = emails.defer(&email);
        let call = if keys { call.key("ada", &number.to_string()) } else { call };
        call.await.expect("a job");
    };
    let begun = Instant::now();
    stream::iter(0..jobs).map(defer).buffer_unordered(at_once).for_each(|()| future::ready(())).await;
    jobs as f64 / begun.elapsed().as_secs_f64()
}

fn emails(store: impl JobStore) -> Deferred<Email> {
    let builder = Deferred::builder("emails", store).max_pending(100_000_000);
    builder.store_timeout(Duration::from_secs(60)).build().expect("a configuration")
}

pub(super) fn print() {
    thread::scope(|scope| _ = scope.spawn(|| in_a_runtime(print_rates())).join());
    thread::scope(|scope| _ = scope.spawn(|| in_a_runtime(print_waiting())).join());
}

fn in_a_runtime(work: impl Future<Output = ()>) {
    runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(work);
}

async fn print_rates() {
    let names = ["one after the other: a commit each", "64 at once", "64 at once, with keys"];
    let mut rates = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (rates, (keys, jobs, at_once)) in
            iter::zip(&mut rates, [(false, ALONE, 1), (false, JOBS, AT_ONCE), (true, JOBS, AT_ONCE)])
        {
            rates.push(defer(&emails(redb().await), keys, jobs, at_once).await);
        }
    }
    let rates = rates.map(|mut rates| median(&mut rates));
    let rows: Vec<_> = iter::zip(names, iter::zip(rates, ["", "10 times", "5 times"]))
        .map(|(name, (rate, target))| {
            vec![name.to_owned(), format!("{rate:.0}"), format!("{:.1}", rate / rates[0]), target.to_owned()]
        })
        .collect();
    print_table("Accepting jobs of 300 bytes, redb", &["", "jobs a second", "times", "target"], &rows);
}

async fn print_waiting() {
    let mut rows = Vec::new();
    let memory = emails(MemoryJobStore::new());
    rows.push(waiting("memory", "", &memory).await);
    drop(memory);
    let redb = emails(redb().await);
    rows.push(waiting("redb", "at most 2, flat", &redb).await);
    let head = ["", "1,000 waiting", "1,000,000 waiting", "times slower", "MiB before", "MiB after", "target"];
    print_table("Accepting jobs while others wait, 64 at once: jobs a second, and resident memory", &head, &rows);
}

async fn waiting(name: &str, target: &str, emails: &Deferred<Email>) -> Vec<String> {
    defer(emails, false, FEW, AT_ONCE).await;
    let (few, before) = (defer(emails, false, JOBS, AT_ONCE).await, resident_kibibytes());
    defer(emails, false, MANY, AT_ONCE).await;
    let (many, after) = (defer(emails, false, JOBS, AT_ONCE).await, resident_kibibytes());
    let mebibytes = |kibibytes: u64| format!("{}", kibibytes / 1024);
    vec![
        name.to_owned(),
        format!("{few:.0}"),
        format!("{many:.0}"),
        format!("{:.1}", few / many),
        mebibytes(before),
        mebibytes(after),
        target.to_owned(),
    ]
}
