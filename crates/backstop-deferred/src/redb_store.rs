//! A store in a file.
//!
//! One thread owns the file: what is asked while it commits is done in the next transaction, together.

use std::{
    fs::{File, OpenOptions},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use backstop_kit::StoreError;
use bytes::Bytes;
use redb::{Database, DatabaseError, ReadableTable, Table, TableDefinition, WriteTransaction};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use crate::{Created, JobId, JobStore, List, Place, Stored, Totals};

/// How long opening waits for another process to close the file, as in a rolling update.
const LOCK_WAIT: Duration = Duration::from_secs(30);
const LOCK_POLL: Duration = Duration::from_millis(100);
/// The most operations in one transaction.
const MOST_AT_ONCE: usize = 1_024;
const CACHE: usize = 16 * 1024 * 1024;

/// Version, list, when it is due, key (empty without one), bytes.
type Columns<'a> = (u64, u8, u64, &'a [u8], &'a [u8]);
/// By id.
const RECORDS: TableDefinition<'_, u128, Columns<'_>> = TableDefinition::new("records");
const KEYS: TableDefinition<'_, &[u8], u128> = TableDefinition::new("keys");
/// List, when it is due, id.
const PLACES: TableDefinition<'_, (u8, u64, u128), ()> = TableDefinition::new("places");
/// How many records are in each list, and their bytes.
const TOTALS: TableDefinition<'_, u8, (u64, u64)> = TableDefinition::new("totals");
/// The latest version.
const LATEST: TableDefinition<'_, (), u64> = TableDefinition::new("latest");

/// Jobs in a file, for one process at a time. Clones share it. Feature `redb`.
///
/// A job is accepted once it is on the disk (`fsync`). It survives a crash of the process and of the machine, and nothing that
/// the disk doesn't survive. The file is readable only by its owner, and holds the payloads of jobs that aren't done.
///
/// A thread does the blocking work, and commits together what comes together. It ends with the last clone.
///
/// ```no_run
/// # async fn open() -> Result<(), backstop_deferred::StoreError> {
/// use backstop_deferred::RedbJobStore;
///
/// let store = RedbJobStore::open("/var/lib/shop/emails.redb").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RedbJobStore {
    tasks: mpsc::Sender<Task>,
}

/// Something to do within a transaction. Returns what is to be done once that is committed, or not.
type Task = Box<dyn FnOnce(&mut Tables<'_>) -> Result<Reply, StoreError> + Send>;
type Reply = Box<dyn FnOnce(Result<(), &str>) + Send>;

impl RedbJobStore {
    /// Opens the file, or makes it. Waits up to 30 s while another process has it open.
    ///
    /// # Errors
    /// [`StoreError`] if the file can't be opened, is still open elsewhere, or isn't such a file.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let (path, since) = (path.as_ref().to_owned(), Instant::now());
        loop {
            let (opened, is_opened) = oneshot::channel();
            let (tasks, received) = mpsc::channel();
            let path = path.clone();
            let thread = std::thread::Builder::new().name("backstop-deferred".to_owned());
            thread.spawn(move || match open(&path) {
                Ok(database) => {
                    _ = opened.send(Ok(()));
                    serve(&database, &received);
                }
                Err(error) => _ = opened.send(Err(error)),
            })?;
            match is_opened.await? {
                Ok(()) => return Ok(Self { tasks }),
                Err(error) if is_open(&error) && since.elapsed() < LOCK_WAIT => sleep(LOCK_POLL).await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Tables<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel::<Result<T, StoreError>>();
        let task: Task = Box::new(move |tables| {
            let value = task(tables)?;
            let done = move |committed: Result<(), &str>| {
                // The caller may have gone.
                _ = reply.send(committed.map(|()| value).map_err(|error| error.to_owned().into()));
            };
            Ok(Box::new(done))
        });
        self.tasks.send(task).map_err(|_| "the store's thread has ended")?;
        answer.await.map_err(|_| "a transaction failed")?
    }
}

fn open(path: &PathBuf) -> Result<Database, StoreError> {
    let database = Database::builder().set_cache_size(CACHE).create_file(file(path)?)?;
    let transaction = database.begin_write()?;
    Tables::open(&transaction)?.return_running()?;
    transaction.commit()?;
    Ok(database)
}

/// Another process has it.
fn is_open(error: &StoreError) -> bool {
    matches!(error.downcast_ref(), Some(DatabaseError::DatabaseAlreadyOpen))
}

fn file(path: &PathBuf) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Does what it is asked to, until nobody can ask any more.
fn serve(database: &Database, received: &mpsc::Receiver<Task>) {
    while let Ok(first) = received.recv() {
        let tasks = std::iter::once(first).chain(received.try_iter().take(MOST_AT_ONCE - 1));
        let mut replies = Vec::new();
        let failure = transact(database, tasks, &mut replies).err().map(|error| error.to_string());
        for reply in replies {
            reply(failure.as_deref().map_or(Ok(()), Err));
        }
    }
}

fn transact(
    database: &Database,
    tasks: impl Iterator<Item = Task>,
    replies: &mut Vec<Reply>,
) -> Result<(), StoreError> {
    let transaction = database.begin_write()?;
    let mut tables = Tables::open(&transaction)?;
    // After a failure, the rest is done in another transaction. Callers of this one don't know what has happened.
    for task in tasks {
        replies.push(task(&mut tables)?);
    }
    let has_written = tables.has_written;
    drop(tables);
    // What was only read needs no disk.
    if has_written {
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    Ok(())
}

struct Tables<'a> {
    records: Table<'a, u128, Columns<'static>>,
    keys: Table<'a, &'static [u8], u128>,
    places: Table<'a, (u8, u64, u128), ()>,
    totals: Table<'a, u8, (u64, u64)>,
    latest: Table<'a, (), u64>,
    has_written: bool,
}

/// A record, and its key.
struct Row {
    stored: Stored,
    key: Vec<u8>,
}

impl<'a> Tables<'a> {
    fn open(transaction: &'a WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            keys: transaction.open_table(KEYS)?,
            places: transaction.open_table(PLACES)?,
            totals: transaction.open_table(TOTALS)?,
            latest: transaction.open_table(LATEST)?,
            has_written: false,
        })
    }

    fn row(&self, id: u128) -> Result<Option<Row>, StoreError> {
        let Some(found) = self.records.get(id)? else { return Ok(None) };
        let (version, list, due, key, bytes) = found.value();
        let list = list_of(list).ok_or("an unknown list")?;
        let stored = Stored { bytes: Bytes::copy_from_slice(bytes), version, place: Place { list, due } };
        Ok(Some(Row { stored, key: key.to_owned() }))
    }

    fn row_of(&self, id: u128, version: u64) -> Result<Option<Row>, StoreError> {
        Ok(self.row(id)?.filter(|row| row.stored.version == version))
    }

    fn totals(&self, list: List) -> Result<Totals, StoreError> {
        let (records, bytes) = self.totals.get(list as u8)?.map_or((0, 0), |found| found.value());
        Ok(Totals { records, bytes })
    }

    fn due(&self, list: List, times: RangeInclusive<u64>, limit: usize) -> Result<Vec<u128>, StoreError> {
        let range = self.places.range((list as u8, *times.start(), 0)..=(list as u8, *times.end(), u128::MAX))?;
        range.take(limit).map(|found| Ok(found?.0.value().2)).collect()
    }

    /// Its version.
    fn put(&mut self, id: u128, key: &[u8], bytes: &[u8], Place { list, due }: Place) -> Result<u64, StoreError> {
        self.has_written = true;
        let Totals { records, bytes: all_bytes } = self.totals(list)?;
        self.totals.insert(list as u8, (records + 1, all_bytes + bytes.len() as u64))?;
        let version = self.latest.get(())?.map_or(0, |latest| latest.value()) + 1;
        self.latest.insert((), version)?;
        self.records.insert(id, (version, list as u8, due, key, bytes))?;
        self.places.insert((list as u8, due, id), ())?;
        Ok(version)
    }

    fn take(&mut self, id: u128, Stored { bytes, place: Place { list, due }, .. }: &Stored) -> Result<(), StoreError> {
        self.has_written = true;
        let totals = self.totals(*list)?;
        let (records, all_bytes) = (totals.records.saturating_sub(1), totals.bytes.saturating_sub(bytes.len() as u64));
        self.totals.insert(*list as u8, (records, all_bytes))?;
        self.records.remove(id)?;
        self.places.remove((*list as u8, *due, id))?;
        Ok(())
    }

    /// Whoever ran them is gone.
    fn return_running(&mut self) -> Result<(), StoreError> {
        for id in self.due(List::Running, 0..=u64::MAX, usize::MAX)? {
            let Row { stored, key } = self.row(id)?.ok_or("a record is missing")?;
            self.take(id, &stored)?;
            self.put(id, &key, &stored.bytes, Place { list: List::Queued, due: 0 })?;
        }
        Ok(())
    }
}

