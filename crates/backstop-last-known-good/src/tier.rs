//! Finds, puts and removes answers in one [`Store`].
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

use bytes::Bytes;
use http::HeaderMap;

use crate::{
    Store,
    age::Timestamp,
    entry::{Entry, Node},
    entry_context::EntryContext,
    path::Path,
    removals::Epoch,
    rules::Lifetime,
    store_failure::StoreFailure,
    vary::{self, SelectingFields},
};

/// One store of a layer.
pub(crate) struct Tier<'a, T> {
    pub(crate) store: &'a T,
    pub(crate) context: &'a EntryContext,
}

/// A stored answer.
pub(crate) struct Found {
    pub(crate) key: Vec<u8>,
    pub(crate) entry: Entry,
    /// The request fields that select the variant.
    pub(crate) selecting: SelectingFields,
}

/// An answer to be stored.
pub(crate) trait NewAnswer {
    /// When its request began.
    fn began(&self) -> Epoch;
    /// When it arrived. If its body has taken a while, it is kept longer by that, which does no harm.
    fn arrived(&self) -> Timestamp;
    fn lifetime(&self) -> Lifetime;
    /// The request fields that `Vary` names.
    fn selecting(&self) -> &SelectingFields;
    /// The variant that its request selects by these fields.
    fn variant(&self, selecting: &SelectingFields) -> Vec<u8>;
    /// Its bytes. `None` if it is too long.
    fn encode(&mut self, generation: u64, variant: &[u8]) -> Option<Bytes>;
}

