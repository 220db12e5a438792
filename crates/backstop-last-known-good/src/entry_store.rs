//! Finds, puts and removes answers in a [`Store`].
//!
//! No operation takes longer than `store_timeout`, and none returns an error, whatever the store does.
//!
//! A removed answer must not come back:
//!
//! - A GET that began before a write may end after it. So a removal is first [recorded](crate::removals), then carried out.
//!   `put` looks up the nodes, and stores the answer only if no removal was recorded since the GET began. A later removal
//!   removes these nodes, so the answer is unreachable. The removal of a single variant leaves the nodes in place, so `put`
//!   checks again afterwards and removes what it has just put.
//! - One caller's removal must not keep other callers' answers out. So a removal is recorded for exactly what it removes: a
//!   target, one owner's part of a target, or one variant of that part.
//! - The store may fail to remove. From then on, answers made before the removal aren't served.

use std::{mem, pin::pin, time::Duration};

use backstop_core::{Name, scope};
use backstop_kit::AtomicDuration;
use http::HeaderMap;

use crate::{
    NotStored, Store,
    age::{Clock, Timestamp},
    entry::{Entry, EntryWriter, Node},
    key::{Owner, push},
    outage::Outage,
    removals::{Epoch, KeyHash, Removals},
    rules::{Extent, Lifetime},
    store_failure::{StoreFailure, bounded},
    target::TargetKey,
    telemetry,
    vary::{self, SelectingFields},
};

/// Ages and dates are in whole seconds. Of two answers made within one second, the later arrival counts as newer.
const RESOLUTION: Duration = Duration::from_secs(1);

/// The part of the store that one request reads and writes.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    pub(crate) target: TargetKey,
    pub(crate) owner: Owner,
}

/// An answer that isn't stored yet, and what `put` needs to store it.
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

/// Identifies one owner's part of a target in [`Removals`]. It isn't a store key: those contain generations.
fn owner_key(target_key: &[u8], owner: &Owner) -> Vec<u8> {
    let mut key = target_key.to_owned();
    owner.add_to(&mut key);
    key
}

fn variant_key(mut owner_key: Vec<u8>, variant: &[u8]) -> Vec<u8> {
    push(&mut owner_key, b'v', variant);
    owner_key
}

pub(crate) struct EntryStore<St> {
    pub(crate) name: Name,
    store: St,
    pub(crate) clock: Clock,
    pub(crate) max_stale: AtomicDuration,
    pub(crate) store_timeout: AtomicDuration,
    pub(crate) removals: Removals,
    outage: Outage,
}

impl<St: Store> EntryStore<St> {
    pub(crate) fn new(name: Name, store: St, max_stale: Duration, store_timeout: Duration) -> Self {
        Self {
            name,
            store,
            clock: Clock::start(),
            max_stale: AtomicDuration::new(max_stale),
            store_timeout: AtomicDuration::new(store_timeout),
            removals: Removals::default(),
            outage: Outage::default(),
        }
    }

    pub(crate) const fn store(&self) -> &St {
        &self.store
    }

    /// `max_stale` in seconds.
    pub(crate) fn max_stale_seconds(&self) -> u32 {
        u32::try_from(self.max_stale.get().as_secs()).unwrap_or(u32::MAX)
    }

    /// The keys by which an answer can be removed: its target, its owner's part, and its variant.
    fn removal_hashes(&self, target_key: &[u8], owner: &Owner, variant: &[u8]) -> [KeyHash; 3] {
        let of_owner = owner_key(target_key, owner);
        let (target, owner) = (self.removals.hash(target_key), self.removals.hash(&of_owner));
        [target, owner, self.removals.hash(&variant_key(of_owner, variant))]
    }

