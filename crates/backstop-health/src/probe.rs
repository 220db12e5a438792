//! Active probes.

use std::{
    fmt,
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use backstop_core::{Classify, ConfigError, ErrorRef, ResultClassify, Verdict};
use backstop_kit::{ErrorText, Jitter};
use pin_project_lite::pin_project;
use tokio::time::{Instant, sleep_until, timeout};

use crate::{
    ComponentState, Health,
    drain::DrainState,
    engine::{Engine, Slot, Source},
    shared::Shared,
    until::until,
};

const HOUR: Duration = Duration::from_secs(60 * 60);
const SHORTEST: Duration = Duration::from_millis(1);
/// After this many times its interval and timeout without a result, a probe says nothing any more.
const STALE_AFTER: u32 = 3;

/// The settings of a probe as plain data, for
/// [`Component::probe_config`](crate::Component::probe_config) and [`ComponentConfig::probe`](crate::ComponentConfig::probe).
///
/// | field | default | allowed |
/// |---|---|---|
/// | `every` | 5 s, ± 20 % | 1 ms to 1 h |
/// | `timeout` | 2 s | 1 ms to `every` |
/// | `fall` | 3 | 1 to 1,000 |
/// | `rise` | 2 | 1 to 1,000 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct ProbeConfig {
    /// The time between the beginnings of two calls. Each time is 20 % shorter or longer by chance, so that instances that
    /// started together don't probe together.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub every: Duration,
    /// How long a call may take. A longer one fails.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub timeout: Duration,
    /// After how many failures in a row the component is bad.
    pub fall: u32,
    /// After how many successes in a row it is good again.
    pub rise: u32,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self { every: Duration::from_secs(5), timeout: Duration::from_secs(2), fall: 3, rise: 2 }
    }
}

impl ProbeConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        ConfigError::check_range("every", self.every, SHORTEST..=HOUR, "1 ms to 1 h")?;
        ConfigError::check_range("timeout", self.timeout, SHORTEST..=self.every, "1 ms to every")?;
        ConfigError::check_range("fall", self.fall, 1..=1_000, "1 to 1000")?;
        ConfigError::check_range("rise", self.rise, 1..=1_000, "1 to 1000")?;
        Ok(())
    }

    /// How long a result holds.
    fn holds_for(&self) -> Duration {
        // The longest interval, with its jitter.
        (self.every * 6 / 5 + self.timeout) * STALE_AFTER
    }
}

pin_project! {
    /// A future that probes a component: see [`Health::probe`].
    ///
    /// # Cancellation
    /// Dropping it stops the probe, and drops a running call. After a while without results the component is unknown.
    #[must_use = "futures do nothing unless polled"]
    pub struct ActiveProbe<T> {
        #[pin]
        inner: T,
        slot: ProbeSlot,
    }
}

/// The slot of a component's probe.
#[derive(Clone)]
struct ProbeSlot {
    shared: Weak<Shared>,
    component: usize,
}

impl<T: Future<Output = ()>> ActiveProbe<T> {
    /// Ends when `stop` ends, too. The component's state then depends on its other sources, as if it had no probe.
    pub fn until<U: Future>(self, stop: U) -> ActiveProbe<impl Future<Output = ()> + use<T, U>> {
        let slot = self.slot.clone();
        let inner = async move {
            // It keeps its turn until the slot is removed.
            let mut probe = pin!(self);
            if until(probe.as_mut(), stop).await.is_none() {
                probe.slot.remove();
            }
        };
        ActiveProbe { inner, slot }
    }
}

impl<T: Future<Output = ()>> Future for ActiveProbe<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().inner.poll(cx)
    }
}

impl ProbeSlot {
    /// Returns the bad state that the probe before it left, while that holds.
    fn add(&self) -> Option<ComponentState> {
        self.update(|slots| match slots.iter().find(|slot| slot.is_probe()) {
            Some(slot) => Some(slot.state).filter(|state| state.is_bad()),
            None => {
                slots.push(Slot::new(Source::Probe));
                None
            }
        })
        .flatten()
    }

    fn remove(&self) {
        self.update(|slots| slots.retain(|slot| !slot.is_probe()));
    }

    fn update<R>(&self, change: impl FnOnce(&mut Vec<Slot>) -> R) -> Option<R> {
        let shared = self.shared.upgrade()?;
        Some(shared.update(|engine| change(&mut engine.touch(self.component).slots)))
    }
}

impl<T> fmt::Debug for ActiveProbe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveProbe").finish_non_exhaustive()
    }
}

