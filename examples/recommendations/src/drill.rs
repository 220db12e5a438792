//! `recommendations drill`: takes the app through outages under load, and reports what its users got.
//!
//! The load is open-loop: requests begin at a fixed rate, however slow the answers are, and each one's latency is measured from
//! when it should have begun. A closed loop would send fewer requests the slower the answers are, and so hide the worst of them.

mod chart;
mod load;
mod phase;
mod proxy;
mod report;
mod watch;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use self::load::Load;
use self::phase::{Phase, SCRIPT};
use self::proxy::Proxy;
pub use self::report::{DrillReport, PhaseReport};
use self::watch::Watch;
use crate::config::Config;
use crate::server::{Running, StartError, start};

/// How long the app may take to recover. Then the drill goes on, and reports that it didn't.
const PATIENCE: Duration = Duration::from_secs(60);

/// How to drill.
#[derive(Debug, Clone)]
pub struct DrillConfig {
    /// The app. Its circuits and its Redis server are drilled; it listens on free ports and simulates its upstreams in any case.
    pub app: Config,
    /// Requests a second.
    pub rate: NonZeroU32,
    /// How long each outage lasts.
    pub phase: Duration,
    /// Where the report goes as JSON.
    pub json: PathBuf,
    /// Where the chart goes.
    pub svg: PathBuf,
}

/// What happens now, for people who watch.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Progress {
    /// The phase.
    pub phase: &'static str,
    /// Requests answered so far.
    pub answered: usize,
    /// Requests that weren't answered as they should have been.
    pub wrong: usize,
}

/// Starts the app, and drills it.
///
/// # Errors
/// [`StartError`] if the app doesn't start, or one of its simulated upstreams doesn't listen again.
///
/// # Cancellation
/// Dropping it stops the load and the app at once.
pub async fn drill(config: &DrillConfig, mut progress: impl FnMut(Progress)) -> Result<DrillReport, StartError> {
    let redis = config.app.redis_url.as_ref().map(Proxy::start).transpose()?;
    let Config { listen, admin, .. } = Config::on_free_ports();
    let app = Config {
        listen,
        admin,
        ml_url: None,
        catalog_url: None,
        redis_url: redis.as_ref().map(|redis| redis.url().clone()),
        ..config.app.clone()
    };
    let running = start(app).await?;
    let watch = Watch::new(&running);
    let load = Load::start(running.app(), config.rate);
    let mut phases = Vec::new();
    for phase in SCRIPT.iter().filter(|phase| redis.is_some() || !phase.redis_is_down) {
        let telling = async {
            loop {
                progress(load.progress(phase.name));
                sleep(Duration::from_millis(250)).await;
            }
        };
        tokio::select! {
            report = outage(phase, config.phase, &running, &watch, &load, redis.as_ref()) => phases.push(report?),
            () = telling => {}
        }
    }
    let samples = load.finish().await;
    Ok(DrillReport::new(config, samples, &phases))
}

/// When something happened, from the load's first request on.
#[derive(Debug)]
struct Outage {
    phase: &'static Phase,
    began: Duration,
    /// When the last circuit of what is broken opened.
    opened: Option<Duration>,
    mended: Duration,
    /// When all of what was broken worked again.
    recovered: Option<Duration>,
    /// How many calls reached what was broken, and how many of them once its circuit was open.
    calls: u64,
    calls_while_open: u64,
    /// How often an open circuit allowed a probe.
    probes: u64,
}

async fn outage(
    phase: &'static Phase,
    length: Duration,
    running: &Running,
    watch: &Watch,
    load: &Load,
    redis: Option<&Proxy>,
) -> Result<Outage, StartError> {
    watch.forget();
    let calls = watch.calls(phase);
    let began = Instant::now();
    phase.begin(running.chaos(), redis).await.map_err(StartError::Upstream)?;
    sleep(length).await;

    let calls = watch.calls(phase) - calls;
    let mended = Instant::now();
    let seen = watch.seen(phase);
    phase.end(running.chaos(), redis).await.map_err(StartError::Upstream)?;
    let recovered = timeout(PATIENCE, async {
        watch.until_closed(phase).await;
        load.until_fresh(mended).await;
    });
    let recovered = recovered.await.ok().map(|()| load.since_start(Instant::now()));
    Ok(Outage {
        phase,
        began: load.since_start(began),
        opened: seen.opened.map(|at| load.since_start(at)),
        mended: load.since_start(mended),
        recovered,
        calls,
        calls_while_open: seen.calls_while_open,
        probes: seen.probes,
    })
}
