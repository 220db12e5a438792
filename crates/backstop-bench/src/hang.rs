//! A primary that hangs, while requests keep coming at a rate that doesn't care: whether the fallback answers in time, and
//! in how much memory.

#![expect(clippy::disallowed_types, reason = "wall-clock time is what is measured")]

use std::{
    convert::Infallible,
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
    measure::{Section, live_bytes, print_table},
};

pub(crate) const SECTION: Section = Section { name: "hang", tables: &[], others: &[print] };

/// How many requests wait at the same time, on one core.
const WAITING: f64 = 10_000.0;
/// For how long they come.
const TIME: Duration = Duration::from_secs(5);
/// How many are sent at once where it is measured what the fallback alone sustains.
const AT_ONCE: usize = 100;

/// What was seen of the load.
struct Seen {
    /// From the moment when a request was due to its answer; the longest where there was none.
    latencies: Vec<Duration>,
    waiting: usize,
    /// The most bytes that were allocated for each that waited, in the first half of the time and in the second.
    bytes: [usize; 2],
}

fn print() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let sustained = runtime.block_on(sustained());
    let rate = sustained / 2.0;
    let share = Duration::from_secs_f64(WAITING / rate);
    let Seen { mut latencies, waiting, bytes } = runtime.block_on(load(rate, share));
    latencies.sort_unstable();
    let in_time = latencies.partition_point(|latency| *latency <= 2 * share) as f64 / latencies.len() as f64;
    let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1_000.0);
    let at =
        |share: f64| latencies.get((latencies.len() as f64 * share) as usize).copied().map_or_else(String::new, millis);
    let row = |what: &str, figure: String, target: &str| vec![what.to_owned(), figure, target.to_owned()];
    print_table(
        "A primary that hangs, on one core",
        &["", "figure", "target"],
        &[
            row("the fallback alone sustains", format!("{sustained:.0}/s"), ""),
            row("requests come at", format!("{rate:.0}/s, for {} s", TIME.as_secs()), ""),
            row("waiting at once, at most", waiting.to_string(), "10000"),
            row("the primary's share of the time", millis(share), ""),
            row("answered by the fallback within the total", format!("{:.2} %", 100.0 * in_time), "99 %"),
            row("latency, median", at(0.5), ""),
            row("latency, 99th percentile", at(0.99), ""),
            row("allocated at most for each that waits, first half", format!("{} bytes", bytes[0]), ""),
            row("the same, second half", format!("{} bytes", bytes[1]), "flat"),
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

/// Sends requests at that rate, to a fallback whose primary has that share of the time.
async fn load(rate: f64, share: Duration) -> Seen {
    let service = guarded(2 * share, service_fn(|_: Request<Body>| pending()));
    let (request, mut tasks) = (request(), JoinSet::new());
    let mut latencies = Vec::with_capacity((2.0 * rate * TIME.as_secs_f64()) as usize);
    let (mut waiting, mut bytes) = (0, [0; 2]);
    let before = live_bytes();
    let begun = Instant::now();
    for sent in 0.. {
        let due = begun + Duration::from_secs_f64(f64::from(sent) / rate);
        if due > begun + TIME {
            break;
        }
        if Instant::now() < due {
            waiting = waiting.max(tasks.len());
            let half = usize::from(begun.elapsed() > TIME / 2);
            if tasks.len() as f64 > WAITING / 2.0 {
                bytes[half] = bytes[half].max((live_bytes() - before) / tasks.len());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while let Some(latency) = tasks.try_join_next() {
            latencies.extend(latency);
        }
        let call = service.clone().oneshot(cloned(&request));
        tasks.spawn(async move {
            match call.await {
                Ok(response) if response.status() == StatusCode::OK => due.elapsed(),
                _ => Duration::MAX,
            }
        });
    }
    while let Some(latency) = tasks.join_next().await {
        latencies.extend(latency);
    }
    Seen { latencies, waiting, bytes }
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
