//! The copy of a body, until it is stored.

use std::{pin::Pin, sync::Arc};

use backstop_core::Scope;
use http::header::CONTENT_LENGTH;

use crate::{
    Store, entry_store::PendingEntry, headers::IndexedHeaders, layer_state::LayerState, quality::Quality, telemetry,
};

/// Work on the store that the response waits for.
pub(crate) type StoreTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The copy of a body that is still streaming.
pub(crate) struct BodyCopy<St> {
    answer: PendingEntry,
    length: Length,
    /// The head was made in this scope. Other tasks may still report to it.
    head_scope: Scope,
    /// Collects what is reported while the body streams. A scope of its own, since the request's time limits don't apply to
    /// the body.
    body_scope: Scope,
    shared: Arc<LayerState<St>>,
}

impl<St> BodyCopy<St> {
    pub(crate) fn new(answer: PendingEntry, length: Length, head_scope: Scope, shared: Arc<LayerState<St>>) -> Self {
        Self { answer, length, head_scope, body_scope: Scope::new(), shared }
    }

    /// The body was dropped before its end.
    pub(crate) fn on_drop(&self) {
        telemetry::not_stored(&self.shared.entries.name, "incomplete");
    }
}

impl<St: Store> BodyCopy<St> {
    /// Polls the body. Reports made meanwhile are passed on to the outer scope. `Degraded` if any of them was less than fresh.
    pub(crate) fn poll<T>(&mut self, poll: impl FnOnce() -> T) -> (T, Quality) {
        let polled = self.body_scope.enter(poll);
        let quality = match (Quality::reported_in(&mut self.body_scope), Quality::reported_in(&mut self.head_scope)) {
            (Quality::Good, Quality::Good) => Quality::Good,
            _ => Quality::Degraded,
        };
        (polled, quality)
    }

    /// A part of the body, or its trailers, was degraded.
    pub(crate) fn on_degraded(&self) {
        telemetry::not_stored(&self.shared.entries.name, "degraded");
    }

    /// Copies a piece of the body. `None` if the body is too long.
    pub(crate) fn push(&mut self, data: &[u8]) -> Option<()> {
        let len = self.answer.writer.body_len().saturating_add(data.len());
        if len > self.shared.max_body() {
            telemetry::not_stored(&self.shared.entries.name, "too-long");
            return None;
        }
        self.answer.writer.push(data);
        Some(())
    }

    /// Whether the body is as long as announced.
    pub(crate) fn has_all(&self) -> bool {
        self.length.0 == Some(self.answer.writer.body_len() as u64)
    }

    /// The body has ended. Stores the answer if it is complete.
    pub(crate) fn complete(self) -> Option<StoreTask> {
        if self.length.0.is_some() && !self.has_all() {
            telemetry::not_stored(&self.shared.entries.name, "incomplete");
            return None;
        }
        let Self { answer, shared, .. } = self;
        Some(Box::pin(shared.put(answer)))
    }

    /// The body failed.
    pub(crate) fn fail(&self) {
        telemetry::not_stored(&self.shared.entries.name, "incomplete");
    }
}

/// The announced length of a body.
#[derive(Clone, Copy)]
pub(crate) struct Length(Option<u64>);

impl Length {
    pub(crate) const fn announced(self) -> Option<u64> {
        self.0
    }

    /// `None` if the field doesn't parse, or there are several.
    pub(crate) fn of(headers: &IndexedHeaders<'_>) -> Option<Self> {
        let mut values = headers.get_all(&CONTENT_LENGTH);
        match (values.next(), values.next()) {
            (None, _) => Some(Self(None)),
            (Some(value), None) => {
                // Digits only, since `parse` accepts a sign.
                let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
                digits.parse().ok().map(|length| Self(Some(length)))
            }
            (Some(_), Some(_)) => None,
        }
    }
}
