//! The worker.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    future::pending,
    pin::pin,
    time::Duration,
};

use backstop_core::{ConfigError, Inspect, Name};
use backstop_kit::log_text;
use futures_util::{
    FutureExt, StreamExt,
    future::{Fuse, FusedFuture, join},
    stream::FuturesUnordered,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tower_service::Service;

use crate::{
    Deferred, Failure, Job, JobKind,
    attempt::{Ended, Shutdown, attempt},
    gate::{Admission, Gates},
    job::BoxError,
    pace::Pace,
    telemetry,
};

/// How often a worker counts, removes old records, and asks for jobs that are due.
const TICK: Duration = Duration::from_secs(1);
/// How long jobs may take to be returned in the end.
const RETURNING: Duration = Duration::from_secs(30);
/// How many jobs it asks for, for each that may run at once.
const AHEAD: usize = 4;

/// Runs the jobs of a queue by a service: see [`Deferred::worker`].
///
/// | the service returns | then |
/// |---|---|
/// | `Ok` | the job is done, and its payload is erased |
/// | an error | it is tried again after a wait that doubles, up to [`max_attempts`](crate::DeferredBuilder::max_attempts) times |
/// | an error that is, or is caused by, [`Permanent`](crate::Permanent) | it goes to the dead letters |
/// | a refusal by a layer around it, such as an open circuit, which [proves](backstop_kit::proof) that nothing was done | it is tried again, and the attempt doesn't count. The wait is as long as the job has waited already, between `first_wait` and `max_wait` |
/// | an error in an attempt that an [injected fault](backstop_core::scope#injected-faults) has hit | the same |
/// | a panic | is caught, and counts as a crash, unless an injected fault has hit the attempt: the job is tried again when its claim has run out, and is a dead letter after three |
///
/// A refusal that a handler got from a client of its own is an error like others, because the handler may have done something before.
/// Give the worker that client's circuit as its [gate](Self::gate), so that an outage doesn't use up the attempts.
///
/// Errors are found among the causes (`source`) of any error type, and their text is logged.
///
/// So a circuit breaker, a timeout or a bulkhead fits around the service, with `.plain()`.
///
/// The service returns nothing, because a response can be a failure: over HTTP, a 503 is `Ok`, and so is what an open circuit of ours
/// answers. Return an error for each response that isn't a success:
///
/// ```
/// # use backstop_deferred::Job;
/// # use axum::http::{Request, Response};
/// # use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
/// # struct Email;
/// # let client = service_fn(async |_: Request<String>| Ok::<_, BoxError>(Response::new(String::new())));
/// let send = ServiceBuilder::new()
///     .map_request(|_email: Job<Email>| Request::new(String::new()))
///     .map_result(|result: Result<Response<String>, BoxError>| {
///         let status = result?.status();
///         if status.is_success() { Ok(()) } else { Err(BoxError::from(format!("status {status}"))) }
///     })
///     .service(client);
/// # fn is_service(_: impl Service<Job<Email>, Response = ()>) {}
/// # is_service(send);
/// ```
#[derive(Clone)]
#[must_use = "a worker does nothing until it runs"]
pub struct Worker<T, S> {
    pub(crate) deferred: Deferred<T>,
    pub(crate) service: S,
    pub(crate) gates: Gates,
}

impl<T, S> Worker<T, S> {
    /// Follows the circuit of what the jobs need: pass the handle of a `CircuitBreakerLayer`.
    ///
    /// | the circuit is | the worker |
    /// |---|---|
    /// | closed | runs jobs |
    /// | open, isolated | takes no job |
    /// | half-open, recovering, or open and its wait has passed, or in a state that this version doesn't know | runs one job at a time, which is the probe if the circuit is around the service |
    ///
    /// After that, it starts slowly again. Without a gate, jobs that an open circuit refuses are claimed and returned, each again and
    /// again.
    ///
    /// The state is read before each job is begun, when the circuit's wait has passed, and each second, through [`Inspect`]. A worker
    /// may have several gates: the strictest one counts.
    ///
    /// # Errors
    /// [`ConfigError`] if it doesn't show the state of one circuit.
    pub fn gate(mut self, circuit: impl Inspect + 'static) -> Result<Self, ConfigError> {
        self.gates.add_circuit(circuit)?;
        Ok(self)
    }

    /// Asks a closure how many jobs may begin, as [`gate`](Self::gate) asks a circuit: before each job, and each second.
    ///
    /// It must return at once, because the worker does nothing meanwhile. If it panics, so does [`run`](Self::run).
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicBool, Ordering::Relaxed}};
    /// use backstop_deferred::Admission;
    /// # use backstop_deferred::{Deferred, Job, JobKind, MemoryJobStore, Name, name};
    /// # #[derive(serde::Deserialize, serde::Serialize)]
    /// # struct Email;
    /// # impl JobKind for Email {
    /// #     const KIND: Name = name!("email");
    /// # }
    /// # let send = tower::service_fn(async |_: Job<Email>| Ok::<_, std::io::Error>(()));
    /// # let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).build()?;
    ///
    /// let in_maintenance = Arc::new(AtomicBool::new(false));
    /// let gate = Arc::clone(&in_maintenance);
    /// let worker = emails.worker(send).gate_fn(move || {
    ///     if gate.load(Relaxed) { Admission::Pause(None) } else { Admission::All }
    /// });
    /// # let _ = worker;
    /// # Ok::<(), backstop_deferred::ConfigError>(())
    /// ```
    pub fn gate_fn(mut self, gate: impl Fn() -> Admission + Send + Sync + 'static) -> Self {
        self.gates.add(gate);
        self
    }
}

