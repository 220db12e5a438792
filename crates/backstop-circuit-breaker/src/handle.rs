//! The handle.

use std::{fmt, sync::Arc, time::Duration};

use backstop_core::{ConfigError, Name};
use backstop_kit::StackOf;

use crate::{
    CircuitBreakerConfig, CircuitMode, CircuitState, CircuitStatus, Events, Prober, StateSubscription,
    breaker::{Breaker, HasBreaker},
    circuit_group::CircuitGroup,
    prober::probe_circuit,
    state::{Counted, Nanos},
};

/// Shows and controls a circuit: see [`CircuitBreakerLayer::handle`](crate::CircuitBreakerLayer::handle).
///
/// All clones, and all services of the layer, share the circuit.
#[derive(Clone)]
pub struct CircuitBreakerHandle {
    has: Arc<dyn HasBreaker>,
    stack: StackOf<CircuitBreakerConfig>,
}

/// What a circuit has counted since its last transition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// The calls among which failures are counted: those in the window, or the failures in a row. 0 unless closed or recovering.
    pub calls: u32,
    /// The failures that count towards opening the circuit. 0 unless closed or recovering.
    pub failures: u32,
    /// The failures since the last success, if [`consecutive_failures`](crate::CircuitBreakerBuilder::consecutive_failures)
    /// open the circuit. 0 unless closed or recovering.
    pub in_a_row: u32,
    /// The slow calls in the window. 0 unless closed or recovering.
    pub slow: u32,
    /// The running probes. 0 unless half-open.
    pub probes: u32,
    /// The probes that have succeeded. 0 unless half-open.
    pub probe_successes: u32,
}

impl CircuitBreakerHandle {
    pub(crate) const fn new(has: Arc<dyn HasBreaker>) -> Self {
        Self { has, stack: StackOf::none() }
    }

    backstop_kit::define_in_stack!(CircuitBreakerConfig);

    #[inline]
    pub(crate) fn breaker(&self) -> &Breaker {
        self.has.breaker()
    }

    pub(crate) fn group(&self) -> &CircuitGroup {
        self.breaker().group()
    }

