//! What the tests share.

use std::{
    future::pending,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_deferred::{
    Deferred, Job, JobId, JobKind, MemoryJobStore, Name, StoreError, name,
    store::{Created, JobStore, List, Place, StoredRecord, Totals},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::yield_now;
use tower::BoxError;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Email {
    pub(crate) to: String,
}

impl JobKind for Email {
    const KIND: Name = name!("email");
}

pub(crate) fn email(to: &str) -> Email {
    Email { to: to.to_owned() }
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn emails(store: impl JobStore) -> Deferred<Email> {
    Deferred::builder("emails", store).build().unwrap()
}

/// Records whom e-mails went to, in which attempt, and answers by a closure.
#[derive(Clone, Default)]
pub(crate) struct Sent(Arc<Mutex<Vec<(String, u32)>>>);

impl Sent {
    pub(crate) fn all(&self) -> Vec<(String, u32)> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn add<T>(&self, job: &Job<T>, to: &str) {
        self.0.lock().unwrap().push((to.to_owned(), job.attempt()));
    }
}

/// Starts a worker that answers by `answer`.
pub(crate) fn work<F>(
    emails: &Deferred<Email>,
    answer: impl Fn(Job<Email>) -> F + Clone + Send + 'static,
) -> (Sent, tokio::task::JoinHandle<()>)
where
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let sent = Sent::default();
    let recorded = sent.clone();
    let send = tower::service_fn(move |job: Job<Email>| {
        recorded.add(&job, &job.payload().to);
        answer(job)
    });
    (sent, tokio::spawn(emails.worker(send).run(pending())))
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Nothing is done.
    Refuses,
    /// It is done, and the answer is lost.
    LosesAnswers,
    Hangs,
    /// As `LosesAnswers`, but only for claims.
    LosesClaims,
    /// It is done, and takes a poll before and another one after that.
    Yields,
}

/// A store in memory that can be broken.
#[derive(Clone, Default)]
pub(crate) struct Breakable {
    pub(crate) inner: MemoryJobStore,
    fault: Arc<Mutex<Fault>>,
    asked: Arc<AtomicUsize>,
    completed: Arc<AtomicUsize>,
    replaced: Arc<AtomicUsize>,
    released: Arc<AtomicUsize>,
    unreadable: Arc<Mutex<Option<JobId>>>,
}

impl Breakable {
    /// How often it was asked for jobs to run.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }

    /// How many completions were recorded.
    pub(crate) fn completed(&self) -> usize {
        self.completed.load(Relaxed)
    }

    /// How often records were replaced.
    pub(crate) fn replaced(&self) -> usize {
        self.replaced.load(Relaxed)
    }

    /// How often a worker gave back what it hadn't begun.
    pub(crate) fn released(&self) -> usize {
        self.released.load(Relaxed)
    }

    /// This record can't be read any more.
    pub(crate) fn corrupt(&self, id: JobId) {
        *self.unreadable.lock().unwrap() = Some(id);
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    async fn pass<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let fault = *self.fault.lock().unwrap();
        match fault {
            Fault::None | Fault::LosesClaims => call.await,
            Fault::Refuses => Err("refused".into()),
            Fault::LosesAnswers => call.await.and(Err("the connection broke".into())),
            Fault::Hangs => pending().await,
            Fault::Yields => {
                yield_now().await;
                let answer = call.await;
                yield_now().await;
                answer
            }
        }
    }
}

impl JobStore for Breakable {
    async fn create(
        &self,
        id: JobId,
        key: Option<[u8; 32]>,
        bytes: Bytes,
        place: Place,
        max_pending: u64,
    ) -> Result<Created, StoreError> {
        self.pass(self.inner.create(id, key, bytes, place, max_pending)).await
    }

    async fn get(&self, id: JobId) -> Result<Option<StoredRecord>, StoreError> {
        if *self.unreadable.lock().unwrap() == Some(id) {
            return Err("a bad sector".into());
        }
        self.pass(self.inner.get(id)).await
    }

    async fn replace(&self, id: JobId, version: u64, bytes: Bytes, place: Place) -> Result<Option<u64>, StoreError> {
        let is_lost = place.list == List::Running && *self.fault.lock().unwrap() == Fault::LosesClaims;
        let replace = async {
            let version = self.inner.replace(id, version, bytes, place).await?;
            self.replaced.fetch_add(1, Relaxed);
            self.completed.fetch_add(usize::from(version.is_some() && place.list == List::Done), Relaxed);
            if is_lost { Err("the connection broke".into()) } else { Ok(version) }
        };
        self.pass(replace).await
    }

    async fn remove(&self, id: JobId, version: u64) -> Result<bool, StoreError> {
        self.pass(self.inner.remove(id, version)).await
    }

    async fn due(&self, list: List, times: RangeInclusive<u64>, limit: usize) -> Result<Vec<JobId>, StoreError> {
        self.asked.fetch_add(usize::from(list == List::Queued), Relaxed);
        self.pass(self.inner.due(list, times, limit)).await
    }

    async fn release(&self) -> Result<(), StoreError> {
        self.released.fetch_add(1, Relaxed);
        Ok(())
    }

    async fn oldest(&self) -> Result<Option<u64>, StoreError> {
        self.pass(self.inner.oldest()).await
    }

    async fn totals(&self, list: List) -> Result<Totals, StoreError> {
        self.pass(self.inner.totals(list)).await
    }
}
