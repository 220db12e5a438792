//! Drills: providers that are asked in the shadow of the primary, to prove that they work.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use backstop_core::{ConfigError, Level, Name};
use http::{Method, Request};

mod call;
mod drills;
mod offer;
mod run;

pub(crate) use call::DrillCall;
pub(crate) use drills::Drills;
pub(crate) use offer::Offered;
pub(crate) use run::DrillResult;

const DEFAULT_EVERY: Duration = Duration::from_secs(10);
const SHORTEST_EVERY: Duration = Duration::from_secs(1);
const LONGEST_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// A drill, to be run on your executor.
pub type DrillRun = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Asks the providers of a chain in the shadow of its primary, so that a fallback is known to work before it is needed.
///
/// Now and then a request that the primary gets is also given, as a copy, to one of the providers, each in its turn. Whether that
/// answers is noted as [last proven](crate::FallbackStatus::last_proven), and its answer is dropped. The request itself is neither
/// delayed nor changed.
///
/// A layer takes it by [`FallbackLayer::with_drill`](crate::FallbackLayer::with_drill), a chain in a handler by
/// [`FallbackChain::with_drill`](crate::FallbackChain::with_drill).
///
/// ```
/// use std::convert::Infallible;
///
/// use axum::{body::Body, http::{Request, Response}};
/// use backstop_core::Level;
/// use backstop_fallback::{Drill, FallbackChain, FallbackLayer, Provider, ProvenBy, name};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let chain = FallbackChain::builder("prices")
///     .provider(Provider::from_fn(name!("replica"), |_: Request<Body>| async { Response::new(Body::from("9.50")) }))
///     .build()?;
/// // In a service, `move || health.level()` of `backstop-health`, and the handle of the replica's circuit breaker.
/// let circuit_is_closed = || true;
/// let drill = Drill::new(|run| drop(tokio::spawn(run)), || Level::Healthy).circuit("replica", circuit_is_closed);
/// let layer = FallbackLayer::new(name!("live"), chain).with_drill(drill)?;
///
/// let live = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::from("9.99"))) });
/// layer.layer(live).oneshot(Request::new(Body::empty())).await?;
/// tokio::task::yield_now().await;
/// let (provider, proven) = &layer.handle().status().last_proven[0];
/// assert_eq!((provider.as_str(), proven.map(|last| last.by)), ("replica", Some(ProvenBy::Drill)));
/// # Ok(())
/// # }
/// ```
///
/// # Rules
///
/// | rule | |
/// |---|---|
/// | which requests | safe methods only (RFC 9110 §9.2.1), unless [told otherwise](Self::for_requests); none with [`Repeat::Never`](backstop_kit::Repeat::Never), and no upgrades |
/// | which providers | all but the first one in a handler, which is the primary, and those [`even_if_processed`](crate::Provider::even_if_processed) or [`only_if_processed`](crate::Provider::only_if_processed), which may write |
/// | how often | one at a time, at most every 10 s in each chain, unless [`every`](Self::every) says otherwise; never more than one a second |
/// | when | only while the level is healthy, the provider's [circuit](Self::circuit) is closed, and no [episode](crate#in-logs) of degraded answers runs |
/// | how long | the time that the provider has if all others use theirs, and at most its own timeout |
/// | until | the service [drains](Self::until) |
///
/// A live request has precedence. A provider that has as many requests as its [`concurrency`](crate::Provider::concurrency) allows
/// isn't drilled, and a drill counts there for nothing. When a live request is about to be given to a provider, a running drill is
/// dropped first, with its permits of layers further in.
///
/// # What nobody sees of it
///
/// The call runs outside of the caller's [scope](backstop_core::scope), without its deadline, and is marked as a
/// [shadow](backstop_core::scope#shadow-calls). Its answer isn't served, and labels nothing. No episode begins or ends by it.
///
/// | layer inside the provider | what it does |
/// |---|---|
/// | circuit breaker | counts the call as neutral: it neither opens nor closes a circuit |
/// | last known good | stores nothing, and removes nothing |
/// | features | count nothing |
/// | bulkhead, retry, timeout | treat it as any other call: it takes a permit, and may use the budget of retries |
///
/// All of them count it in their metrics. The provider itself, and what it calls, can't tell it from other requests. So a
/// provider that changes something, such as a queue, must be marked as above. Code of your own asks
/// [`scope::is_shadow`](backstop_core::scope::is_shadow).
///
/// # Cancellation
/// A caller that leaves doesn't end a drill. Your executor may drop one at any time, also before it runs; the next one is due as if it had
/// run.
#[must_use = "a drill does nothing until a layer or a chain has it"]
pub struct Drill<Req> {
    spawn: Arc<dyn Fn(DrillRun) + Send + Sync>,
    is_safe: Arc<dyn Fn(&Req) -> bool + Send + Sync>,
    conditions: Conditions,
    every: Duration,
}

