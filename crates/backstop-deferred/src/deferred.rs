//! The queue: accepting jobs, and seeing what became of them.

use std::{fmt, future::IntoFuture, marker::PhantomData, pin::Pin, sync::Arc, time::Duration};

use backstop_core::{Name, scope};
use bytes::Bytes;
use tokio::time::timeout;

use crate::{
    DeferError, DeferredConfig, DeferredHandle, Failure, JobId, JobKind, NotAccepted, Receipt, StoreError,
    UnknownOutcome, Worker,
    gate::Gates,
    queue::Queue,
    record::{Record, State},
    store::{Created, List, StoredRecord},
};

/// How soon a full queue is worth another try.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How many bytes sealing may add to a payload, beyond the most that are allowed.
const SEAL: usize = 4 * 1024;
/// How often a job is created whose key belongs to a job that is being removed.
const TRIES: usize = 3;

/// A queue of jobs of one kind. Clones share it.
///
/// ```
/// use std::convert::Infallible;
///
/// use backstop_deferred::{Deferred, Job, JobKind, JobState, MemoryJobStore, Name, name};
/// use serde::{Deserialize, Serialize};
/// use tower::service_fn;
///
/// #[derive(Deserialize, Serialize)]
/// struct Email {
///     to: String,
/// }
///
/// impl JobKind for Email {
///     const KIND: Name = name!("email");
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), tower::BoxError> {
/// let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).build()?;
/// let send = service_fn(async |email: Job<Email>| {
///     println!("to {}, once for {}", email.payload().to, email.idempotency_key());
///     Ok::<_, Infallible>(())
/// });
/// let worker = tokio::spawn(emails.worker(send).run(std::future::pending()));
///
/// let email = Email { to: "ada@example.com".to_owned() };
/// let receipt = emails.defer(&email).key("ada", "order-17").await?;
/// // The same again is the same job.
/// assert_eq!(emails.defer(&email).key("ada", "order-17").await?.id, receipt.id);
/// # tokio::time::sleep(std::time::Duration::from_secs(1)).await;
/// assert_eq!(emails.state(receipt.id).await?, Some(JobState::Done));
/// # worker.abort();
/// # Ok(())
/// # }
/// ```
pub struct Deferred<T> {
    pub(crate) queue: Arc<Queue>,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Deferred<T> {
    fn clone(&self) -> Self {
        Self { queue: Arc::clone(&self.queue), kind: PhantomData }
    }
}

impl<T> fmt::Debug for Deferred<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("config", &*self.queue.config()).finish_non_exhaustive()
    }
}

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobState {
    /// It waits for a worker, or for its next attempt.
    Queued,
    /// A worker runs it.
    Running,
    /// It is done.
    Done,
    /// It is among the dead letters.
    Failed(Failure),
}

#[cfg(feature = "http")]
impl JobState {
    /// As it is shown over HTTP.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed(_) => "failed",
        }
    }
}

/// What has become of the job of this record.
const fn state_of(stored: &StoredRecord, record: &Record) -> JobState {
    match record.state {
        // The store has returned it: its worker is gone.
        State::Running if matches!(stored.place.list, List::Queued) => JobState::Queued,
        State::Queued => JobState::Queued,
        State::Running => JobState::Running,
        State::Done => JobState::Done,
        State::Failed(failure) => JobState::Failed(failure),
    }
}

impl<T: JobKind> Deferred<T> {
    pub(crate) fn new(queue: Queue) -> Self {
        Self { queue: Arc::new(queue), kind: PhantomData }
    }

    /// Accepts a job: await what this returns.
    pub fn defer(&self, job: &T) -> Defer {
        Defer {
            queue: Arc::clone(&self.queue),
            kind: T::KIND,
            version: T::VERSION,
            payload: serde_json::to_vec(job).ok().map(Bytes::from),
            key: None,
            owner: None,
        }
    }

    /// A worker that runs jobs by this service.
    pub fn worker<S>(&self, service: S) -> Worker<T, S> {
        Worker { deferred: self.clone(), service, gates: Gates::default() }
    }

    /// What became of a job. `None` if there is no such job, or it isn't known any more.
    ///
    /// # Errors
    /// [`StoreError`] if the store can't tell.
    pub async fn state(&self, id: JobId) -> Result<Option<JobState>, StoreError> {
        Ok(self.state_and_owner(id).await?.map(|(state, _)| state))
    }

    /// What became of a job, and the hash of its owner.
    pub(crate) async fn state_and_owner(&self, id: JobId) -> Result<Option<(JobState, Option<[u8; 32]>)>, StoreError> {
        let known = self.queue.record(id).await?.filter(|(stored, _)| !self.queue.is_expired(stored));
        Ok(known.map(|(stored, record)| (state_of(&stored, &record), record.owner)))
    }

    /// Shows the queue and its dead letters to operators, and reloads its settings.
    #[must_use]
    pub fn handle(&self) -> DeferredHandle {
        DeferredHandle::new(Arc::clone(&self.queue))
    }
}