impl<T, S> Worker<T, S>
where
    T: JobKind,
    S: Service<Job<T>, Response = ()> + Clone,
    S::Error: Into<BoxError>,
{
    /// Takes jobs and runs them until `shutdown` is ready: **spawn it**. Then it takes no more and gives back those that it hasn't
    /// begun, and running jobs have [`grace`](crate::DeferredBuilder::grace) to end. Those that don't are dropped and returned,
    /// uncounted. If the store fails, that is tried for up to 30 s. So it ends within `grace` and 30 s.
    ///
    /// All jobs run in the task that polls this: spawn several for several processors.
    ///
    /// With the drain of `backstop-health`, it stops when the drain begins, while requests are still served:
    ///
    /// ```
    /// # use backstop_deferred::{Deferred, Job, JobKind, MemoryJobStore, Name, name};
    /// # #[derive(serde::Deserialize, serde::Serialize)]
    /// # struct Email;
    /// # impl JobKind for Email {
    /// #     const KIND: Name = name!("email");
    /// # }
    /// use backstop_health::{Component, Health};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let send = tower::service_fn(async |_: Job<Email>| Ok::<_, std::io::Error>(()));
    /// let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).build()?;
    /// let health = Health::builder().component(Component::optional("mail")).build()?;
    /// let drain = health.drain();
    /// let worker = tokio::spawn(emails.worker(send).run(drain.begun()));
    /// # drain.begin();
    ///
    /// // When the server has ended:
    /// drain.finish(worker).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancellation
    /// Dropping it drops the running jobs, and is logged. They run again when their claims have run out, after 30 s; that counts as a
    /// crash.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { deferred, service, gates } = self;
        let queue = &*deferred.queue;
        let mut dropped = WarnIfDropped(Some(&queue.name));
        let (stop, stopped) = watch::channel(Shutdown::No);
        let (mut running, mut active) = (FuturesUnordered::new(), HashSet::new());
        // Jobs to be begun, and those that the store didn't let begin.
        let (mut batch, mut unclaimed) = (VecDeque::new(), Vec::new());
        let mut pace = Pace::new();
        let mut shutdown = pin!(shutdown);
        let mut tick = pin!(sleep(Duration::ZERO));
        let (mut counting, mut sweeping) = (pin!(Fuse::terminated()), pin!(Fuse::terminated()));
        let mut asking = pin!(Fuse::terminated());
        // Whether there may be jobs that it hasn't asked for.
        let mut has_more = false;
        loop {
            let admission = gates.admission();
            if admission != Admission::All {
                pace.restart();
            }
            let is_open = queue.takes_jobs() && !matches!(admission, Admission::Pause(_));
            let at_once = if is_open { pace.at_once().min(queue.config().max_concurrent) } else { 0 };
            while running.len() < at_once
                && let Some(id) = batch.pop_front()
            {
                if active.insert(id) {
                    let (service, stopped) = (service.clone(), stopped.clone());
                    running.push(async move { (id, attempt::<T, S>(queue, service, id, stopped).await) });
                }
            }
            let has_room = running.len() < at_once;
            if has_room && has_more && asking.is_terminated() {
                has_more = false;
                asking.set(queue.due(AHEAD * at_once + active.len()).fuse());
            }
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = &mut tick => {
                    tick.set(sleep(queue.jitter.around(TICK)));
                    has_more = true;
                    queue.works();
                    unclaimed.drain(..).for_each(|id| _ = active.remove(&id));
                    if counting.is_terminated() {
                        counting.set(queue.count().fuse());
                    }
                    if sweeping.is_terminated() {
                        sweeping.set(queue.sweep().fuse());
                    }
                }
                () = &mut counting => {}
                () = &mut sweeping => {}
                due = &mut asking => {
                    batch.extend(due.into_iter().filter(|id| !active.contains(id)));
                    has_more |= !batch.is_empty();
                    if batch.len() >= AHEAD * at_once {
                        // Others have asked for the same jobs: they needn't all try to claim the first.
                        batch.rotate_left(queue.jitter.number(0..batch.len() as u64) as usize);
                    }
                }
                () = queue.added.notified(), if has_room && !has_more => has_more = true,
                () = wait(&admission) => {}
                Some((id, ended)) = running.next() => match ended {
                    Ok(ended) => {
                        active.remove(&id);
                        match ended {
                            Some(Ended::Succeeded) => pace.succeeded(queue.config().max_concurrent),
                            Some(Ended::Failed(_) | Ended::FailedForGood(Failure::Attempts, _) | Ended::Panicked) => {
                                pace.failed();
                            }
                            // It says nothing about the dependency.
                            _ => {}
                        }
                    }
                    Err(error) => {
                        telemetry::not_claimed(&queue.name, id, &log_text(&error.to_string()));
                        unclaimed.push(id);
                    }
                },
            }
        }
        stop.send_replace(Shutdown::BeginNone);
        // It may be about to take jobs, which it shall not keep from being given back.
        asking.set(Fuse::terminated());
        // What isn't given back, others take in the end.
        let all = join(queue.store.release(), async { while running.next().await.is_some() {} });
        let mut all = pin!(all);
        if timeout(queue.config().grace, &mut all).await.is_err() {
            stop.send_replace(Shutdown::Now);
            _ = timeout(RETURNING, all).await;
        }
        dropped.0 = None;
    }
}

/// Logs that a worker didn't end by itself.
struct WarnIfDropped<'a>(Option<&'a Name>);

impl Drop for WarnIfDropped<'_> {
    fn drop(&mut self) {
        self.0.inspect(|queue| telemetry::dropped(queue));
    }
}

/// Waits until a gate may admit a job.
async fn wait(admission: &Admission) {
    match admission {
        Admission::Pause(Some(time)) => sleep(*time).await,
        _ => pending().await,
    }
}

impl<T, S> fmt::Debug for Worker<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("deferred", &self.deferred).finish_non_exhaustive()
    }
}