/// What must hold while a provider is drilled.
#[derive(Clone)]
struct Conditions {
    level: Arc<dyn Fn() -> Level + Send + Sync>,
    circuits: Vec<(String, Arc<dyn Fn() -> bool + Send + Sync>)>,
    drain: Arc<dyn Fn() -> DrillRun + Send + Sync>,
}

impl<B> Drill<Request<B>> {
    /// Drills with the safe requests of HTTP: `GET`, `HEAD`, `OPTIONS` and `TRACE`.
    ///
    /// `spawn` must spawn the run and return at once. `level` is that of the service, such as the level of `backstop-health`. It must
    /// not block.
    pub fn new(
        spawn: impl Fn(DrillRun) + Send + Sync + 'static,
        level: impl Fn() -> Level + Send + Sync + 'static,
    ) -> Self {
        let is_safe = |request: &Request<B>| {
            matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
        };
        Self::for_requests(is_safe, spawn, level)
    }
}

impl<Req> Drill<Req> {
    /// Drills with requests for which `is_safe` returns true: for gRPC, where every call is a `POST`, and for requests that aren't
    /// HTTP.
    ///
    /// Only you know which of them change nothing, whatever provider gets them.
    ///
    /// ```
    /// use backstop_core::Level;
    /// use backstop_fallback::{Drill, FallbackChain, Provider, name};
    ///
    /// # async fn live(_: u32) -> Result<&'static str, std::io::Error> { Ok("9.99") }
    /// # async fn replica(_: u32) -> Result<&'static str, std::io::Error> { Ok("9.50") }
    /// let prices = FallbackChain::<u32, &str>::builder("prices")
    ///     .provider(Provider::from_fn(name!("live"), live))
    ///     .provider(Provider::from_fn(name!("replica"), replica))
    ///     .build()?
    ///     .with_drill(Drill::for_requests(|_item: &u32| true, |run| drop(tokio::spawn(run)), || Level::Healthy))?;
    /// # Ok::<(), backstop_fallback::ConfigError>(())
    /// ```
    pub fn for_requests(
        is_safe: impl Fn(&Req) -> bool + Send + Sync + 'static,
        spawn: impl Fn(DrillRun) + Send + Sync + 'static,
        level: impl Fn() -> Level + Send + Sync + 'static,
    ) -> Self {
        let drain = || Box::pin(std::future::pending()) as DrillRun;
        let conditions = Conditions { level: Arc::new(level), circuits: Vec::new(), drain: Arc::new(drain) };
        Self { spawn: Arc::new(spawn), is_safe: Arc::new(is_safe), conditions, every: DEFAULT_EVERY }
    }

    /// Drills `provider` only while `is_closed` returns true: the state of its circuit breaker. Always unless set. It must not block.
    pub fn circuit(
        mut self,
        provider: impl Into<String>,
        is_closed: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        self.conditions.circuits.push((provider.into(), Arc::new(is_closed)));
        self
    }

    /// The least time between the beginnings of two drills of the chain: 10 s unless set, 1 s to 24 h.
    ///
    /// A file can set it as [`drill_every`](crate::FallbackConfig::drill_every).
    pub fn every(mut self, time: Duration) -> Self {
        self.every = time;
        self
    }

    /// Ends drills for good when the future that `drain` returns ends, for example when the service begins to drain. A running one is
    /// dropped.
    ///
    /// `drain` is called for each drill.
    pub fn until<Fut>(mut self, drain: impl Fn() -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output: Send> + Send + 'static,
    {
        self.conditions.drain = Arc::new(move || {
            let drained = drain();
            Box::pin(async { drop(drained.await) })
        });
        self
    }

    /// Refuses a drill that doesn't fit a chain of these providers.
    fn check(&self, providers: &[Name]) -> Result<(), ConfigError> {
        check_every("every", self.every)?;
        let unknown = self.conditions.circuits.iter().find(|(of, _)| providers.iter().all(|name| name != of.as_str()));
        let Some((circuit, _)) = unknown else { return Ok(()) };
        let names: Vec<_> = providers.iter().map(Name::as_str).collect();
        Err(ConfigError::new("circuit", circuit.clone(), names.join(", ")))
    }
}

/// Refuses a time between two drills that isn't allowed.
pub(crate) fn check_every(field: &'static str, every: Duration) -> Result<(), ConfigError> {
    ConfigError::check_range(field, every, SHORTEST_EVERY..=LONGEST_EVERY, "1 s to 24 h").map(drop)
}

impl<Req> fmt::Debug for Drill<Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drill").field("every", &self.every).finish_non_exhaustive()
    }
}
