//! Deferred work: jobs that are accepted, and jobs that do nothing, run by a worker and by a plain loop over the same store.

#![expect(clippy::disallowed_types, reason = "wall-clock time is what is measured")]

mod accepting;

use std::{
    array,
    convert::Infallible,
    env, fs, process, thread,
    time::{Duration, Instant},
};

use backstop::deferred::{
    Deferred, Job, JobKind, MemoryJobStore, Name, RedbJobStore, name,
    store::{JobStore, List},
};
use futures_util::{StreamExt, future, stream};
use serde::{Deserialize, Serialize};
use tokio::{runtime, sync::watch, time};
use tower::service_fn;

use crate::measure::{Section, median, print_table};

const ROUNDS: usize = 5;
const JOBS: u64 = 20_000;
const AT_ONCE: usize = 64;
/// After this time, nothing of a job that is done is left to do.
const IDLE: Duration = Duration::from_millis(20);

pub(crate) const SECTION: Section =
    Section { name: "deferred", tables: &[], others: &[accepting::print, print_workers] };

#[derive(Deserialize, Serialize)]
struct Nothing {}

impl JobKind for Nothing {
    const KIND: Name = name!("nothing");
}

fn print_workers() {
    let rows = [
        ("plain loop, memory", "", rate(async || plain_loop(MemoryJobStore::new()).await)),
        ("worker, memory", "20000", rate(async || worker(MemoryJobStore::new()).await)),
        ("plain loop, redb", "", rate(async || plain_loop(redb().await).await)),
        ("worker, redb", "5000", rate(async || worker(redb().await).await)),
    ];
    let rows = rows.map(|(name, target, rate)| vec![name.to_owned(), format!("{rate:.0}"), target.to_owned()]);
    print_table("Jobs that do nothing, 64 at once", &["", "jobs a second", "target"], &rows);
}

/// The median jobs a second, in a runtime of its own.
fn rate(round: impl AsyncFn() -> Duration + Sync) -> f64 {
    let all = || {
        let runtime = runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let mut rates: [f64; ROUNDS] = array::from_fn(|_| JOBS as f64 / runtime.block_on(round()).as_secs_f64());
        median(&mut rates)
    };
    thread::scope(|scope| scope.spawn(all).join().expect("a rate"))
}

/// An empty store, whose file is gone once it is closed.
async fn redb() -> RedbJobStore {
    let path = env::temp_dir().join(format!("backstop-bench-{}.redb", process::id()));
    let store = RedbJobStore::open(&path).await.expect("a store");
    fs::remove_file(path).expect("the store's file");
    store
}

fn queue(store: impl JobStore) -> Deferred<Nothing> {
    Deferred::builder("jobs", store).max_pending(JOBS).max_concurrent(AT_ONCE).build().expect("a configuration")
}

async fn fill(jobs: &Deferred<Nothing>) {
    let defer = |_| async { jobs.defer(&Nothing {}).await.expect("a job") };
    stream::iter(0..JOBS).map(defer).buffer_unordered(AT_ONCE).for_each(|_| future::ready(())).await;
}

/// What a loop of one's own does at least: it takes jobs, and removes each after it has run.
async fn plain_loop(store: impl JobStore + Clone) -> Duration {
    fill(&queue(store.clone())).await;
    let begun = Instant::now();
    loop {
        let due = store.due(List::Queued, 0..=u64::MAX, 1_000).await.expect("jobs");
        if due.is_empty() {
            return begun.elapsed();
        }
        let run = async |id| {
            let stored = store.get(id).await.expect("a job").expect("a job");
            assert!(store.remove(id, stored.version).await.expect("an answer"));
        };
        stream::iter(due).for_each_concurrent(AT_ONCE, run).await;
    }
}

async fn worker(store: impl JobStore) -> Duration {
    let jobs = queue(store);
    let (done, mut count) = watch::channel(0);
    let (begin, mut begun) = watch::channel(0);
    let (open, gate) = watch::channel(true);
    let service = service_fn(move |_: Job<Nothing>| {
        begin.send_modify(|count| *count += 1);
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
            // A call of the store that runs while the clock jumps takes too long.
            time::sleep(IDLE).await;
            time::pause();
            time::advance(Duration::from_secs(10)).await;
            time::resume();
        }
        open.send_replace(false);
        fill(&jobs).await;
        let before = *count.borrow();
        let all_at_once = begun.wait_for(|begun| *begun == before + AT_ONCE as u64);
        _ = time::timeout(Duration::from_secs(10), all_at_once).await.expect("the slow start is over");
        let since = Instant::now();
        open.send_replace(true);
        _ = count.wait_for(|count| *count == before + JOBS).await;
        since.elapsed()
    };
    tokio::select! {
        measured = measured => measured,
        () = jobs.worker(service).run(future::pending()) => unreachable!("nobody stops it"),
    }
}