    /// The layer's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        self.breaker().name()
    }

    /// The state. A circuit that only [observes](Self::observe_only) is closed.
    ///
    /// A circuit whose wait has passed stays open until the next call, which is the first probe.
    /// [`status`](Self::status) shows whether the wait has passed.
    #[must_use]
    pub fn state(&self) -> CircuitState {
        self.breaker().circuit.state()
    }

    /// The state, and whether the wait of an open circuit has passed, or the step of a recovering one.
    #[must_use]
    pub fn status(&self) -> CircuitStatus {
        match (self.breaker().circuit.remaining_wait(self.now()), self.state()) {
            (Some(0), _) => CircuitStatus::ProbeDue,
            (None, CircuitState::Closed) => CircuitStatus::Closed,
            (None, CircuitState::HalfOpen) => CircuitStatus::HalfOpen,
            (None, CircuitState::Isolated) => CircuitStatus::Isolated,
            (None, CircuitState::Recovering) if self.breaker().circuit.step_is_due(self.now()) => {
                CircuitStatus::StepDue
            }
            (None, CircuitState::Recovering) => CircuitStatus::Recovering,
            // Or it has opened since.
            _ => CircuitStatus::Open,
        }
    }

    /// The share of calls that passes: 1 while the circuit is closed, that of the step while it is
    /// [recovering](crate::Recovery), else 0, whether or not a probe may pass.
    #[must_use]
    pub fn admitted_share(&self) -> f64 {
        self.breaker().circuit.admitted_share()
    }

    /// What has been counted since the last transition.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let Counted { calls, failures, in_a_row, slow, probes, probe_successes } =
            self.breaker().circuit.counted(self.now());
        Counts { calls, failures, in_a_row, slow, probes, probe_successes }
    }

    /// How much longer an open circuit refuses calls: zero if the next call is a probe, `None` if the circuit isn't open.
    #[must_use]
    pub fn remaining_wait(&self) -> Option<Duration> {
        self.breaker().circuit.remaining_wait(self.now()).map(Duration::from_nanos)
    }

    /// How many generations there have been: one for each transition and each [`reset`](Self::reset).
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.breaker().circuit.generation()
    }

    /// Watches the state.
    ///
    /// A subscription shows the latest state only: a reader that looks rarely may miss a short state, see
    /// [`events`](Self::events).
    #[must_use]
    pub fn subscribe(&self) -> StateSubscription {
        StateSubscription::new(self.breaker().circuit.listeners().subscribe(|| self.state()))
    }

    /// Each change of the state from now on, in order.
    ///
    /// ```
    /// use backstop_circuit_breaker::{CircuitBreakerLayer, CircuitState, TransitionReason, name};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let circuit = CircuitBreakerLayer::new(name!("ml_service")).handle();
    /// let mut events = circuit.events();
    /// circuit.isolate();
    /// let event = events.next().await;
    /// assert_eq!((event.from, event.to), (CircuitState::Closed, CircuitState::Isolated));
    /// assert_eq!((event.seq, event.reason), (1, TransitionReason::Manual));
    /// # }
    /// ```
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(Arc::clone(&self.has))
    }

    /// A future that makes probe calls, so that a circuit closes without traffic: spawn it.
    ///
    /// Without traffic an open circuit stays open, because only a call can show that the dependency has recovered. Use
    /// a prober for a dependency that may have no traffic, such as a fallback, or whose health you report.
    ///
    /// `probe` calls the dependency once, bypassing the circuit, and returns `Ok` if it works. An error that contains a
    /// Backstop refusal, such as a full bulkhead, is neutral. Any other error is a failure, and so is a call that takes
    /// longer than a probe's [lease](crate::CircuitBreakerBuilder::probe_lease). `probe` must turn a bad status into an
    /// error.
    ///
    /// - It is called whenever the circuit has waited long enough, one call at a time, and takes one of the
    ///   [permits](crate::CircuitBreakerBuilder::max_concurrent_probes) that real calls take.
    /// - It supplies at most one success less than the [threshold](crate::CircuitBreakerBuilder::success_threshold),
    ///   unless no real call had a result for a whole wait and none is running. A shallow health check mustn't close a
    ///   circuit whose real calls fail.
    /// - It never probes a circuit that is isolated.
    ///
    /// It ends when the layer, its services and its handles are dropped, and keeps none of them alive. To end it
    /// earlier, drop it or give it a signal: [`Prober::until`]. A panic in `probe` is a failure, and ends the prober.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use backstop_circuit_breaker::{CircuitBreakerLayer, CircuitState};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let drain = std::future::pending::<()>();
    /// let breaker = CircuitBreakerLayer::builder("catalog").consecutive_failures(1).build()?;
    /// let circuit = breaker.handle();
    /// tokio::spawn(circuit.prober(|| async { ask_catalog("/livez").await }).until(drain));
    /// # async fn ask_catalog(_: &str) -> Result<(), std::io::Error> { Ok(()) }
    /// # use tower::{Layer, ServiceExt, service_fn};
    /// # breaker.layer(service_fn(|_: http::Request<()>| async {
    /// #     Ok::<_, std::io::Error>(http::Response::builder().status(502).body(String::new()).unwrap())
    /// # })).oneshot(http::Request::new(())).await?;
    /// # assert_eq!(circuit.state(), CircuitState::Open);
    /// # circuit.subscribe().wait_for(|state| state == CircuitState::Closed).await.unwrap();
    /// # Ok(())
    /// # }
    /// ```
    pub fn prober<F, Fut, E>(&self, probe: F) -> Prober<impl Future<Output = ()> + use<F, Fut, E>>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: 'static,
    {
        Prober::new(probe_circuit(Arc::downgrade(&self.has), probe))
    }

    /// Refuses every call until [`close`](Self::close) or [`reset`](Self::reset).
    pub fn isolate(&self) {
        self.breaker().circuit.isolate();
    }

    /// Closes the circuit, with nothing counted. A closed one stays as it is and keeps its counts.
    pub fn close(&self) {
        self.breaker().circuit.close();
    }

    /// Makes the circuit as new: closed, with nothing counted, even if it was closed already.
    pub fn reset(&self) {
        self.breaker().circuit.reset();
    }

    /// Refuses calls from now on, after [`observe_only`](Self::observe_only). The circuit starts closed, with nothing counted.
    ///
    /// The next [`reload`](Self::reload) sets the mode anew. For the circuit of a key, it concerns that key alone.
    pub fn enforce(&self) {
        self.set_mode(CircuitMode::Enforcing);
    }

    /// Refuses no call from now on, and shows what it would have refused: see
    /// [`CircuitBreakerBuilder::observe_only`](crate::CircuitBreakerBuilder::observe_only). The circuit starts closed, with
    /// nothing counted, unless it is [isolated](Self::isolate).
    ///
    /// The next [`reload`](Self::reload) sets the mode anew. For the circuit of a key, it concerns that key alone.
    pub fn observe_only(&self) {
        self.set_mode(CircuitMode::Observing);
    }

    fn set_mode(&self, mode: CircuitMode) {
        let circuit = &self.breaker().circuit;
        if self.group().is_keyed() {
            circuit.set_mode(mode);
        } else {
            self.group().set_mode(mode, |_| circuit.set_mode(mode));
        }
    }

    /// Whether the circuit refuses calls.
    #[must_use]
    pub fn mode(&self) -> CircuitMode {
        self.breaker().circuit.mode()
    }

    /// The state that the circuit would have if it refused calls. Differs from [`state`](Self::state) only while it
    /// [observes](Self::observe_only).
    #[must_use]
    pub fn observed_state(&self) -> CircuitState {
        self.breaker().circuit.observed_state()
    }

    /// Changes the settings while calls run. Calls don't wait for it.
    ///
    /// Numbers and times change in place, and counts stay: if a new limit is already reached, the next failure opens
    /// the circuit. A wait, a lease or a step of a [ramp](crate::Recovery) that has begun keeps its end. If the [`Window`](crate::Window) changes its kind
    /// or size, a closed circuit starts a new generation with nothing counted. A circuit in another state uses the new
    /// window when it closes. The previous window is freed, except the one that the layer was built with. The seed
    /// doesn't change, nor do the classifier, the rejections and `observe`, which aren't part of a
    /// [`CircuitBreakerConfig`].
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use backstop_circuit_breaker::{CircuitBreakerConfig, CircuitBreakerLayer, name};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), backstop_circuit_breaker::ConfigError> {
    /// let circuit = CircuitBreakerLayer::new(name!("ml_service")).handle();
    /// let mut config = CircuitBreakerConfig::new("ml_service");
    /// config.consecutive_failures = Some(10);
    /// config.wait = Duration::from_secs(5).into();
    /// circuit.reload(config)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`CircuitBreakerBuilder::build`](crate::CircuitBreakerBuilder::build). Also if the name isn't the layer's,
    /// and for the circuit of a key, which shares its settings with all others: see
    /// [`KeyedCircuitBreakerHandle::reload`](crate::KeyedCircuitBreakerHandle::reload). After an error the settings are
    /// unchanged.
    pub fn reload(&self, config: CircuitBreakerConfig) -> Result<(), ConfigError> {
        self.stack.reload(config, |config| {
            let group = self.unkeyed_group(&config)?;
            self.breaker().reload(&group.check(config)?);
            Ok(())
        })
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &CircuitBreakerConfig) -> Result<(), ConfigError> {
        self.stack.check(config, |config| self.unkeyed_group(config)?.check(config.clone()).map(drop))
    }

    fn unkeyed_group(&self, config: &CircuitBreakerConfig) -> Result<&CircuitGroup, ConfigError> {
        let group = self.group();
        if group.is_keyed() {
            return Err(ConfigError::new("name", config.name.clone(), "that of a layer without keys"));
        }
        Ok(group)
    }

    fn now(&self) -> Nanos {
        self.breaker().now()
    }
}

impl fmt::Debug for CircuitBreakerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.breaker().debug(f.debug_struct("CircuitBreakerHandle"))
    }
}
