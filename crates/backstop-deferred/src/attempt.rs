//! One attempt at a job.

use std::{future::poll_fn, pin::pin, time::Duration};

use backstop_core::{ErrorRef, Rejection, Scope, Verdict};
use backstop_kit::{ErrorText, StoreError};
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
    /// A layer of ours refused it, or an injected fault has hit it. It is tried again, and this attempt doesn't count.
    Refused(Option<String>),
    /// The worker stops. The job is returned, and this attempt doesn't count.
    Stopped,
    /// The claim ran out: another worker may have the job.
    Lost,
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
    mut stopped: watch::Receiver<bool>,
) -> Result<Option<Ended>, StoreError>
where
    T: JobKind,
    S: Service<Job<T>, Response = ()>,
    S::Error: Into<BoxError>,
{
    let Some(mut claim) = queue.claim(id, T::KIND, T::VERSION).await? else { return Ok(None) };
    // Neither error is logged: it may contain some of the payload.
    let opened = queue.sealing.open(&claim.record.payload).ok();
    let ended = match opened.and_then(|plain| T::from_payload(claim.record.kind_version, &plain).ok()) {
        Some(payload) => {
            let job = Job { id, attempt: claim.record.attempts, payload };
            run(queue, service, job, &mut claim, &mut stopped).await
        }
        None => Ended::FailedForGood(Failure::Malformed, None),
    };
    let is_ours = match &ended {
        Ended::Succeeded => queue.complete(&mut claim).await,
        Ended::Failed(_) => queue.retry(&mut claim).await,
        Ended::FailedForGood(failure, _) => queue.fail(&mut claim, *failure).await,
        Ended::Refused(_) => queue.give_back(&mut claim, queue.wait_after(1)).await,
        Ended::Stopped => queue.give_back(&mut claim, Duration::ZERO).await,
        Ended::Lost => false,
    };
    let ended = if is_ours { ended } else { Ended::Lost };
    queue.metrics.ended(&ended);
    telemetry::ended(&queue.name, id, claim.record.attempts, &ended);
    Ok(Some(ended))
}

async fn run<T, S>(
    queue: &Queue,
    service: S,
    job: Job<T>,
    claim: &mut Claim,
    stopped: &mut watch::Receiver<bool>,
) -> Ended
where
    S: Service<Job<T>, Response = ()>,
    S::Error: Into<BoxError>,
{
    let mut scope = Scope::new();
    let result = tokio::select! {
        biased;
        // First, so that no job begins then. One that runs is dropped before it is returned.
        () = wait_for_stop(stopped) => return Ended::Stopped,
        result = call(service, job, &mut scope) => result,
        () = renew(queue, claim) => return Ended::Lost,
    };
    let Err(error) = result.map_err(Into::into) else { return Ended::Succeeded };
    let error = ErrorRef::new(&error);
    let text = ErrorText::default().of(error);
    if scope.has_injected_fault() {
        Ended::Refused(text)
    } else if error.find::<Permanent>().is_some() {
        Ended::FailedForGood(Failure::Permanent, text)
    } else if Rejection::in_error(error).is_some_and(|it| it.outcome().verdict == Verdict::Neutral) {
        Ended::Refused(text)
    } else if claim.record.attempts >= queue.config().max_attempts {
        Ended::FailedForGood(Failure::Attempts, text)
    } else {
        Ended::Failed(text)
    }
}

/// Calls the service in `scope`, where injected faults leave their mark.
async fn call<S: Service<R>, R>(mut service: S, request: R, scope: &mut Scope) -> Result<S::Response, S::Error> {
    let mut call = pin!(async {
        poll_fn(|cx| service.poll_ready(cx)).await?;
        service.call(request).await
    });
    poll_fn(|cx| scope.enter(|| call.as_mut().poll(cx))).await
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
