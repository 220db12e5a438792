//! What is wrong with the stores. Each change is logged once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use backstop_core::Name;

use crate::{StoreError, telemetry};

/// One of the two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Flags,
    Counts,
}

/// Locked for a moment only: events are logged afterwards.
#[derive(Debug, Default)]
pub(crate) struct StoreErrors(Mutex<Errors>);

#[derive(Debug, Default)]
struct Errors {
    /// The last errors of calls, as text.
    flags: Option<String>,
    counts: Option<String>,
    /// Features whose flag disappeared, and features whose flag is malformed.
    missing: Vec<Name>,
    malformed: Vec<Name>,
}

impl StoreErrors {
    pub(crate) fn failed(&self, kind: StoreKind, error: &StoreError) {
        let text = backstop_kit::log_text(&error.to_string());
        if self.lock().of_calls(kind).replace(text.clone()).is_none() {
            telemetry::store_failed(kind, &text);
        }
    }

    pub(crate) fn works(&self, kind: StoreKind) {
        if self.lock().of_calls(kind).take().is_some() {
            telemetry::store_works(kind);
        }
    }

    pub(crate) fn is_failing(&self, kind: StoreKind) -> bool {
        self.lock().of_calls(kind).is_some()
    }

    /// The flags that the last read didn't find, and those that it couldn't read.
    pub(crate) fn set_flags(&self, missing: Vec<Name>, malformed: Vec<Name>) {
        let if_new = |old: &[Name], new: &[Name]| (!new.is_empty() && old != new).then(|| new.to_vec());
        let mut errors = self.lock();
        let new_missing = if_new(&errors.missing, &missing);
        let new_malformed = if_new(&errors.malformed, &malformed);
        (errors.missing, errors.malformed) = (missing, malformed);
        drop(errors);
        if let Some(features) = new_missing {
            telemetry::flags_disappeared(&features);
        }
        if let Some(features) = new_malformed {
            telemetry::flags_malformed(&features);
        }
    }

    /// All of it as one text.
    pub(crate) fn text(&self) -> Option<String> {
        let errors = self.lock();
        if let Some(error) = errors.flags.as_ref().or(errors.counts.as_ref()) {
            return Some(error.clone());
        }
        match (errors.missing.len(), errors.malformed.len()) {
            (0, 0) => None,
            (missing, 0) => Some(format!("{missing} flags disappeared before their time")),
            (0, malformed) => Some(format!("{malformed} values aren't flags")),
            (missing, malformed) => Some(format!("{missing} flags disappeared, and {malformed} values aren't flags")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Errors> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Errors {
    const fn of_calls(&mut self, kind: StoreKind) -> &mut Option<String> {
        match kind {
            StoreKind::Flags => &mut self.flags,
            StoreKind::Counts => &mut self.counts,
        }
    }
}
