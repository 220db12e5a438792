//! Work on a shared store that no caller waits for: see [`LastKnownGoodBuilder::shared_store`](crate::LastKnownGoodBuilder).

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::running::{BackgroundTask, Execute, NotStarted, RunningTasks, TaskPermit};

/// At most this many answers are being stored at a time. Each holds a copy of its body.
const MAX_TASKS: usize = 256;

/// At most this many removals wait to be repeated. If there are more, only this process remembers them.
const MAX_UNFINISHED: usize = 4096;

pub(crate) struct Background {
    execute: Execute,
    running: RunningTasks,
    unfinished: Mutex<Unfinished>,
}

/// The removals that the store didn't confirm.
#[derive(Default)]
struct Unfinished {
    /// Each key, and the number of the removal that failed last.
    keys: HashMap<Vec<u8>, u64>,
    number: u64,
    /// Whether a task repeats them.
    is_repeated: bool,
}

impl Background {
    pub(crate) fn new(execute: Execute) -> Self {
        Self { execute, running: RunningTasks::default(), unfinished: Mutex::default() }
    }

    /// Takes part in the work for `key`, if nobody does that already.
    pub(crate) fn start(&self, key: Vec<u8>) -> Result<TaskPermit, NotStarted> {
        self.running.try_start(key, MAX_TASKS)
    }

    pub(crate) fn execute(&self, task: BackgroundTask) {
        (self.execute)(task);
    }

    /// Remembers keys that may still be in the store. Returns whether a task is to be started that repeats their removal.
    pub(crate) fn add_unfinished(&self, keys: &[Vec<u8>]) -> bool {
        let mut unfinished = self.unfinished();
        unfinished.number += 1;
        let number = unfinished.number;
        for key in keys {
            if unfinished.keys.len() < MAX_UNFINISHED || unfinished.keys.contains_key(key) {
                unfinished.keys.insert(key.clone(), number);
            }
        }
        !mem::replace(&mut unfinished.is_repeated, true)
    }

    /// The keys to be removed, and the numbers of their removals. If there are none, the task that asks must end.
    pub(crate) fn unfinished_removals(&self) -> Vec<(Vec<u8>, u64)> {
        let mut unfinished = self.unfinished();
        unfinished.is_repeated = !unfinished.keys.is_empty();
        unfinished.keys.iter().map(|(key, number)| (key.clone(), *number)).collect()
    }

    /// A removal was confirmed. A later one of the same key isn't by that.
    pub(crate) fn finished(&self, key: &[u8], number: u64) {
        let mut unfinished = self.unfinished();
        if unfinished.keys.get(key) == Some(&number) {
            unfinished.keys.remove(key);
        }
    }

    /// The executor has dropped the task. The next removal that fails starts another one.
    pub(crate) fn stopped_repeating(&self) {
        self.unfinished().is_repeated = false;
    }

    fn unfinished(&self) -> MutexGuard<'_, Unfinished> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
