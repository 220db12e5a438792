//! One attempt at a job.

use std::{
    future::poll_fn,
    panic::AssertUnwindSafe,
    pin::pin,
    task::{Poll, ready},
    time::Duration,
};

use backstop_core::{ErrorRef, Rejection, Scope};
use backstop_kit::{ErrorText, StoreError, proof::Frame};
use futures_util::FutureExt;
use tokio::{sync::watch, time::sleep};
use tower_service::Service;

use crate::{
    Failure, Job, JobId, JobKind, Permanent,
    job::BoxError,
    queue::{Claim, Queue},
    telemetry,
};

/// How often a claim is renewed.
const RENEW: Duration = Duration::from_secs(10);

/// How an attempt has ended, with the text of the error.
pub(crate) enum Ended {
    /// The job is done.
    Succeeded,
    /// It is tried again.
    Failed(Option<String>),
    /// It goes to the dead letters.
    FailedForGood(Failure, Option<String>),
    /// A layer of ours refused it before anything was done, or an injected fault has hit it. It is tried again, and this attempt doesn't
    /// count.
    Refused(Option<String>),
    /// The service panicked. The claim runs out, and the next one counts a crash.
    Panicked,
    /// The worker stops. The job is returned, and this attempt doesn't count.
    Stopped,
    /// The claim ran out, or another worker has the job. If the store was away and nobody has it, it is returned, and this attempt
    /// doesn't count.
    Lost,
}

/// What attempts may still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// The worker goes on.
    No,
    /// No job begins. Those that run may end.
    BeginNone,
    /// Those that run are dropped and returned.
    Now,
}

/// Claims a job and runs it, once. Owns the service, which needn't be `Sync`. `None` if another worker was faster or the job is not
/// for this one.
///
/// # Errors
/// If the store failed, and the job wasn't claimed.
pub(crate) async fn attempt<T, S>(
    queue: &Queue,
    service: S,
    id: JobId,
    mut shutdown: watch::Receiver<Shutdown>,
) -> Result<Option<Ended>, StoreError>
where
    T: JobKind,
    S: Service<Job<T>, Response = ()>,
    S::Error: Into<BoxError>,
{
    let Some(mut claim) = queue.claim(id, &T::KIND, T::VERSION).await? else { return Ok(None) };
    let ended = if *shutdown.borrow() == Shutdown::No {
        // A panic may leave the claim as it was before a renewal. It isn't used any more.
        let run = AssertUnwindSafe(read_and_run::<T, S>(queue, service, &mut claim, &mut shutdown));
        run.catch_unwind().await.unwrap_or(Ended::Panicked)
    } else {
        Ended::Stopped
    };
    let is_ours = match &ended {
        Ended::Succeeded => queue.complete(&mut claim).await,
        Ended::Failed(_) => queue.retry(&mut claim).await,
        Ended::FailedForGood(failure, _) => queue.fail(&mut claim, *failure).await,
        Ended::Refused(_) => {
            let wait = queue.wait_after_refusal(&claim);
            queue.give_back(&mut claim, wait).await
        }
        Ended::Stopped => queue.give_back(&mut claim, Duration::ZERO).await,
        Ended::Panicked => true,
        Ended::Lost => false,
    };
    let ended = if is_ours { ended } else { Ended::Lost };
    queue.metrics.ended(&ended);
    telemetry::ended(queue, id, claim.record.attempts, &ended);
    if matches!(ended, Ended::Lost) {
        // Nobody has it if the store was away.
        queue.give_back(&mut claim, Duration::ZERO).await;
    }
    Ok(Some(ended))
}

async fn read_and_run<T, S>(
    queue: &Queue,
    service: S,
    claim: &mut Claim,
    shutdown: &mut watch::Receiver<Shutdown>,
) -> Ended
where
    T: JobKind,
    S: Service<Job<T>, Response = ()>,
    S::Error: Into<BoxError>,
{
    // Neither error is logged: it may contain some of the payload.
    let opened = queue.sealing.open(&claim.record.payload).ok();
    match opened.and_then(|plain| T::from_payload(claim.record.kind_version, &plain).ok()) {
        Some(payload) => {
            let job = Job { id: claim.id, attempt: claim.record.attempts, payload };
            run(queue, service, job, claim, shutdown).await
        }
        None => Ended::FailedForGood(Failure::Malformed, None),
    }
}

async fn run<T, S>(
    queue: &Queue,
    service: S,
    job: Job<T>,
    claim: &mut Claim,
    shutdown: &mut watch::Receiver<Shutdown>,
) -> Ended
where
    S: Service<Job<T>, Response = ()>,
    S::Error: Into<BoxError>,
{
    let mut scope = Scope::new();
    let called = tokio::select! {
        biased;
        // First, so that no job begins then. One that runs is dropped before it is returned.
        () = wait_for_stop(shutdown) => return Ended::Stopped,
        called = AssertUnwindSafe(call(service, job, &mut scope)).catch_unwind() => called,
        () = renew(queue, claim) => return Ended::Lost,
    };
    let Ok((result, is_unprocessed)) = called else {
        return if scope.has_injected_fault() { Ended::Refused(None) } else { Ended::Panicked };
    };
    let Err(error) = result.map_err(Into::into) else { return Ended::Succeeded };
    let error = ErrorRef::new(&error);
    let text = ErrorText::default().of(error);
    let is_refused = || Rejection::in_error(error).is_some_and(|rejection| rejection.outcome().refused);
    if scope.has_injected_fault() {
        Ended::Refused(text)
    } else if error.find::<Permanent>().is_some() {
        Ended::FailedForGood(Failure::Permanent, text)
    } else if is_unprocessed && is_refused() {
        Ended::Refused(text)
    } else if claim.record.attempts >= queue.config().max_attempts {
        Ended::FailedForGood(Failure::Attempts, text)
    } else {
        Ended::Failed(text)
    }
}

/// Calls the service in `scope`, where injected faults leave their mark. Also returns whether a layer of ours proves that nothing was
/// done.
async fn call<S: Service<R>, R>(
    mut service: S,
    request: R,
    scope: &mut Scope,
) -> (Result<S::Response, S::Error>, bool) {
    if let Err(error) = poll_fn(|cx| scope.enter(|| service.poll_ready(cx))).await {
        // It hasn't got the job.
        return (Err(error), true);
    }
    let mut frame = Frame::detached();
    let mut call = pin!(scope.enter(|| frame.call(|| service.call(request))));
    poll_fn(|cx| {
        frame.listen();
        let polled = scope.enter(|| call.as_mut().poll(cx));
        if polled.is_pending() {
            frame.waits();
        }
        Poll::Ready((ready!(polled), frame.ended()))
    })
    .await
}

async fn wait_for_stop(shutdown: &mut watch::Receiver<Shutdown>) {
    // The sender outlives all attempts.
    _ = shutdown.wait_for(|shutdown| *shutdown == Shutdown::Now).await;
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