    /// Finds the answer for a request with these fields. Returns its key, too.
    pub(crate) async fn find(
        &self,
        partition: Partition,
        fields: &[&HeaderMap],
    ) -> Result<(Vec<u8>, Entry), NotStored> {
        let Partition { target: TargetKey { mut key }, owner } = partition;
        let target_len = key.len();
        let finding = async {
            let Some(mut node) = self.node(&key).await? else { return Ok(None) };
            key.extend_from_slice(&node.generation.to_le_bytes());
            if owner.add_to(&mut key) {
                let Some(own) = self.node(&key).await? else { return Ok(None) };
                key.extend_from_slice(&own.generation.to_le_bytes());
                node = own;
            }
            let variant = node.selecting.variant_in_maps(fields);
            key.extend_from_slice(&[b'v', vary::slot(&variant)]);
            let Some(bytes) = self.store.get(&key).await? else { return Ok(None) };
            let entry = Entry::decode(bytes).ok_or(StoreFailure::Malformed)?;
            let fits = entry.variant() == variant
                && !self.removals.failed_to_remove(entry.lifetime.created, || {
                    self.removal_hashes(&key[..target_len], &owner, &variant)
                })
                && !entry.lifetime.is_ahead(self.clock.now())
                && entry.is_accepted_by(fields);
            Ok(fits.then_some((key, entry)))
        };
        match bounded(self.store_timeout.get(), None, pin!(finding)).await {
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

    /// Stores an answer, unless it was removed since its request began. Empties `answer`.
    pub(crate) async fn put(&self, answer: &mut PendingEntry) {
        let PendingEntry { partition: Partition { target, owner }, fields, began, selecting, writer, stored } = answer;
        let body_bytes = writer.body_len();
        let putting = pin!(async {
            // The body may have taken a while, so `ttl` may be too long by that. Keeping it longer does no harm.
            let now = writer.arrived;
            let mut key = mem::take(&mut target.key);
            let target_len = key.len();
            let owned = !matches!(owner, Owner::Unpartitioned);
            let none = SelectingFields::default();
            let (mut node, mut is_new) = self.node_covering(&key, if owned { &none } else { selecting }, now).await?;
            key.extend_from_slice(&node.generation.to_le_bytes());
            if owner.add_to(&mut key) {
                (node, is_new) = self.node_covering(&key, selecting, now).await?;
                key.extend_from_slice(&node.generation.to_le_bytes());
            }
            if node.selecting.is_too_long() {
                return Ok(Err("vary"));
            }
            let variant = node.selecting.variant_in(fields);
            key.extend_from_slice(&[b'v', vary::slot(&variant)]);
            let removal_hashes = || self.removal_hashes(&key[..target_len], owner, &variant);
            let is_removed = || self.removals.removed_since(*began, removal_hashes);
            if is_removed() {
                return Ok(Err("removed"));
            }
            // Nothing is stored under a new node yet.
            if !is_new
                && self.may_be_older(&writer.lifetime)
                && let Some(stored) = self.store.get(&key).await?.and_then(Entry::decode)
                && stored.variant() == variant
                && self.supersedes(&stored.lifetime, &writer.lifetime)
            {
                return Ok(Err("older"));
            }
            let ttl = writer.lifetime.left(now);
            let (Some(ttl), Some(bytes)) = (ttl, writer.finish(&variant, fields)) else { return Ok(Err("too-old")) };
            // A removal of nodes from now on removes those above this answer. A removal of this variant alone may have run
            // before the answer was in the store.
            let mut on_drop = RunOnDrop(Some(|| {
                if is_removed() {
                    let [.., variant] = removal_hashes();
                    self.removals.record_failure(&[variant], self.clock.now());
                }
            }));
            self.store.put(&key, bytes, ttl).await?;
            let is_removed = is_removed();
            if is_removed {
                self.store.remove(&key).await?;
            }
            on_drop.0 = None;
            Ok(if is_removed { Err("removed") } else { Ok(()) })
        });
        match bounded(self.store_timeout.get(), scope::deadline(), putting).await {
            Ok(Ok(())) => {
                self.record_success();
                stored(&self.name, body_bytes);
            }
            Ok(Err(reason)) => telemetry::not_stored(&self.name, reason),
            Err(failure) => self.record_failure("put", &failure),
        }
    }

    /// Whether the stored answer may be the newer one. An answer made just now is stored without a look at it.
    fn may_be_older(&self, lifetime: &Lifetime) -> bool {
        self.clock.now().since(lifetime.created) > RESOLUTION
    }

    /// Whether the stored answer was made later than the other.
    pub(crate) fn is_newer(&self, stored: &Lifetime, other: &Lifetime) -> bool {
        stored.created.since(other.created) > RESOLUTION
    }

    /// Whether the stored answer stays in place of the other: the newest that may be served is to be used (RFC 9111 §4).
    fn supersedes(&self, stored: &Lifetime, other: &Lifetime) -> bool {
        let now = self.clock.now();
        self.is_newer(stored, other) && stored.left(now).is_some() && !stored.is_ahead(now)
    }

    /// Removes everything stored for these targets, for all owners.
    pub(crate) async fn remove_targets(&self, target_keys: &[TargetKey], reason: &'static str) {
        let removing = async {
            for target in target_keys {
                self.store.remove(&target.key).await?;
            }
            Ok(())
        };
        let hashes: Vec<_> = target_keys.iter().map(|target| self.removals.hash(&target.key)).collect();
        self.removals.record(&hashes);
        self.finish_removal(&hashes, reason, removing).await;
    }

    /// Removes one owner's answers: the variant that a request with these fields selects, or all.
    pub(crate) async fn remove(&self, partition: &Partition, request: &[u8], reason: &'static str, extent: Extent) {
        match extent {
            Extent::Variant => self.remove_variant(partition, request, reason).await,
            Extent::All => self.remove_owner(partition, reason).await,
        }
    }

    /// Removes the variant that these fields select. Variants that differ only by coding are removed together, because a
    /// resource that is gone is gone in every coding.
    async fn remove_variant(&self, partition: &Partition, request: &[u8], reason: &'static str) {
        let Partition { target, owner } = partition;
        let owner_key = owner_key(&target.key, owner);
        let of_owner = self.removals.hash(&owner_key);
        let removing = async {
            let mut key = target.key.clone();
            let mut node = self.node(&key).await?;
            if let Some(shared) = &node
                && !matches!(owner, Owner::Unpartitioned)
            {
                key.extend_from_slice(&shared.generation.to_le_bytes());
                owner.add_to(&mut key);
                node = self.node(&key).await?;
            }
            let Some(node) = node else {
                // The variant of an answer that is still streaming isn't known yet.
                self.removals.record(&[of_owner]);
                return Ok(());
            };
            if node.selecting.only_by_coding() {
                self.removals.record(&[of_owner]);
                return Ok(self.store.remove(&key).await?);
            }
            let variant = node.selecting.variant_in(request);
            self.removals.record(&[self.removals.hash(&variant_key(owner_key, &variant))]);
            key.extend_from_slice(&node.generation.to_le_bytes());
            key.extend_from_slice(&[b'v', vary::slot(&variant)]);
            // Another variant may be in the same slot.
            if let Some(bytes) = self.store.get(&key).await?
                && Entry::decode(bytes).is_none_or(|entry| entry.variant() == variant)
            {
                self.store.remove(&key).await?;
            }
            Ok(())
        };
        self.finish_removal(&[of_owner], reason, removing).await;
    }

    async fn remove_owner(&self, partition: &Partition, reason: &'static str) {
        let of_owner = self.removals.hash(&owner_key(&partition.target.key, &partition.owner));
        self.removals.record(&[of_owner]);
        let mut key = partition.target.key.clone();
        let removing = async {
            if !matches!(partition.owner, Owner::Unpartitioned) {
                let Some(node) = self.store.get(&key).await? else { return Ok(()) };
                // If the node doesn't parse, everything under it is removed.
                if let Some(node) = Node::decode(&node) {
                    key.extend_from_slice(&node.generation.to_le_bytes());
                    partition.owner.add_to(&mut key);
                }
            }
            Ok(self.store.remove(&key).await?)
        };
        self.finish_removal(&[of_owner], reason, removing).await;
    }

    /// Carries out a removal. If it isn't known to have succeeded, answers with these hashes aren't served any more.
    async fn finish_removal(
        &self,
        hashes: &[KeyHash],
        reason: &'static str,
        removing: impl Future<Output = Result<(), StoreFailure>>,
    ) {
        let mut on_drop = RunOnDrop(Some(|| self.removals.record_failure(hashes, self.clock.now())));
        match bounded(self.store_timeout.get(), scope::deadline(), pin!(removing)).await {
            Ok(()) => {
                on_drop.0 = None;
                self.record_success();
                telemetry::removed(&self.name, reason);
            }
            Err(failure) => self.record_failure("remove", &failure),
        }
    }

    /// Reports an entry that turned out to be malformed after it was found.
    pub(crate) fn malformed_entry(&self) -> NotStored {
        self.record_failure("get", &StoreFailure::Malformed);
        NotStored::StoreFailed
    }

    fn record_success(&self) {
        if self.outage.worked() {
            telemetry::store_works(&self.name);
        }
    }

    fn record_failure(&self, operation: &'static str, failure: &StoreFailure) {
        telemetry::store_failed(&self.name, operation, failure, self.outage.failed());
    }

    async fn node(&self, key: &[u8]) -> Result<Option<Node>, StoreFailure> {
        let Some(bytes) = self.store.get(key).await? else { return Ok(None) };
        Node::decode(&bytes).map(Some).ok_or(StoreFailure::Malformed)
    }

    /// Returns the node under `key` if it covers these fields and outlives a new answer; otherwise puts a new node. Also returns
    /// whether the node is new.
    ///
    /// A node is never written again. If it was removed meanwhile, the answers under it would come back.
    async fn node_covering(
        &self,
        key: &[u8],
        selecting: &SelectingFields,
        now: Timestamp,
    ) -> Result<(Node, bool), StoreFailure> {
        let stored = self.store.get(key).await?.and_then(|bytes| Node::decode(&bytes));
        let selecting = match stored {
            Some(node) => {
                let outlives = now.since(node.written) + self.max_stale.get() < self.node_life();
                if outlives && node.selecting.cover(selecting) {
                    return Ok((node, false));
                }
                node.selecting.and(selecting)
            }
            None => selecting.clone(),
        };
        let node = Node { generation: fastrand::u64(..), written: now, selecting };
        if !node.selecting.is_too_long() {
            self.store.put(key, node.encode(), self.node_life()).await?;
        }
        Ok((node, true))
    }

    /// A node lives long, because all answers under it are lost when it expires.
    fn node_life(&self) -> Duration {
        self.max_stale.get() * 32
    }
}

/// Runs its closure when dropped, if it is still there: an operation on the store failed or was cancelled.
struct RunOnDrop<F: Fn()>(Option<F>);

impl<F: Fn()> Drop for RunOnDrop<F> {
    fn drop(&mut self) {
        if let Some(action) = &self.0 {
            action();
        }
    }
}