impl<T: Store> Tier<'_, T> {
    /// Finds the answer for a request with these fields.
    pub(crate) async fn find(&self, path: &Path, fields: &[&HeaderMap]) -> Result<Option<Found>, StoreFailure> {
        let slot_by = |selecting: &SelectingFields| vary::slot(&selecting.variant_in_maps(fields));
        let mut keys = path.nodes();
        let nodes = keys.len();
        // What the answer varies by isn't known yet. Usually it varies by nothing, or by what the last one did.
        let guess = self.context.last_selecting();
        let mut slots = vec![vary::slot(&[]), slot_by(&guess)];
        slots.dedup();
        keys.extend(slots.iter().map(|slot| path.answer(*slot)));
        let mut values = self.store.get_all(&keys).await?.into_iter();
        let Some(node) = node_of(path, values.by_ref().take(nodes))? else { return Ok(None) };
        let variant = node.selecting.variant_in_maps(fields);
        let (slot, key) = (vary::slot(&variant), path.answer(vary::slot(&variant)));
        let bytes = match slots.iter().position(|guessed| *guessed == slot) {
            Some(position) => values.nth(position).flatten(),
            None => self.store.get(&key).await?,
        };
        if !node.selecting.is_empty() && node.selecting != guess {
            self.context.guess_selecting(&node.selecting);
        }
        let Some(bytes) = bytes else { return Ok(None) };
        let entry = Entry::decode(bytes).ok_or(StoreFailure::Malformed)?;
        let EntryContext { clock, removals, .. } = self.context;
        let fits = entry.generation == node.generation
            && entry.variant() == variant
            && !removals.failed_to_remove(entry.lifetime.created, || self.context.removal_hashes(path, &variant))
            && !entry.lifetime.is_ahead(clock.now())
            && entry.is_accepted_by(fields);
        Ok(fits.then_some(Found { key, entry, selecting: node.selecting }))
    }

    /// Stores an answer, unless it was removed since its request began. The inner error says why it isn't stored.
    ///
    /// If it is the first one here, somebody else may put another node at the same time, and the answer is lost. Returns the
    /// generation of the new node, to be [looked at](Self::leads_to).
    pub(crate) async fn put(
        &self,
        path: &Path,
        answer: &mut impl NewAnswer,
    ) -> Result<Result<Option<u64>, &'static str>, StoreFailure> {
        let removals = &self.context.removals;
        let (began, arrived, lifetime) = (answer.began(), answer.arrived(), answer.lifetime());
        let (node, is_new) = self.node_covering(path, answer.selecting(), arrived).await?;
        if node.selecting.is_too_long() {
            return Ok(Err("vary"));
        }
        let variant = answer.variant(&node.selecting);
        let key = path.answer(vary::slot(&variant));
        let removal_hashes = || self.context.removal_hashes(path, &variant);
        let is_removed = || removals.removed_since(began, removal_hashes);
        if is_removed() {
            return Ok(Err("removed"));
        }
        // Nothing is stored under a new node yet.
        if !is_new
            && self.context.may_be_older(&lifetime)
            && let Some(stored) = self.store.get(&key).await?.and_then(Entry::decode)
            && stored.generation == node.generation
            && stored.variant() == variant
            && self.context.supersedes(&stored.lifetime, &lifetime)
        {
            return Ok(Err("older"));
        }
        let (Some(ttl), Some(bytes)) = (lifetime.left(arrived), answer.encode(node.generation, &variant)) else {
            return Ok(Err("too-old"));
        };
        // A removal of nodes from now on removes those above this answer. A removal of this variant alone may have run before
        // the answer was in the store.
        let mut on_drop = RunOnDrop(Some(|| {
            if is_removed() {
                let [.., variant] = removal_hashes();
                removals.record_failure(&[variant], self.context.clock.now());
            }
        }));
        self.store.put(&key, bytes, ttl).await?;
        let is_removed = is_removed();
        if is_removed {
            self.store.remove(&key).await?;
        }
        on_drop.0 = None;
        Ok(if is_removed { Err("removed") } else { Ok(is_new.then_some(node.generation)) })
    }

    /// Whether the nodes still lead to answers of this generation.
    pub(crate) async fn leads_to(&self, path: &Path, generation: u64) -> Result<bool, StoreFailure> {
        let values = self.store.get_all(&path.nodes()).await?;
        Ok(node_of(path, values.into_iter())?.is_some_and(|node| node.generation == generation))
    }

    /// Removes the variant that these fields select. Variants that differ only by coding are removed together, because a
    /// resource that is gone is gone in every coding.
    pub(crate) async fn remove_variant(&self, path: &Path, request: &[u8]) -> Result<(), StoreFailure> {
        let removals = &self.context.removals;
        let values = self.store.get_all(&path.nodes()).await?;
        let Some(node) = node_of(path, values.into_iter())? else {
            // The variant of an answer that is still streaming isn't known yet.
            removals.record(&[removals.hash(path.owner())]);
            return Ok(());
        };
        if node.selecting.only_by_coding() {
            removals.record(&[removals.hash(path.owner())]);
            return Ok(self.store.remove(path.owner()).await?);
        }
        let variant = node.selecting.variant_in(request);
        removals.record(&[removals.hash(&path.variant(&variant))]);
        let key = path.answer(vary::slot(&variant));
        // Another variant may be in the same slot.
        if let Some(bytes) = self.store.get(&key).await?
            && Entry::decode(bytes).is_none_or(|entry| entry.variant() == variant)
        {
            self.store.remove(&key).await?;
        }
        Ok(())
    }

    /// Returns the node above the answers if it covers these fields and outlives a new answer; otherwise puts a new node. Also
    /// returns whether the node is new.
    async fn node_covering(
        &self,
        path: &Path,
        selecting: &SelectingFields,
        now: Timestamp,
    ) -> Result<(Node, bool), StoreFailure> {
        let mut stored = self.store.get_all(&path.nodes()).await?.into_iter();
        let mut stored = || stored.next().flatten().and_then(|bytes| Node::decode(&bytes));
        if !path.has_owner() {
            return self.keep_or_put(path.target(), stored(), selecting, 0, now).await;
        }
        let (target, own) = (stored(), stored());
        let (target, _) = self.keep_or_put(path.target(), target, &SelectingFields::default(), 0, now).await?;
        let own = own.filter(|own| own.parent == target.generation);
        self.keep_or_put(path.owner(), own, selecting, target.generation, now).await
    }

    /// A node is never written again. If it was removed meanwhile, the answers under it would come back.
    async fn keep_or_put(
        &self,
        key: &[u8],
        stored: Option<Node>,
        selecting: &SelectingFields,
        parent: u64,
        now: Timestamp,
    ) -> Result<(Node, bool), StoreFailure> {
        let life = self.context.node_life();
        let selecting = match stored {
            Some(node) => {
                let outlives = now.since(node.written) + self.context.staleness.longest() < life;
                if outlives && node.selecting.cover(selecting) {
                    return Ok((node, false));
                }
                node.selecting.and(selecting)
            }
            None => selecting.clone(),
        };
        let node = Node { generation: fastrand::u64(..), parent, written: now, selecting };
        if !node.selecting.is_too_long() {
            self.store.put(key, node.encode(), life).await?;
        }
        Ok((node, true))
    }
}

/// The node above the answers, if all nodes of its path are there.
fn node_of(path: &Path, values: impl Iterator<Item = Option<Bytes>>) -> Result<Option<Node>, StoreFailure> {
    let mut nodes = values.map(|bytes| match bytes {
        Some(bytes) => Node::decode(&bytes).map(Some).ok_or(StoreFailure::Malformed),
        None => Ok(None),
    });
    let mut next = || nodes.next().unwrap_or(Ok(None));
    let Some(target) = next()? else { return Ok(None) };
    if !path.has_owner() {
        return Ok(Some(target));
    }
    Ok(next()?.filter(|own| own.parent == target.generation))
}

/// Runs its closure when dropped, if it is still there: an operation on the store failed or was cancelled.
pub(crate) struct RunOnDrop<F: Fn()>(pub(crate) Option<F>);

impl<F: Fn()> Drop for RunOnDrop<F> {
    fn drop(&mut self) {
        if let Some(action) = &self.0 {
            action();
        }
    }
}
