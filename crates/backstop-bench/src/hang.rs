//! A primary that hangs, while requests keep coming at a rate that doesn't care: whether the fallback answers in time, and
//! in how much memory.

#![expect(clippy::disallowed_types, reason = "wall-clock time is what is measured")]

use std::{
    convert::Infallible,
    fs,
    future::pending,
    time::{Duration, Instant},
};

use axum::body::Body;
use backstop::{FallbackChain, FallbackLayer, Provider, name};
use http::{Request, Response, StatusCode};
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{
    http::{cloned, ok, request, unavailable},
    measure::{Section, print_table},
};

pub(crate) const SECTION: Section = Section { name: "hang", tables: &[], others: &[print] };

/// How many requests wait at the same time, on one core.
const WAITING: f64 = 10_000.0;
/// For how long they come.
const TIME: Duration = Duration::from_secs(5);
/// How many are sent at once where it is measured what the fallback alone sustains.
const AT_ONCE: usize = 100;
/// After how many requests the memory is looked at, which takes a while.
const LOOK_EVERY: u32 = 5_000;

fn print() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let sustained = runtime.block_on(sustained());
    let rate = sustained / 2.0;
    let share = Duration::from_secs_f64(WAITING / rate);
    let Seen { latencies, waiting, memory } = runtime.block_on(load(rate, share));
    let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1_000.0);
    let mebibytes = |kibibytes: u64| format!("{:.1} MiB", kibibytes as f64 / 1024.0);
    let row = |what: &str, figure: String, target: &str| vec![what.to_owned(), figure, target.to_owned()];
    print_table(
        "A primary that hangs, on one core",
        &["", "figure", "target"],
        &[
            row("the fallback alone sustains", format!("{sustained:.0}/s"), ""),
            row("requests come at", format!("{rate:.0}/s, for {} s", TIME.as_secs()), ""),
            row("waiting at once, at most", waiting.to_string(), "10000"),
            row("the primary's share of the time", millis(share), ""),
            row(
                "answered by the fallback within the total",
                format!("{:.2} %", 100.0 * latencies.within(2 * share)),
                "99 %",
            ),
            row("latency, median", millis(latencies.of_share(0.5)), ""),
            row("latency, 99th percentile", millis(latencies.of_share(0.99)), ""),
            row("resident memory at most, first half", mebibytes(memory[0]), ""),
            row("resident memory at most, second half", mebibytes(memory[1]), "flat"),
        ],
    );
}

/// How many requests a second the fallback answers whose primary fails at once.
async fn sustained() -> f64 {
    let primary = service_fn(|_: Request<Body>| async { Ok(unavailable()) });
    let service = guarded(Duration::from_secs(5), primary);
    let (request, mut tasks) = (request(), JoinSet::new());
    let begun = Instant::now();
    let mut answered = 0;
    while begun.elapsed() < TIME / 5 {
        for _ in 0..AT_ONCE {
            tasks.spawn(service.clone().oneshot(cloned(&request)));
        }
        while tasks.join_next().await.is_some() {}
        answered += AT_ONCE;
    }
    answered as f64 / begun.elapsed().as_secs_f64()
}

/// What was seen of the load.
struct Seen {
    latencies: Latencies,
    waiting: usize,
    /// The most memory, in KiB, that the process had in the first half of the time and in the second.
    memory: [u64; 2],
}

/// Sends requests at that rate, to a fallback whose primary has that share of the time.
async fn load(rate: f64, share: Duration) -> Seen {
    let service = guarded(2 * share, service_fn(|_: Request<Body>| pending()));
    let (request, mut tasks) = (request(), JoinSet::new());
    let mut seen = Seen { latencies: Latencies::new(), waiting: 0, memory: [0; 2] };
    let begun = Instant::now();
    for sent in 0_u32.. {
        let due = begun + Duration::from_secs_f64(f64::from(sent) / rate);
        if due > begun + TIME {
            break;
        }
        if Instant::now() < due {
            seen.waiting = seen.waiting.max(tasks.len());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if sent % LOOK_EVERY == 0 {
            let half = usize::from(begun.elapsed() > TIME / 2);
            seen.memory[half] = seen.memory[half].max(resident_kibibytes());
        }
        while let Some(latency) = tasks.try_join_next() {
            seen.latencies.add(latency.ok().flatten());
        }
        let call = service.clone().oneshot(cloned(&request));
        tasks.spawn(async move {
            let answer = call.await;
            // From the moment when the request was due, whenever it was really sent.
            answer.is_ok_and(|response| response.status() == StatusCode::OK).then(|| due.elapsed())
        });
    }
    while let Some(latency) = tasks.join_next().await {
        seen.latencies.add(latency.ok().flatten());
    }
    seen
}

/// How many answers took how long, in a memory that doesn't grow.
struct Latencies {
    /// By tenths of a millisecond. The last one is for all that took longer, and for what wasn't answered.
    counts: Vec<u32>,
}

impl Latencies {
    const UNIT: Duration = Duration::from_micros(100);
    const LONGEST: usize = 50_000;

    fn new() -> Self {
        Self { counts: vec![0; Self::LONGEST + 1] }
    }

    fn add(&mut self, latency: Option<Duration>) {
        self.counts[latency.map_or(Self::LONGEST, Self::units)] += 1;
    }

    fn units(latency: Duration) -> usize {
        Self::LONGEST.min(latency.div_duration_f64(Self::UNIT) as usize)
    }

    /// The share that took no longer.
    fn within(&self, limit: Duration) -> f64 {
        let sum = |counts: &[u32]| counts.iter().map(|&count| f64::from(count)).sum::<f64>();
        sum(&self.counts[..Self::units(limit)]) / sum(&self.counts)
    }

    /// What such a share of them didn't exceed.
    fn of_share(&self, share: f64) -> Duration {
        let all = self.counts.iter().map(|&count| f64::from(count)).sum::<f64>();
        let mut left = share * all;
        let exceeds = self.counts.iter().take_while(|&&count| {
            left -= f64::from(count);
            left > 0.0
        });
        exceeds.count() as u32 * Self::UNIT
    }
}

/// What Linux says; 0 elsewhere.
pub(crate) fn resident_kibibytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    // `VmRSS:     5432 kB`
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
    resident.and_then(|kibibytes| kibibytes.trim().parse().ok()).unwrap_or_default()
}

type Guarded<S> = <FallbackLayer<Request<Body>, Response<Body>> as Layer<S>>::Service;

fn guarded<S>(total: Duration, primary: S) -> Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let usual = Provider::from_fn(name!("usual"), |_: Request<Body>| async { ok() });
    let chain = FallbackChain::builder("instead").total(total).provider(usual).build().expect("a chain");
    FallbackLayer::new(name!("bench"), chain).layer(primary)
}
