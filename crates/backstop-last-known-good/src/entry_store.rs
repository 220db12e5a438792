//! Finds and puts answers: in the memory of the process first, where there are two tiers, then in the shared store.
//!
//! No operation on a store takes longer than `store_timeout`, and none returns an error, whatever the store does.

use std::{any::Any, pin::pin, time::Duration};

use backstop_core::{Name, scope};
use backstop_kit::AtomicDuration;
use bytes::Bytes;
use http::HeaderMap;

use crate::{
    MokaStore, NotStored, Store,
    age::Timestamp,
    entry::{Entry, EntryWriter},
    entry_context::EntryContext,
    outage::Outage,
    path::{Partition, Path},
    removals::Epoch,
    rules::Lifetime,
    store_failure::{StoreFailure, bounded},
    telemetry,
    tier::{Found, NewAnswer, Tier},
    vary::SelectingFields,
};

/// An answer that isn't stored yet, and what `put` needs to store it.
#[derive(Clone)]
pub(crate) struct PendingEntry {
    pub(crate) partition: Partition,
    /// The request's fields, [flattened](crate::fields).
    pub(crate) fields: Vec<u8>,
    /// When the request began.
    pub(crate) began: Epoch,
    /// The request fields that `Vary` names.
    pub(crate) selecting: SelectingFields,
    pub(crate) writer: EntryWriter,
    /// The event that reports success.
    pub(crate) stored: fn(&Name, usize),
}

impl NewAnswer for PendingEntry {
    fn began(&self) -> Epoch {
        self.began
    }

    fn arrived(&self) -> Timestamp {
        self.writer.arrived
    }

    fn lifetime(&self) -> Lifetime {
        self.writer.lifetime
    }

    fn selecting(&self) -> &SelectingFields {
        &self.selecting
    }

    fn variant(&self, selecting: &SelectingFields) -> Vec<u8> {
        selecting.variant_in(&self.fields)
    }

    /// Empties the answer.
    fn encode(&mut self, generation: u64, variant: &[u8]) -> Option<Bytes> {
        self.writer.finish(generation, variant, &self.fields)
    }
}

/// An answer of the shared store, on its way to the memory of this process.
struct Promotion<'a> {
    found: &'a Found,
    fields: &'a [&'a HeaderMap],
    began: Epoch,
    now: Timestamp,
}

impl NewAnswer for Promotion<'_> {
    fn began(&self) -> Epoch {
        self.began
    }

    fn arrived(&self) -> Timestamp {
        self.now
    }

    fn lifetime(&self) -> Lifetime {
        self.found.entry.lifetime
    }

    fn selecting(&self) -> &SelectingFields {
        &self.found.selecting
    }

    /// The answer is the reader's by all fields that select in the shared store. So it is also by others.
    fn variant(&self, selecting: &SelectingFields) -> Vec<u8> {
        selecting.variant_in_maps(self.fields)
    }

    fn encode(&mut self, generation: u64, variant: &[u8]) -> Option<Bytes> {
        self.found.entry.encode_for(generation, variant)
    }
}

pub(crate) struct EntryStore<St> {
    pub(crate) name: Name,
    /// The first tier, if there are two.
    local: Option<MokaStore>,
    store: St,
    pub(crate) context: EntryContext,
    pub(crate) store_timeout: AtomicDuration,
    outage: Outage,
}

impl<St: Store> EntryStore<St> {
    pub(crate) fn new(
        name: Name,
        local: Option<MokaStore>,
        store: St,
        context: EntryContext,
        store_timeout: Duration,
    ) -> Self {
        let (store_timeout, outage) = (AtomicDuration::new(store_timeout), Outage::default());
        Self { name, local, store, context, store_timeout, outage }
    }

    pub(crate) const fn store(&self) -> &St {
        &self.store
    }

    /// The store in the memory of this process, if there is one.
    pub(crate) fn memory(&self) -> Option<&MokaStore> {
        let only: &dyn Any = &self.store;
        self.local.as_ref().or_else(|| only.downcast_ref())
    }

