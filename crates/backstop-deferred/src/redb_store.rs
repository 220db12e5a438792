//! A store in a file.

mod disk;
mod tables;
#[cfg(test)]
mod tests;
mod thread;
mod unwind_safe;

use std::{fmt, ops::RangeInclusive, path::Path, time::Duration};

use backstop_kit::StoreError;
use bytes::Bytes;
use redb::DatabaseError;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};

use self::{
    disk::Disk,
    tables::Tables,
    thread::{Call, Task},
};
use crate::{
    JobId,
    store::{Created, JobStore, List, Place, StoredRecord, Totals},
};

/// How long opening waits for another process to close the file, as in a rolling update.
const LOCK_WAIT: Duration = Duration::from_secs(30);
const LOCK_POLL: Duration = Duration::from_millis(100);
/// How long calls fail after a failure, before the file is opened again, which may read all of it.
const OPEN_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Jobs in a file, for one process at a time. Clones share it. Feature `redb`.
///
/// ```no_run
/// # async fn open() -> Result<(), backstop_deferred::StoreError> {
/// use backstop_deferred::RedbJobStore;
///
/// let store = RedbJobStore::open("/var/lib/shop/emails.redb").await?;
/// # Ok(())
/// # }
/// ```
///
/// A thread does the blocking work, and commits together what comes together. It ends with the last clone, and then closes the file.
///
/// # What survives
///
/// | what happens | then |
/// |---|---|
/// | the process ends or is killed, the power fails | what was confirmed is there: each commit is on the disk (`fsync`) before it is |
/// | the process was running jobs | they are queued again when the file is opened, and that counts as a crash |
/// | the disk is full, or fails for some time | calls fail. After a second, the next one opens the file again |
/// | the file is damaged | opening or calls fail, if that is found: checksums are checked when a file is opened that wasn't closed |
/// | the disk is lost | the jobs are |
///
/// On some damaged files the database panics. That is caught, and is an error like others, unless panics abort the process.
///
/// # The file
///
/// It is readable only by its owner (mode 0600, also if it existed with another one), and holds the payloads of jobs that aren't done.
/// Give it a directory on a local disk, which the process can write to: locks may not work on network file systems. The disk must keep
/// what it has synced, and write sectors of 512 bytes as a whole. It grows with the
/// jobs that are stored at once, about 500 bytes and the payload for each, and doesn't shrink: the space of those that were removed
/// is used again. The payload of a job that is done is removed from its record, but its bytes stay in the file until then. Opening a file that wasn't closed reads all of it: about a second for a million small jobs.
///
/// A process locks the file until it closes it or ends. A second one waits for that for 30 s, as in a rolling update.
///
/// **Backup**: don't copy the file while a process has it open. Its pages would be of different moments. Stop the process first, or
/// use a snapshot of the file system, which is like a power failure. Jobs of an old copy run again.
///
/// The format is that of [`redb`](https://docs.rs/redb), version 3, with these tables:
///
/// | table | key | value |
/// |---|---|---|
/// | `records` | id (`u128`) | version (`u64`), list (`u8`), due (`u64`), idempotency key (32 bytes or none), record |
/// | `keys` | idempotency key | id |
/// | `places` | list, due, id | |
/// | `numbers` | | the latest version; then for each list, how many records it has, and their bytes (`u64` each) |
///
/// Lists are queued (0), running (1), done (2) and dead (3). Times are milliseconds since the Unix epoch. A record is its format's version
/// (1), state and failure (a byte each), attempts, crashes and the kind's version (`u32` each), claim (16 bytes), when it was
/// accepted and when it expires (`u64` each), fingerprint and owner (SHA-256 each), the kind's length (1 byte) and name, and the
/// payload; numbers are little-endian.
#[derive(Clone)]
pub struct RedbJobStore {
    tasks: mpsc::Sender<Box<dyn Task>>,
}

impl RedbJobStore {
    /// Opens the file, or makes it. Waits up to 30 s while another process has it open.
    ///
    /// # Errors
    /// [`StoreError`] if the file can't be opened, is still open elsewhere, is damaged, or isn't such a file.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let (path, since) = (path.as_ref().to_owned(), Instant::now());
        loop {
            let file = path.clone();
            match Self::start(move || Disk::open(&file), OPEN_AGAIN_AFTER).await {
                Err(error) if is_open(&error) && since.elapsed() < LOCK_WAIT => sleep(LOCK_POLL).await,
                Err(error) if is_open(&error) => {
                    return Err(format!("{}: another process has the file open", path.display()).into());
                }
                opened => return opened.map_err(|error| format!("{}: {error}", path.display()).into()),
            }
        }
    }

    async fn start(
        disk: impl FnOnce() -> Result<Disk, DatabaseError> + Send + 'static,
        open_again_after: Duration,
    ) -> Result<Self, StoreError> {
        let (opened, is_opened) = oneshot::channel();
        let (tasks, received) = mpsc::channel(thread::MOST_AT_ONCE);
        let open = move || {
            let disk = disk()?;
            let database = thread::open(&disk)?;
            Ok::<_, StoreError>((disk, database))
        };
        std::thread::Builder::new().name("backstop-deferred".to_owned()).spawn(move || match open() {
            Ok((disk, database)) => {
                _ = opened.send(Ok(()));
                thread::serve(&disk, database, received, open_again_after);
            }
            Err(error) => _ = opened.send(Err(error)),
        })?;
        is_opened.await??;
        Ok(Self { tasks })
    }

    async fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Tables<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (caller, answer) = oneshot::channel();
        let call = Call { task: Some(task), result: None, caller };
        self.tasks.send(Box::new(call)).await.map_err(|_| "the store's thread has ended")?;
        answer.await?
    }
}

impl fmt::Debug for RedbJobStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbJobStore").finish_non_exhaustive()
    }
}

/// Another process has it.
fn is_open(error: &StoreError) -> bool {
    matches!(error.downcast_ref(), Some(DatabaseError::DatabaseAlreadyOpen))
}

impl JobStore for RedbJobStore {
    async fn create(
        &self,
        id: JobId,
        key: Option<[u8; 32]>,
        bytes: Bytes,
        place: Place,
        max_pending: u64,
    ) -> Result<Created, StoreError> {
        self.run(move |tables| tables.create(id, key, &bytes, place, max_pending)).await
    }

    async fn get(&self, id: JobId) -> Result<Option<StoredRecord>, StoreError> {
        self.run(move |tables| tables.get(id)).await
    }

    async fn replace(&self, id: JobId, version: u64, bytes: Bytes, place: Place) -> Result<Option<u64>, StoreError> {
        self.run(move |tables| tables.replace(id, version, &bytes, place)).await
    }

    async fn remove(&self, id: JobId, version: u64) -> Result<bool, StoreError> {
        self.run(move |tables| tables.remove(id, version)).await
    }

    async fn due(&self, list: List, times: RangeInclusive<u64>, limit: usize) -> Result<Vec<JobId>, StoreError> {
        self.run(move |tables| tables.due(list, times, limit)).await
    }

    async fn totals(&self, list: List) -> Result<Totals, StoreError> {
        self.run(move |tables| Ok(tables.totals(list))).await
    }
}
