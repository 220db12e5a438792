//! How a service stops without refusing anybody.
//!
//! | when | what |
//! |---|---|
//! | t0: the first [`begin`](Drain::begin) | not ready, level frozen, probes end, [`begun`](Drain::begun) |
//! | for `serve_while_draining` | serves normally; answers close their connections ([`DrainLayer`](crate::DrainLayer)) |
//! | then | the listener closes: [`listener_closes`](Drain::listener_closes) |
//! | for `finish_within` | running requests end; what isn't done then is cut off: [`requests_end`](Drain::requests_end) |
//! | `exit_within` after t0 | the process exits: [`exits`](Drain::exits) |
//! | the second [`begin`](Drain::begin) | all of it at once |

mod layer;

use std::{fmt, future::pending, sync::Arc};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

pub(crate) use layer::DrainSignal;
pub use layer::{DrainFuture, DrainLayer, DrainService};

use crate::{Health, shared::Shared, telemetry, until::until};

/// Stops a service without refusing anybody: see [`Health::drain`].
#[derive(Clone)]
pub struct Drain {
    shared: Arc<Shared>,
}

/// How far a drain has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DrainState {
    times: Option<DrainTimes>,
    is_hurried: bool,
}

#[derive(Clone, Copy, Debug)]
struct DrainTimes {
    begins: Instant,
    closes: Instant,
    ends: Instant,
    exits: Instant,
}

impl Health {
    /// The one drain of this service. Nothing happens before [`Drain::begin`].
    ///
    /// ```no_run
    /// use axum::{Router, routing::get};
    /// use backstop_health::{Component, Health};
    /// use tokio::net::TcpListener;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let health = Health::builder().component(Component::essential("database")).build()?;
    /// tokio::spawn(health.run());
    /// let drain = health.drain();
    /// // On Unix, SIGTERM instead. The second signal ends the drain at once.
    /// tokio::spawn(drain.on(|| async { tokio::signal::ctrl_c().await.expect("signals work") }));
    ///
    /// let app = Router::new().route("/", get(|| async { "hello" })).layer(drain.layer());
    /// let listener = TcpListener::bind("127.0.0.1:3000").await?;
    /// let server = axum::serve(listener, app).with_graceful_shutdown(drain.listener_closes());
    /// // `None` if requests had to be cut off.
    /// let served = drain.serve(server.into_future()).await;
    /// // What is left to do, such as flushing logs, has a little more time.
    /// drain.finish(async { /* … */ }).await;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn drain(&self) -> Drain {
        Drain { shared: Arc::clone(&self.shared) }
    }
}

impl Drain {
    /// Begins to drain. The second call ends the drain at once, as a second signal does. Further calls have no effect.
    pub fn begin(&self) {
        let begun = self.shared.update_unpublished(|engine| {
            if engine.drain_since.is_some() {
                return None;
            }
            let now = engine.now();
            engine.begin_drain();
            Some((now, engine.config.clone()))
        });
        if let Some((now, config)) = begun {
            let closes = now + config.serve_while_draining;
            let (ends, exits) = (closes + config.finish_within, now + config.exit_within);
            let times = DrainTimes { begins: now, closes, ends, exits };
            self.shared.drain.send_modify(|state| state.times = Some(times));
            self.shared.drain_signal.begin(ends);
            // A log that hangs must not keep it from beginning.
            telemetry::drain_begun(config.serve_while_draining, config.finish_within);
        } else if self.shared.drain.send_if_modified(|state| !std::mem::replace(&mut state.is_hurried, true)) {
            telemetry::drain_hurried();
        }
        self.shared.publish();
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.shared.drain_signal.requests_end().is_some()
    }

    /// Begins to drain when `signal` ends for the first time, and ends the drain at once when it does for the second time.
    /// Spawn it.
    ///
    /// `signal` waits for one signal, such as `SIGTERM`. It must not end for another reason. The future keeps no handle alive.
    ///
    /// # Cancellation
    /// Dropping it stops the waiting for signals. A drain that has begun goes on.
    pub fn on<F, Fut>(&self, mut signal: F) -> impl Future<Output = ()> + use<F, Fut>
    where
        F: FnMut() -> Fut,
        Fut: Future,
    {
        let shared = Arc::downgrade(&self.shared);
        async move {
            for _ in 0..2 {
                signal().await;
                let Some(shared) = shared.upgrade() else { return };
                Self { shared }.begin();
            }
        }
    }

    /// Ends at t0, when the drain begins: for workers, probers and drills, which stop then. At once if it has begun.
    ///
    /// This future and those below keep no handle alive. They never end if all handles are dropped before a drain begins.
    ///
    /// # Cancellation
    /// Dropping it has no effect.
    pub fn begun(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        wait(self.shared.drain.subscribe(), |times| times.begins)
    }

    /// Ends when the listener closes, [`serve_while_draining`](crate::HealthBuilder::serve_while_draining) after t0: for
    /// axum's and tonic's graceful shutdown. Connections then end after their current request, HTTP/2 ones with a `GOAWAY`.
    pub fn listener_closes(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        wait(self.shared.drain.subscribe(), |times| times.closes)
    }

    /// Ends when running requests have had their time, [`finish_within`](crate::HealthBuilder::finish_within) after the
    /// listener closed.
    pub fn requests_end(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        wait(self.shared.drain.subscribe(), |times| times.ends)
    }

    /// Ends when the process must exit, [`exit_within`](crate::HealthBuilder::exit_within) after t0.
    pub fn exits(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        wait(self.shared.drain.subscribe(), |times| times.exits)
    }

    /// Runs a server until it has ended, or until [`requests_end`](Self::requests_end). `None` if it was cut off.
    ///
    /// # Cancellation
    /// Dropping it drops the server.
    pub async fn serve<S: Future>(&self, server: S) -> Option<S::Output> {
        until(server, self.requests_end()).await
    }

    /// Runs what is left to do after the server has ended, at most until [`exits`](Self::exits). `None` if it was cut off.
    ///
    /// # Cancellation
    /// Dropping it drops `work`.
    pub async fn finish<W: Future>(&self, work: W) -> Option<W::Output> {
        until(work, self.exits()).await
    }

    /// A layer that moves clients to other instances while the service drains: see [`DrainLayer`].
    #[must_use]
    pub fn layer(&self) -> DrainLayer {
        DrainLayer::new(Arc::clone(&self.shared.drain_signal))
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("has_begun", &self.has_begun()).finish_non_exhaustive()
    }
}

impl DrainState {
    /// Ends when the drain begins, or when nobody can begin it any more.
    pub(crate) async fn begun(mut states: watch::Receiver<Self>) {
        _ = states.wait_for(|state| state.times.is_some()).await;
    }
}

/// Waits for a moment of the drain.
async fn wait(mut states: watch::Receiver<DrainState>, moment: fn(&DrainTimes) -> Instant) {
    let begun = states.wait_for(|state| state.times.is_some()).await.ok().and_then(|state| state.times);
    let Some(moment) = begun.as_ref().map(moment) else {
        // Nobody can begin it any more. That is no signal to stop.
        return pending().await;
    };
    let is_abandoned = matches!(timeout_at(moment, states.wait_for(|state| state.is_hurried)).await, Ok(Err(_)));
    if is_abandoned {
        sleep_until(moment).await;
    }
}
