//! Limits the tasks that were handed to an executor.

use std::{
    collections::HashSet,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

/// A task for your executor. It runs until its end, or until the executor drops it.
pub type BackgroundTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Hands a task to the user's executor.
pub(crate) type Execute = Arc<dyn Fn(BackgroundTask) + Send + Sync>;

type Running = Arc<Mutex<HashSet<Vec<u8>>>>;

/// The running tasks: at most one for each key.
#[derive(Default)]
pub(crate) struct RunningTasks {
    running: Running,
}

/// Why a task wasn't started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotStarted {
    /// One with the same key is running.
    Running,
    /// As many as allowed are running.
    Full,
}

impl RunningTasks {
    /// Starts a task for `key`, unless one is running already, or as many as `max` are.
    pub(crate) fn try_start(&self, key: Vec<u8>, max: usize) -> Result<TaskPermit, NotStarted> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.contains(&key) {
            return Err(NotStarted::Running);
        }
        if running.len() >= max {
            return Err(NotStarted::Full);
        }
        running.insert(key.clone());
        drop(running);
        Ok(TaskPermit { running: Arc::clone(&self.running), key })
    }
}

/// Held by a task that runs or is about to. Dropping it ends the task.
pub(crate) struct TaskPermit {
    running: Running,
    key: Vec<u8>,
}

impl Drop for TaskPermit {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Without the keys, which contain requests.
impl fmt::Debug for RunningTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningTasks").finish_non_exhaustive()
    }
}
