//! The worker.

use std::{
    collections::HashSet,
    fmt,
    future::{pending, poll_fn},
    mem,
    pin::pin,
    time::Duration,
};

use backstop_core::{ErrorRef, Rejection, Verdict};
use backstop_kit::{ErrorText, StoreError, log_text};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tower_service::Service;

use crate::{
    Deferred, Failure, Job, JobId, JobKind, List, Permanent,
    pace::Pace,
    queue::{Claim, Queue},
    telemetry,
};

/// How often a worker asks for jobs that are due.
const POLL: Duration = Duration::from_secs(1);
/// How often a claim is renewed.
const RENEW: Duration = Duration::from_secs(10);

/// Runs the jobs of a queue by a service: see [`Deferred::worker`].
///
/// | the service returns | then |
/// |---|---|
/// | `Ok` | the job is done, and its payload is erased |
/// | an error | it is tried again after a wait that doubles, up to [`max_attempts`](crate::DeferredBuilder::max_attempts) times |
/// | an error that is, or is caused by, [`Permanent`] | it goes to the dead letters |
/// | a refusal by one of our layers, such as an open circuit | it is tried again, and the attempt doesn't count |
///
/// So a circuit breaker, a timeout or a bulkhead fits around the service, with `.plain()`.
#[derive(Clone)]
#[must_use = "a worker does nothing until it runs"]
pub struct Worker<T, S> {
    pub(crate) deferred: Deferred<T>,
    pub(crate) service: S,
}

/// How an attempt has ended.
enum Ended {
    Succeeded,
    Failed,
    /// It says nothing about the dependency: it wasn't begun, or was returned or lost.
    Other,
}

impl<T, S> Worker<T, S>
where
    T: JobKind,
    S: Service<Job<T>> + Clone,
    S::Error: 'static,
{
    /// Takes jobs and runs them until `shutdown` is ready: **spawn it**. Then it takes no more, and running jobs have
    /// [`grace`](crate::DeferredBuilder::grace) to end. Those that don't are dropped and returned, uncounted.
    ///
    /// All jobs run in the task that polls this: spawn several for several processors.
    ///
    /// # Cancellation
    /// Dropping it drops the running jobs. They run again when their claims have run out, after 30 s; that counts as a crash, and so
    /// does a panic of the service, which this future passes on.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let queue = &*self.deferred.queue;
        let (stop, stopped) = watch::channel(false);
        let (mut running, mut active) = (FuturesUnordered::new(), HashSet::new());
        let mut pace = Pace::new(queue.config.max_concurrent);
        let mut shutdown = pin!(shutdown);
        // Whether the log says that no job is taken.
        let mut is_halted = false;
        loop {
            let free = pace.at_once().saturating_sub(running.len());
            let ended = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = running.next() => Some(ended),
                ids = pull(queue, free, &active, &mut is_halted) => {
                    for id in ids {
                        active.insert(id);
                        running.push(attempt(queue, self.service.clone(), id, stopped.clone()));
                    }
                    None
                }
            };
            if let Some((id, ended)) = ended {
                active.remove(&id);
                match ended {
                    Ended::Succeeded => pace.succeeded(),
                    Ended::Failed => pace.failed(),
                    Ended::Other => {}
                }
            }
        }
        let all = async { while running.next().await.is_some() {} };
        let mut all = pin!(all);
        if timeout(queue.config.grace, &mut all).await.is_err() {
            stop.send_replace(true);
            all.await;
        }
    }
}

