//! What is wrong with the stores. Each change is logged once, and failing calls as [episodes](backstop_kit::episode): a store that
//! fails every other second is one line.

use std::sync::{Mutex, MutexGuard, PoisonError};

use backstop_core::{Name, Reason};
use backstop_kit::episode::{Episodes, Line};

use crate::{StoreError, telemetry};

/// One of the two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Flags,
    Counts,
}

const FAILED: Reason = Reason::new("store-failed");

#[derive(Debug, Default)]
pub(crate) struct StoreErrors {
    /// Locked for a moment only: events are logged afterwards.
    errors: Mutex<Errors>,
    /// Of failing calls, by [`StoreKind`].
    episodes: [Episodes; 2],
}

#[derive(Debug, Default)]
struct Errors {
    /// The last errors of calls, as text.
    flags: Option<String>,
    counts: Option<String>,
    /// Features whose flag disappeared, features whose flag is malformed, and features whose counts are.
    missing: Vec<Name>,
    malformed: Vec<Name>,
    malformed_counts: Vec<Name>,
}

impl StoreErrors {
    pub(crate) fn failed(&self, kind: StoreKind, error: &StoreError) {
        let text = backstop_kit::log_text(&error.to_string());
        *self.lock().of_calls(kind) = Some(text.clone());
        if self.episodes[kind as usize].exhausted(FAILED) == Some(Line::Began) {
            telemetry::store_failed(kind, &text);
        }
    }

    pub(crate) fn works(&self, kind: StoreKind) {
        *self.lock().of_calls(kind) = None;
        if let Some(Line::Ended(..)) = self.episodes[kind as usize].fresh() {
            telemetry::store_works(kind);
        }
    }

    /// Whether its calls have failed lately.
    pub(crate) fn has_episode(&self, kind: StoreKind) -> bool {
        self.episodes[kind as usize].current().is_some()
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

    /// The counts of a feature that was reported are malformed, or are not.
    pub(crate) fn set_counts(&self, feature: &Name, is_malformed: bool) {
        let mut errors = self.lock();
        let known = errors.malformed_counts.iter().position(|other| other == feature);
        match known {
            Some(at) if !is_malformed => _ = errors.malformed_counts.swap_remove(at),
            None if is_malformed => {
                errors.malformed_counts.push(feature.clone());
                drop(errors);
                telemetry::counts_malformed(feature);
            }
            _ => {}
        }
    }

    /// All of it as one text.
    pub(crate) fn text(&self) -> Option<String> {
        let errors = self.lock();
        if let Some(error) = errors.flags.as_ref().or(errors.counts.as_ref()) {
            return Some(error.clone());
        }
        let of = |features: &[Name], what| (!features.is_empty()).then(|| format!("{} {what}", features.len()));
        let texts = [
            of(&errors.missing, "flags disappeared before their time"),
            of(&errors.malformed, "values aren't flags"),
            of(&errors.malformed_counts, "values aren't counts"),
        ];
        texts.into_iter().flatten().reduce(|all, text| format!("{all}, {text}"))
    }

    fn lock(&self) -> MutexGuard<'_, Errors> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
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
