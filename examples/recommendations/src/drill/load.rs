//! The load: requests at a fixed rate, and what became of each.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AGE, CACHE_CONTROL, HeaderMap};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Progress;
use crate::dependency::{HttpClient, http_client};
use crate::recommender::TOTAL;

/// What an answer may take: the chain's total, and what its way takes.
pub(super) const LONGEST: Duration = TOTAL.saturating_add(Duration::from_millis(50));

/// When the client gives up.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many users come again and again. As many requests are of users who come once.
const REGULARS: u64 = 50;

/// A request, and what became of it.
#[derive(Debug)]
pub(super) struct Sample {
    /// When it should have begun, from the first request on.
    pub(super) at: Duration,
    /// From when it should have begun until the answer was read.
    pub(super) latency: Duration,
    /// Who answered, or what was wrong.
    pub(super) outcome: Result<&'static str, Wrong>,
}

/// What must not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    Unanswered,
    Mislabelled,
    Late,
}

/// Requests that go on until it is finished.
#[derive(Debug)]
pub(super) struct Load {
    start: Instant,
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: watch::Sender<bool>,
    task: JoinSet<()>,
}

impl Load {
    pub(super) fn start(app: SocketAddr, rate: NonZeroU32) -> Self {
        let start = Instant::now();
        let samples = Arc::<Mutex<Vec<Sample>>>::default();
        let mut task = JoinSet::new();
        let (stop, stopped) = watch::channel(false);
        task.spawn(send(app, rate, start, Arc::clone(&samples), stopped));
        Self { start, samples, stop, task }
    }

    pub(super) fn since_start(&self, at: Instant) -> Duration {
        at - self.start
    }

    pub(super) fn progress(&self, phase: &'static str) -> Progress {
        let samples = lock(&self.samples);
        let wrong = samples.iter().filter(|sample| sample.outcome.is_err()).count();
        Progress { phase, answered: samples.len() - wrong, wrong }
    }

    /// Waits until a request that began later than this is answered by the primary.
    pub(super) async fn until_fresh(&self, since: Instant) {
        let since = self.since_start(since);
        let is_fresh = |sample: &Sample| sample.at > since && sample.outcome == Ok(PRIMARY);
        while !lock(&self.samples).iter().rev().take(100).any(is_fresh) {
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Begins no more requests, and waits for the answers of those that are running.
    pub(super) async fn finish(mut self) -> Vec<Sample> {
        self.stop.send_replace(true);
        while self.task.join_next().await.is_some() {}
        std::mem::take(&mut *lock(&self.samples))
    }
}

async fn send(
    app: SocketAddr,
    rate: NonZeroU32,
    start: Instant,
    samples: Arc<Mutex<Vec<Sample>>>,
    mut stopped: watch::Receiver<bool>,
) {
    let client = http_client();
    let mut running = JoinSet::new();
    for n in 0_u64.. {
        let at = Duration::from_nanos(n * 1_000_000_000 / u64::from(rate.get()));
        tokio::select! {
            () = sleep_until(start + at) => {}
            _ = stopped.wait_for(|is_stopped| *is_stopped) => break,
        }
        while running.try_join_next().is_some() {}
        let user = if n % 2 == 0 { format!("regular-{}", n / 2 % REGULARS) } else { format!("new-{n}") };
        let (client, samples) = (client.clone(), Arc::clone(&samples));
        running.spawn(async move {
            let sent = Instant::now();
            let asked = timeout(PATIENCE, ask(client, app, &user)).await.unwrap_or(Err(Wrong::Unanswered));
            // The app can't help it if this machine was too busy to send the request in time.
            let outcome = if sent.elapsed() > LONGEST { asked.and(Err(Wrong::Late)) } else { asked };
            lock(&samples).push(Sample { at, latency: start.elapsed() - at, outcome });
        });
    }
    while running.join_next().await.is_some() {}
}

async fn ask(client: HttpClient, app: SocketAddr, user: &str) -> Result<&'static str, Wrong> {
    let request = Request::get(format!("http://{app}/api/recommendations/{user}")).body(Empty::<Bytes>::new());
    let answer = client.request(request.map_err(|_| Wrong::Unanswered)?).await.map_err(|_| Wrong::Unanswered)?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(|_| Wrong::Unanswered)?.to_bytes();
    if head.status != StatusCode::OK {
        return Err(Wrong::Unanswered);
    }
    let Body { source, items } = serde_json::from_slice(&body).map_err(|_| Wrong::Unanswered)?;
    if items.is_empty() {
        return Err(Wrong::Unanswered);
    }
    checked(&source, &head.headers).ok_or(Wrong::Mislabelled)
}

#[derive(Deserialize)]
struct Body {
    source: String,
    items: Vec<serde::de::IgnoredAny>,
}

const PRIMARY: &str = "ml_service";

/// The sources in the order of the chain, each with how its answers are labelled.
pub(super) const SOURCES: [(&str, Option<&str>); 4] = [
    (PRIMARY, None),
    ("cached", Some("stale")),
    ("popular_items", Some("degraded")),
    ("static_bestsellers", Some("degraded")),
];

/// The source, if the headers say the same as the body.
fn checked(source: &str, headers: &HeaderMap) -> Option<&'static str> {
    let (source, freshness) = SOURCES.into_iter().find(|(known, _)| *known == source)?;
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let is_labelled = header("x-fallback-source") == freshness.map(|_| source)
        && header("x-data-freshness") == freshness
        && headers.contains_key(AGE) == (freshness == Some("stale"))
        && (freshness == Some("degraded")) == (header(CACHE_CONTROL.as_str()) == Some("no-store"));
    is_labelled.then_some(source)
}

fn lock(samples: &Mutex<Vec<Sample>>) -> MutexGuard<'_, Vec<Sample>> {
    samples.lock().unwrap_or_else(PoisonError::into_inner)
}