/// Claims a job and runs it, once. Owns the service, which needn't be `Sync`.
async fn attempt<T, S>(queue: &Queue, service: S, id: JobId, mut stopped: watch::Receiver<bool>) -> (JobId, Ended)
where
    T: JobKind,
    S: Service<Job<T>>,
    S::Error: 'static,
{
    let name = &*queue.config.name;
    let mut claim = match queue.claim(id, T::KIND, T::VERSION).await {
        Ok(Some(claim)) => claim,
        Ok(None) => return (id, Ended::Other),
        Err(error) => {
            telemetry::not_claimed(name, id, &log_text(&error.to_string()));
            // It is still due.
            sleep(POLL).await;
            return (id, Ended::Other);
        }
    };
    // Neither error is logged: it may contain some of the payload.
    let opened = queue.sealing.open(&claim.record.payload).ok();
    let Some(payload) = opened.and_then(|plain| serde_json::from_slice(&plain).ok()) else {
        return (id, settled(queue, id, bury(queue, &mut claim, Failure::Malformed, None).await, Ended::Other));
    };
    let job = Job { id, attempt: claim.record.attempts, payload };
    let result = tokio::select! {
        result = call(service, job) => result,
        () = renew(queue, &mut claim) => return (id, settled(queue, id, false, Ended::Other)),
        // The job is dropped before it is returned.
        () = wait_for_stop(&mut stopped) => {
            return (id, settled(queue, id, queue.give_back(&mut claim, Duration::ZERO).await, Ended::Other));
        }
    };
    let Err(error) = result else {
        return (id, settled(queue, id, queue.complete(&mut claim).await, Ended::Succeeded));
    };
    let error = ErrorRef::new(&error);
    let text = ErrorText::default().of(error);
    let is_refusal = Rejection::in_error(error).is_some_and(|it| it.outcome().verdict == Verdict::Neutral);
    let (is_ours, ended) = if error.find::<Permanent>().is_some() {
        (bury(queue, &mut claim, Failure::Permanent, text.as_deref()).await, Ended::Failed)
    } else if is_refusal {
        telemetry::refused(name, id, text.as_deref());
        (queue.give_back(&mut claim, queue.wait_after(1)).await, Ended::Other)
    } else if claim.record.attempts >= queue.config.max_attempts {
        (bury(queue, &mut claim, Failure::Attempts, text.as_deref()).await, Ended::Failed)
    } else {
        telemetry::attempt_failed(name, id, claim.record.attempts, text.as_deref());
        (queue.retry(&mut claim).await, Ended::Failed)
    };
    (id, settled(queue, id, is_ours, ended))
}

async fn bury(queue: &Queue, claim: &mut Claim, failure: Failure, error: Option<&str>) -> bool {
    telemetry::failed_for_good(&queue.config.name, claim.id, failure, error);
    queue.fail(claim, failure).await
}

fn settled(queue: &Queue, id: JobId, is_ours: bool, ended: Ended) -> Ended {
    if is_ours {
        return ended;
    }
    telemetry::claim_lost(&queue.config.name, id);
    Ended::Other
}

async fn call<S: Service<R>, R>(mut service: S, request: R) -> Result<(), S::Error> {
    poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await.map(drop)
}

async fn wait_for_stop(stopped: &mut watch::Receiver<bool>) {
    // The sender outlives all attempts.
    _ = stopped.wait_for(|stop| *stop).await;
}

/// Renews a claim until it is lost.
async fn renew(queue: &Queue, claim: &mut Claim) {
    loop {
        sleep(RENEW).await;
        if !queue.renew(claim).await {
            return;
        }
    }
}

/// Waits for jobs that are due: at most `free` of them, and none that is at work here.
async fn pull(queue: &Queue, free: usize, active: &HashSet<JobId>, is_halted: &mut bool) -> Vec<JobId> {
    if free == 0 {
        return pending().await;
    }
    loop {
        let added = queue.added.notified();
        match due(queue, free, active).await {
            Ok(Some(ids)) => {
                if mem::take(is_halted) {
                    telemetry::works_again(&queue.config.name);
                }
                if !ids.is_empty() {
                    return ids;
                }
            }
            Ok(None) => {
                if !mem::replace(is_halted, true) {
                    telemetry::dead_letters_full(&queue.config.name);
                }
            }
            Err(error) => {
                if !mem::replace(is_halted, true) {
                    telemetry::store_failed(&queue.config.name, &log_text(&error.to_string()));
                }
            }
        }
        // Jobs of other processes, and those that have waited, are found by asking.
        _ = timeout(queue.jitter.around(POLL), added).await;
    }
}

/// The jobs that are due. `None` while there are too many dead letters.
async fn due(queue: &Queue, free: usize, active: &HashSet<JobId>) -> Result<Option<Vec<JobId>>, StoreError> {
    queue.sweep().await?;
    let dead = queue.store.totals(List::Dead).await?;
    if dead.records >= queue.config.max_dead || dead.bytes >= queue.config.max_dead_bytes {
        return Ok(None);
    }
    let mut ids = Vec::new();
    // First those whose worker has stopped.
    for list in [List::Running, List::Queued] {
        ids.extend(queue.store.due(list, 0..=queue.clock.now(), free + active.len()).await?);
    }
    Ok(Some(ids.into_iter().filter(|id| !active.contains(id)).take(free).collect()))
}

impl<T, S> fmt::Debug for Worker<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("deferred", &self.deferred).finish_non_exhaustive()
    }
}