    /// The first of two tiers.
    pub(crate) fn local(&self) -> Option<Tier<'_, MokaStore>> {
        self.local.as_ref().map(|store| Tier { store, context: &self.context })
    }

    /// The only tier, or the shared one.
    pub(crate) const fn last(&self) -> Tier<'_, St> {
        Tier { store: &self.store, context: &self.context }
    }

    /// Finds the answer for a request with these fields. The shared store is asked only if memory has none that `is_servable`.
    /// What is found there is kept in memory.
    pub(crate) async fn find(
        &self,
        partition: &Partition,
        fields: &[&HeaderMap],
        is_servable: impl Fn(&Entry) -> bool,
    ) -> Result<Found, NotStored> {
        let path = Path::of(partition);
        let Some(local) = self.local() else { return self.find_in(self.last(), &path, fields).await };
        let began = self.context.removals.epoch();
        let near = self.find_in(local, &path, fields).await;
        if near.as_ref().is_ok_and(|found| is_servable(&found.entry)) {
            return near;
        }
        let shared = self.find_in(self.last(), &path, fields).await;
        match (near, shared) {
            (Ok(near), Ok(shared)) if !self.context.is_newer(&shared.entry.lifetime, &near.entry.lifetime) => Ok(near),
            (_, Ok(found)) => {
                if is_servable(&found.entry) {
                    self.promote(&path, &found, fields, began).await;
                }
                Ok(found)
            }
            (Ok(near), Err(_)) => Ok(near),
            (Err(_), Err(reason)) => Err(reason),
        }
    }

    async fn find_in<T: Store>(
        &self,
        tier: Tier<'_, T>,
        path: &Path,
        fields: &[&HeaderMap],
    ) -> Result<Found, NotStored> {
        match bounded(self.store_timeout.get(), None, pin!(tier.find(path, fields))).await {
            Ok(found) => {
                self.record_success();
                found.ok_or(NotStored::Missing)
            }
            Err(failure) => {
                self.record_failure("get", &failure);
                Err(NotStored::StoreFailed)
            }
        }
    }

    /// Keeps an answer of the shared store in memory, unless it was removed since `began`.
    async fn promote(&self, path: &Path, found: &Found, fields: &[&HeaderMap], began: Epoch) {
        let mut answer = Promotion { found, fields, began, now: self.context.clock.now() };
        if let Some(local) = self.local()
            && let Err(failure) = local.put(path, &mut answer).await
        {
            self.record_failure("put", &failure);
        }
    }

    /// Stores an answer in one tier, unless it was removed since its request began. Empties `answer`.
    pub(crate) async fn put<T: Store>(&self, tier: Tier<'_, T>, answer: &mut PendingEntry) {
        let (body_bytes, path, stored) = (answer.writer.body_len(), Path::of(&answer.partition), answer.stored);
        match bounded(self.store_timeout.get(), scope::deadline(), pin!(tier.put(&path, answer))).await {
            Ok(Ok(_)) => {
                self.record_success();
                stored(&self.name, body_bytes);
            }
            Ok(Err(reason)) => telemetry::not_stored(&self.name, reason),
            Err(failure) => self.record_failure("put", &failure),
        }
    }

    /// Stores an answer in the shared tier, where nobody waits for it. If other processes store the first answers of this path at
    /// the same time, it is stored once more.
    pub(crate) async fn put_in_background(&self, answer: &PendingEntry) {
        let (path, tier, limit) = (Path::of(&answer.partition), self.last(), self.store_timeout.get());
        for _ in 0..2 {
            let is_lost = async {
                match tier.put(&path, &mut answer.clone()).await? {
                    Ok(Some(generation)) => Ok(!tier.leads_to(&path, generation).await?),
                    Ok(None) => Ok(false),
                    Err(reason) => {
                        telemetry::not_stored(&self.name, reason);
                        Ok(false)
                    }
                }
            };
            match bounded(limit, None, pin!(is_lost)).await {
                Ok(true) => {}
                Ok(false) => return self.record_success(),
                Err(failure) => return self.record_failure("put", &failure),
            }
        }
    }

    /// Reports an entry that turned out to be malformed after it was found.
    pub(crate) fn malformed_entry(&self) -> NotStored {
        self.record_failure("get", &StoreFailure::Malformed);
        NotStored::StoreFailed
    }

    pub(crate) fn record_success(&self) {
        if self.outage.worked() {
            telemetry::store_works(&self.name);
        }
    }

    pub(crate) fn record_failure(&self, operation: &'static str, failure: &StoreFailure) {
        telemetry::store_failed(&self.name, operation, failure, self.outage.failed());
    }
}