impl Health {
    /// A future that asks a component every now and then whether it works: spawn it.
    ///
    /// `probe` asks once, and returns `Ok` if it works. It must turn a bad status into an error. The defaults of
    /// [`ProbeConfig`] are those of load balancers. It must not block its thread: a blocked call can't be timed out.
    ///
    /// - It is called at once, and then every 5 s ± 20 %, never twice at a time. After 2 s it is dropped, and has failed.
    /// - The first success makes the component healthy. Three failures in a row make it degraded, or critical if it is
    ///   essential and [without fallback](crate::Component::without_fallback). Two successes in a row make it healthy again.
    /// - A bad state that a probe left when it was dropped holds for the next one, too.
    /// - A refusal by a layer of Backstop, such as a full bulkhead, is no result.
    /// - If there has been no result for the time of three calls, for example because the future was dropped or has panicked,
    ///   the component is unknown.
    ///
    /// It ends when the service [drains](crate::Drain), and when all handles are dropped. It keeps none of them alive. To end
    /// it earlier, drop it or give it a signal: [`ActiveProbe::until`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), backstop_health::ConfigError> {
    /// use backstop_health::{Component, ComponentState, Health};
    ///
    /// async fn ping() -> std::io::Result<()> {
    ///     Ok(())
    /// }
    ///
    /// let health = Health::builder().component(Component::essential("database")).build()?;
    /// tokio::spawn(health.run());
    /// tokio::spawn(health.probe("database", ping)?);
    /// # tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    /// assert_eq!(health.component("database").unwrap().state(), ComponentState::Healthy);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] if there is no such component, or if it has a probe already.
    pub fn probe<F, Fut, E>(
        &self,
        component: &str,
        probe: F,
    ) -> Result<ActiveProbe<impl Future<Output = ()> + use<F, Fut, E>>, ConfigError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: 'static,
    {
        let component = self.shared.find(component)?;
        let known = &self.shared.components[component];
        let turn = Arc::clone(&known.probe_turn)
            .try_acquire_owned()
            .map_err(|_| ConfigError::new("component", known.name.clone(), "a component without a running probe"))?;
        let slot = ProbeSlot { shared: Arc::downgrade(&self.shared), component };
        let mut results = Results {
            shared: Arc::downgrade(&self.shared),
            component,
            config: ProbeConfig::default(),
            state: ComponentState::Unknown,
            in_a_row: 0,
            last: Instant::now(),
        };
        let drains = self.shared.drain.subscribe();
        let added = slot.clone();
        let inner = async move {
            let _turn = turn;
            if let Some(state) = added.add() {
                results.state = state;
            }
            until(run(results, probe), DrainState::begun(drains)).await;
        };
        Ok(ActiveProbe { inner, slot })
    }
}

async fn run<F, Fut, E>(mut results: Results, mut probe: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: 'static,
{
    let jitter = Jitter::new(None);
    while let Some(config) = results.configured() {
        let next = Instant::now() + jitter.around(config.every);
        let result = timeout(config.timeout, probe()).await;
        match result {
            Ok(Ok(())) => results.good(),
            Ok(Err(error)) => {
                let error = ErrorRef::new(&error);
                if Classify::<()>::classify(&ResultClassify::new(), Err(error)).verdict == Verdict::Failure {
                    results.bad(ErrorText::default().of(error).as_deref());
                }
            }
            Err(_) => results.bad(Some("it took too long")),
        }
        sleep_until(next).await;
    }
}

/// Counts results, and reports what follows.
struct Results {
    shared: Weak<Shared>,
    component: usize,
    config: ProbeConfig,
    state: ComponentState,
    /// The results in a row that contradict the state.
    in_a_row: u32,
    last: Instant,
}

impl Results {
    /// The settings as they are now. `None` if all handles are gone.
    fn configured(&mut self) -> Option<&ProbeConfig> {
        let configured = |engine: &Engine| engine.components()[self.component].settings.probe;
        self.config = self.shared.upgrade()?.read_engine(configured);
        Some(&self.config)
    }

    fn good(&mut self) {
        self.forget_what_is_too_old();
        if self.state.is_bad() {
            self.in_a_row += 1;
            if self.in_a_row < self.config.rise {
                return self.report(None);
            }
        }
        self.state = ComponentState::Healthy;
        self.in_a_row = 0;
        self.report(None);
    }

    fn bad(&mut self, why: Option<&str>) {
        self.forget_what_is_too_old();
        let message = why.map_or_else(|| "the probe fails".into(), |why| format!("the probe fails: {why}"));
        if self.state.is_bad() {
            self.in_a_row = 0;
            return self.report(Some(message.into()));
        }
        self.in_a_row += 1;
        if self.in_a_row >= self.config.fall {
            self.in_a_row = 0;
            self.state = self.shared.upgrade().map_or(ComponentState::Degraded, |shared| shared.failed(self.component));
        }
        self.report(Some(message.into()));
    }

    /// The component has been unknown meanwhile, and one result doesn't change that unless it is good.
    fn forget_what_is_too_old(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.last) >= self.config.holds_for() && !self.state.is_bad() {
            (self.state, self.in_a_row) = (ComponentState::Unknown, 0);
        }
        self.last = now;
    }

    /// Renews what the probe says. `message` is `None` where the one before still holds, unless the state is good.
    fn report(&self, message: Option<Arc<str>>) {
        let Some(shared) = self.shared.upgrade() else { return };
        shared.update(|engine| {
            let until = Some(engine.now() + self.config.holds_for());
            let component = engine.touch(self.component);
            // Also the first failures, which don't make it bad yet.
            component.was_heard = true;
            if let Some(slot) = component.slots.iter_mut().find(|slot| slot.is_probe()) {
                let message = match self.state {
                    ComponentState::Healthy => None,
                    _ => message.or_else(|| slot.message.clone()),
                };
                slot.set(self.state, message, until);
            }
        });
    }
}