/// A job that is to be accepted: await it.
///
/// # Errors
/// [`DeferError`] if the job wasn't accepted, or isn't known to be.
///
/// # Cancellation
/// If it is dropped, nobody knows whether the job exists.
#[must_use = "a job is accepted only if this is awaited"]
pub struct Defer {
    queue: Arc<Queue>,
    kind: Name,
    version: u32,
    /// `None` if it can't be serialized. The error isn't kept: it may contain some of the payload.
    payload: Option<Bytes>,
    key: Option<[u8; 32]>,
    owner: Option<[u8; 32]>,
}

impl Defer {
    /// Accepts the job only once under this key of this principal, such as a user's name.
    ///
    /// The same key and payload give the same job, for as long as it is pending or a dead letter, and for
    /// [`keep_done`](crate::DeferredBuilder::keep_done) after it was done. Another payload isn't accepted. Keys of other principals,
    /// queues and kinds are other keys. Only a hash of it is stored.
    ///
    /// Payloads are compared as JSON, byte by byte. So a payload must be written the same each time: without a `HashMap`, and a change
    /// of its fields raises the [version](JobKind::VERSION). Payloads of different versions aren't compared: the key alone counts.
    pub fn key(mut self, principal: &str, key: &str) -> Self {
        let parts = ["key", self.queue.name.as_str(), self.kind.as_str(), principal, key].map(str::as_bytes);
        self.key = Some(self.queue.sealing.hash(&parts));
        self
    }

    /// The job belongs to this principal: where status routes are limited to owners, nobody else sees it. Only a hash of it is
    /// stored.
    pub fn owner(mut self, principal: &str) -> Self {
        self.owner = Some(self.queue.owner_hash(principal));
        self
    }

    async fn accept(self) -> Result<Receipt, DeferError> {
        if scope::is_shadow() {
            return Err(DeferError::NotAccepted(NotAccepted::Shadow));
        }
        let Self { queue, kind, version, payload, key, owner } = self;
        let DeferredConfig { max_payload, max_pending, .. } = *queue.config();
        let invalid = |why| DeferError::NotAccepted(NotAccepted::Invalid(why));
        let payload = payload.ok_or_else(|| invalid("the payload can't be serialized".to_owned()))?;
        let check = |len, max| {
            if len > max { Err(DeferError::NotAccepted(NotAccepted::TooLong { len, max })) } else { Ok(()) }
        };
        check(payload.len(), max_payload)?;
        let id = JobId::random().map_err(|error| invalid(error.to_string()))?;
        let fingerprint = queue.sealing.hash(&[b"payload", kind.as_str().as_bytes(), &payload]);
        let sealed = queue.sealing.seal(payload).map_err(|_| invalid("the payload can't be sealed".to_owned()))?;
        check(sealed.len(), max_payload + SEAL)?;
        let (accepted, expires) = queue.times();
        let record = Record {
            state: State::Queued,
            attempts: 0,
            crashes: 0,
            kind: kind.to_string(),
            kind_version: version,
            token: 0,
            accepted,
            expires,
            fingerprint,
            owner,
            payload: sealed,
        };
        // A store that takes none still knows what belongs to the key.
        let max_pending = if queue.keeps_too_many_done().await { 0 } else { max_pending };
        let unknown = |error: StoreError| DeferError::Unknown(UnknownOutcome::new(queue.name.clone(), error));
        let place = queue.place(List::Queued, Duration::ZERO);
        for _ in 0..TRIES {
            let id = match queue.store.create(id, key, record.encode(), place, max_pending).await.map_err(unknown)? {
                Created::New => {
                    queue.added.notify_one();
                    return Ok(Receipt { id, is_new: true, state: JobState::Queued });
                }
                Created::Full => return Err(DeferError::NotAccepted(NotAccepted::Full { retry_after: RETRY_AFTER })),
                Created::Exists(id) => id,
            };
            // Otherwise it was removed just now, and its key with it.
            let Some(earlier) = queue.store.get(id).await.map_err(unknown)? else { continue };
            if queue.is_expired(&earlier) {
                // No worker has removed it yet.
                queue.store.remove(id, earlier.version).await.map_err(unknown)?;
                continue;
            }
            let Some(record) = Record::decode(earlier.bytes.clone()) else { break };
            return if record.kind_version != version || record.fingerprint == fingerprint {
                Ok(Receipt { id, is_new: false, state: state_of(&earlier, &record) })
            } else {
                Err(DeferError::NotAccepted(NotAccepted::KeyReused))
            };
        }
        Err(unknown("the job of this key can't be read".into()))
    }
}

impl IntoFuture for Defer {
    type Output = Result<Receipt, DeferError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async {
            let queue = Arc::clone(&self.queue);
            let late = |_| Err(DeferError::Unknown(UnknownOutcome::new(queue.name.clone(), "the store took too long")));
            let limit = queue.config().store_timeout;
            let result = timeout(limit, self.accept()).await.unwrap_or_else(late);
            queue.metrics.deferred(&result);
            result
        })
    }
}

impl fmt::Debug for Defer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Defer").field("kind", &self.kind).finish_non_exhaustive()
    }
}
