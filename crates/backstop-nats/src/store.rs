//! The store: calls on streams that are as they must be.

use std::{fmt, ops::RangeInclusive, sync::Arc, time::Duration};

use async_nats::Client;
use backstop_deferred::{
    JobId, StoreError,
    store::{Created, JobStore, List, Place, StoredRecord, Totals},
};
use bytes::Bytes;

use crate::{NatsJobStoreConfig, queue::Queue};

/// Jobs in NATS JetStream, for any number of processes. Clones share everything.
///
/// ```no_run
/// use backstop_nats::{NatsJobStore, async_nats::ConnectOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = ConnectOptions::new().retry_on_initial_connect().connect("nats://127.0.0.1").await?;
/// let store = NatsJobStore::builder(client, "emails").replicas(3).build()?;
/// // Give it to `Deferred::builder`.
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct NatsJobStore {
    queue: Arc<Queue>,
}

impl NatsJobStore {
    /// A store with settings that were checked.
    pub(crate) fn with(client: Client, config: NatsJobStoreConfig) -> Self {
        Self { queue: Arc::new(Queue::new(client, config)) }
    }

    /// Makes a call on streams that are as they must be. After a failure they are looked at again.
    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.queue.streams.open().await?;
        call.await.inspect_err(|_| self.queue.streams.close())
    }
}

impl JobStore for NatsJobStore {
    async fn create(
        &self,
        id: JobId,
        key: Option<[u8; 32]>,
        bytes: Bytes,
        place: Place,
        max_pending: u64,
    ) -> Result<Created, StoreError> {
        self.call(self.queue.create(id, key, bytes, place, max_pending)).await
    }

    async fn get(&self, id: JobId) -> Result<Option<StoredRecord>, StoreError> {
        self.call(self.queue.get(id)).await
    }

    async fn replace(&self, id: JobId, version: u64, bytes: Bytes, place: Place) -> Result<Option<u64>, StoreError> {
        self.call(self.queue.replace(id, version, bytes, place)).await
    }

    async fn remove(&self, id: JobId, version: u64) -> Result<bool, StoreError> {
        self.call(self.queue.remove(id, version)).await
    }

    async fn due(&self, list: List, times: RangeInclusive<u64>, limit: usize) -> Result<Vec<JobId>, StoreError> {
        match list {
            List::Queued | List::Running => self.call(self.queue.due_pending(list, times, limit)).await,
            List::Done | List::Dead => self.call(self.queue.due_ended(list, times, limit)).await,
        }
    }

    /// Of the wake-ups that this process holds: to receive more would take them from other processes.
    async fn oldest(&self) -> Result<Option<u64>, StoreError> {
        Ok(self.queue.wakeups.oldest())
    }

    /// Delivered to any process after that time.
    async fn hide(&self, id: JobId, time: Duration) -> Result<bool, StoreError> {
        self.call(self.queue.give_back(id, time)).await?;
        Ok(true)
    }

    async fn release(&self) -> Result<(), StoreError> {
        self.call(self.queue.release()).await
    }

    async fn totals(&self, list: List) -> Result<Totals, StoreError> {
        self.call(self.queue.totals(list)).await
    }
}

impl fmt::Debug for NatsJobStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsJobStore").field("config", self.queue.streams.config()).finish_non_exhaustive()
    }
}