fn list_of(number: u8) -> Option<List> {
    [List::Queued, List::Running, List::Done, List::Dead].into_iter().find(|list| *list as u8 == number)
}

const fn number_of(id: JobId) -> u128 {
    u128::from_be_bytes(id.to_bytes())
}

const fn id_of(number: u128) -> JobId {
    JobId::from_bytes(number.to_be_bytes())
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
        self.run(move |tables| {
            let key = key.as_ref().map_or(&[][..], |key| key);
            if let Some(found) = tables.keys.get(key)?.map(|found| found.value()) {
                return Ok(Created::Exists(id_of(found)));
            }
            if tables.totals(List::Queued)?.records + tables.totals(List::Running)?.records >= max_pending {
                return Ok(Created::Full);
            }
            if !key.is_empty() {
                tables.keys.insert(key, number_of(id))?;
            }
            tables.put(number_of(id), key, &bytes, place)?;
            Ok(Created::New)
        })
        .await
    }

    async fn get(&self, id: JobId) -> Result<Option<Stored>, StoreError> {
        self.run(move |tables| Ok(tables.row(number_of(id))?.map(|row| row.stored))).await
    }

    async fn replace(&self, id: JobId, version: u64, bytes: Bytes, place: Place) -> Result<Option<u64>, StoreError> {
        self.run(move |tables| {
            let Some(row) = tables.row_of(number_of(id), version)? else { return Ok(None) };
            tables.take(number_of(id), &row.stored)?;
            tables.put(number_of(id), &row.key, &bytes, place).map(Some)
        })
        .await
    }

    async fn remove(&self, id: JobId, version: u64) -> Result<bool, StoreError> {
        self.run(move |tables| {
            let Some(row) = tables.row_of(number_of(id), version)? else { return Ok(false) };
            tables.take(number_of(id), &row.stored)?;
            tables.keys.remove(&*row.key)?;
            Ok(true)
        })
        .await
    }

    async fn due(&self, list: List, times: RangeInclusive<u64>, limit: usize) -> Result<Vec<JobId>, StoreError> {
        self.run(move |tables| Ok(tables.due(list, times, limit)?.into_iter().map(id_of).collect())).await
    }

    async fn totals(&self, list: List) -> Result<Totals, StoreError> {
        self.run(move |tables| tables.totals(list)).await
    }
}
