//! The thread that owns the file. It does together, in one transaction, what it is asked to while it commits the one before.
//!
//! | state | on | to |
//! |---|---|---|
//! | open | a transaction fails, or the database panics | failed: its callers get the error |
//! | failed | a call within `open_again_after` | failed: it gets the same error |
//! | failed | a later call | open, if the file can be opened again |

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use backstop_kit::StoreError;
use redb::Database;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{disk::Disk, tables::Tables, unwind_safe::UnwindSafe};

/// The most operations in one transaction, and the most that wait for the next one.
pub(super) const MOST_AT_ONCE: usize = 1_024;

/// Something to do within a transaction.
pub(super) trait Task: Send {
    /// # Errors
    /// If it has failed when it was half done.
    fn run(&mut self, tables: &mut Tables<'_>) -> Result<(), StoreError>;

    /// Once it is known whether the transaction was committed.
    fn answer(self: Box<Self>, committed: Result<(), &str>);
}

/// A closure, and who waits for what it returns.
pub(super) struct Call<F, T> {
    pub(super) task: Option<F>,
    pub(super) result: Option<Result<T, StoreError>>,
    pub(super) caller: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Task for Call<F, T>
where
    F: FnOnce(&mut Tables<'_>) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn run(&mut self, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        // Nothing is done for a caller that has gone.
        let Some(task) = self.task.take().filter(|_| !self.caller.is_closed()) else { return Ok(()) };
        let before = tables.writes;
        match task(tables) {
            Err(error) if tables.writes > before => Err(error),
            result => {
                self.result = Some(result);
                Ok(())
            }
        }
    }

    fn answer(self: Box<Self>, committed: Result<(), &str>) {
        let result = match committed {
            Ok(()) => self.result.unwrap_or_else(|| Err("the call wasn't made".into())),
            Err(error) => Err(error.into()),
        };
        // The caller may have gone.
        _ = self.caller.send(result);
    }
}

/// Opens the database for the first time.
pub(super) fn open(disk: &Disk) -> Result<Database, StoreError> {
    caught(|| {
        let database = disk.database()?;
        let transaction = UnwindSafe::new(database.begin_write()?);
        let mut tables = Tables::open(&transaction)?;
        tables.return_running()?;
        tables.close()?;
        transaction.into_inner().commit()?;
        Ok(database)
    })
}

/// Does what it is asked to, until nobody can ask any more.
pub(super) fn serve(
    disk: &Disk,
    database: Database,
    mut received: mpsc::Receiver<Box<dyn Task>>,
    open_again_after: Duration,
) {
    let (mut database, mut tasks) = (Some(database), Vec::new());
    let mut failure: Option<(Instant, String)> = None;
    while received.blocking_recv_many(&mut tasks, MOST_AT_ONCE) > 0 {
        if failure.as_ref().is_none_or(|(since, _)| since.elapsed() >= open_again_after) {
            // Unwinding closes it without a further write.
            let open = database.take();
            let transacted = caught(|| {
                let database = open.map_or_else(|| disk.database(), Ok)?;
                transact(&database, &mut tasks)?;
                Ok(database)
            });
            (database, failure) = match transacted {
                Ok(database) => (Some(database), None),
                Err(error) => (None, Some((Instant::now(), error.to_string()))),
            };
        }
        for task in tasks.drain(..) {
            task.answer(failure.as_ref().map_or(Ok(()), |(_, error)| Err(error)));
        }
    }
}

fn transact(database: &Database, tasks: &mut [Box<dyn Task>]) -> Result<(), StoreError> {
    let transaction = UnwindSafe::new(database.begin_write()?);
    let mut tables = Tables::open(&transaction)?;
    for task in tasks {
        task.run(&mut tables)?;
    }
    // What was only read needs no disk.
    if tables.close()? {
        transaction.into_inner().commit()?;
    } else {
        transaction.into_inner().abort()?;
    }
    Ok(())
}

/// The database panics on some damaged files.
fn caught<T>(call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(text_of(&*panic).into()))
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the database panicked, so the file may be damaged: {}", text.unwrap_or_default())
}
