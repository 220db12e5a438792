//! The handle.

use std::sync::Arc;

use backstop_core::{ConfigError, Name};
use backstop_kit::StackOf;

use crate::{FaultConfig, FaultRun, FaultStatus, Refusal, RunId, injector::Injector};

/// Starts, shows and stops runs: see [`FaultLayer::handle`](crate::FaultLayer::handle).
///
/// All clones, and all services of the layer, share the runs. One run runs at a time.
#[derive(Clone, Debug)]
pub struct FaultHandle {
    injector: Arc<Injector>,
    stack: StackOf<FaultConfig>,
}

impl FaultHandle {
    pub(crate) const fn new(injector: Arc<Injector>) -> Self {
        Self { injector, stack: StackOf::none() }
    }

    backstop_kit::define_in_stack!(FaultConfig);

    pub(crate) const fn injector(&self) -> &Arc<Injector> {
        &self.injector
    }

    /// The layer's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        self.injector.name()
    }

    /// Starts a run: from now on a share of the calls fails. It is logged with who, why and until when.
    ///
    /// ```
    /// use backstop_fault::{Ended, Fault, FaultLayer, FaultRun};
    ///
    /// let faults = FaultLayer::builder("edge").arm().without_health().build()?.handle();
    /// let run = faults.start(FaultRun::new(Fault::Error, 0.05, "ada", "does the fallback answer?"))?;
    /// assert_eq!(faults.status().run.map(|running| running.id), Some(run));
    /// faults.stop("ada", "it does")?;
    /// assert_eq!(faults.status().last.map(|ended| ended.why), Some(Ended::Stopped));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Refusal`] if the layer isn't armed, the run isn't allowed, another one runs, the service isn't healthy or drains, or a
    /// condition that ends runs is met.
    pub fn start(&self, run: FaultRun) -> Result<RunId, Refusal> {
        self.injector.start(run)
    }

    /// Says that somebody still watches the run. A run ends 60 s after its start or its last heartbeat.
    ///
    /// Returns whether the run still runs.
    #[must_use = "a run that has ended needs no more heartbeats"]
    pub fn heartbeat(&self, run: RunId) -> bool {
        self.injector.heartbeat(run)
    }

    /// Ends the run that runs, whichever it is. Calls that are held are made at once.
    ///
    /// Returns the run, or `None` if none was running.
    ///
    /// # Errors
    /// [`ConfigError`] if `who` isn't 1 to 128 bytes or `reason` 1 to 512 bytes of printable text.
    pub fn stop(&self, who: &str, reason: &str) -> Result<Option<RunId>, ConfigError> {
        self.injector.stop(who, reason)
    }

    /// What is injected now, and was injected.
    #[must_use]
    pub fn status(&self) -> FaultStatus {
        self.injector.status()
    }

    /// Changes the settings while calls run.
    ///
    /// | setting | takes effect |
    /// |---|---|
    /// | `max_share` | at once: a run with a greater share ends. Never more than the layer was built with |
    /// | `max_held` | for calls that are hit afterwards. Never more than the layer was built with |
    /// | `never_on` | at once. The paths that the layer was built with must be among them |
    /// | `armed`, `unsafe_methods` | can't change |
    ///
    /// A setting that `config` leaves out gets its default.
    ///
    /// # Errors
    /// As [`FaultBuilder::build`](crate::FaultBuilder::build), if the name isn't the layer's, and for what can't change. Nothing
    /// changes then.
    pub fn reload(&self, config: FaultConfig) -> Result<(), ConfigError> {
        self.stack.reload(config, |config| {
            self.injector.reload(self.injector.check(config)?);
            Ok(())
        })
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &FaultConfig) -> Result<(), ConfigError> {
        self.stack.check(config, |config| self.injector.check(config.clone()).map(drop))
    }
}
