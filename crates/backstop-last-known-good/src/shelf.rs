//! The store, as answers are found in it, put into it and removed from it.
//!
//! Whatever the store does, none of these takes longer than the store's time, and none fails.
//!
//! What was removed must not come back:
//!
//! - A GET that was answered before a write may end after it. So each removal is first [counted](crate::removals), and only
//!   then removes: an answer is put where its target wasn't removed since the GET began, once its nodes are known. If the
//!   removal comes later than that, it removes those nodes. One of a single variant doesn't, so that it is looked for once more
//!   after the answer was put, which then goes again.
//! - What one caller causes must not keep the answers of others out. So a removal is counted for what it removes: a target, what
//!   is stored of it for one owner, or one variant of that.
//! - A store may fail to remove. From then on nothing is served that was made before.

use std::{mem, pin::pin, time::Duration};

use backstop_core::{Name, scope};
use http::HeaderMap;

use crate::{
    NotStored, Store,
    age::{Clock, Moment},
    entry::{Draft, Entry, Node},
    key::{Owner, push},
    outage::Outage,
    removals::{Epoch, Removals, TargetId},
    rules::{Reach, Terms},
    target::Root,
    telemetry,
    trouble::{Trouble, bounded},
    vary::{self, Selectors},
};

/// Ages are told in whole seconds, and so are dates: of what was made within one, the last that comes is the newest.
const EXACT: Duration = Duration::from_secs(1);

/// Where something is stored, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) root: Root,
    pub(crate) owner: Owner,
}

/// An answer that isn't stored yet, and what storing it takes.
pub(crate) struct Unstored {
    pub(crate) place: Place,
    /// The fields of its request.
    pub(crate) fields: Vec<u8>,
    /// When that began.
    pub(crate) begun: Epoch,
    /// By which of the fields it is selected.
    pub(crate) selectors: Selectors,
    pub(crate) draft: Draft,
    /// How that it is stored is told.
    pub(crate) stored: fn(&Name, usize),
}

/// The key of what is stored of a target for one owner, whatever the generations of its nodes.
fn owner_key(root: &[u8], owner: &Owner) -> Vec<u8> {
    let mut key = root.to_owned();
    owner.add_to(&mut key);
    key
}

fn variant_key(mut owner_key: Vec<u8>, selected: &[u8]) -> Vec<u8> {
    push(&mut owner_key, b'v', selected);
    owner_key
}

pub(crate) struct Shelf<St> {
    pub(crate) name: Name,
    store: St,
    pub(crate) clock: Clock,
    pub(crate) max_stale: Duration,
    store_timeout: Duration,
    pub(crate) removals: Removals,
    outage: Outage,
}

impl<St: Store> Shelf<St> {
    pub(crate) fn new(name: Name, store: St, max_stale: Duration, store_timeout: Duration) -> Self {
        Self {
            name,
            store,
            clock: Clock::start(),
            max_stale,
            store_timeout,
            removals: Removals::default(),
            outage: Outage::default(),
        }
    }

    pub(crate) const fn store(&self) -> &St {
        &self.store
    }

    /// `max_stale` in seconds.
    pub(crate) fn most_stale(&self) -> u32 {
        u32::try_from(self.max_stale.as_secs()).unwrap_or(u32::MAX)
    }

    /// Whose removals an answer looks for: those of its target, of what is stored of that for its owner, and of its variant.
    fn removed_as(&self, root: &[u8], owner: &Owner, selected: &[u8]) -> [TargetId; 3] {
        let of_owner = owner_key(root, owner);
        let (target, owner) = (self.removals.target(root), self.removals.target(&of_owner));
        [target, owner, self.removals.target(&variant_key(of_owner, selected))]
    }

    /// The answer that a request with these fields selects, and under which key.
    pub(crate) async fn find(&self, place: Place, fields: &[&HeaderMap]) -> Result<(Vec<u8>, Entry), NotStored> {
        let Place { root: Root { mut key }, owner } = place;
        let root_len = key.len();
        let finding = async {
            let Some(mut node) = self.node(&key).await? else { return Ok(None) };
            key.extend_from_slice(&node.generation.to_le_bytes());
            if owner.add_to(&mut key) {
                let Some(own) = self.node(&key).await? else { return Ok(None) };
                key.extend_from_slice(&own.generation.to_le_bytes());
                node = own;
            }
            let selected = node.selectors.select_from_maps(fields);
            key.extend_from_slice(&[b'v', vary::place(&selected)]);
            let Some(bytes) = self.store.get(&key).await? else { return Ok(None) };
            let entry = Entry::decode(bytes).ok_or(Trouble::Garbage)?;
            let fits = entry.selected() == selected
                && !self
                    .removals
                    .should_be_gone(entry.terms.made, || self.removed_as(&key[..root_len], &owner, &selected))
                && !entry.terms.are_ahead(self.clock.now())
                && entry.is_accepted_by(fields);
            Ok(fits.then_some((key, entry)))
        };
        match bounded(self.store_timeout, None, pin!(finding)).await {
            Ok(found) => {
                self.worked();
                found.ok_or(NotStored::Missing)
            }
            Err(trouble) => {
                self.failed("get", &trouble);
                Err(NotStored::StoreFailed)
            }
        }
    }

    /// Puts an answer for requests that select the same as its own, unless anything was removed meanwhile. Nothing is left
    /// of it.
    pub(crate) async fn put(&self, answer: &mut Unstored) {
        let Unstored { place: Place { root, owner }, fields, begun, selectors, draft, stored } = answer;
        let body_bytes = draft.body_len();
        let putting = pin!(async {
            // Its body may have taken a while. A store that keeps it so much longer does no harm.
            let now = draft.arrived;
            let mut key = mem::take(&mut root.key);
            let root_len = key.len();
            let owned = !matches!(owner, Owner::Everyone);
            let none = Selectors::default();
            let (mut node, mut is_new) = self.node_for(&key, if owned { &none } else { selectors }, now).await?;
            key.extend_from_slice(&node.generation.to_le_bytes());
            if owner.add_to(&mut key) {
                (node, is_new) = self.node_for(&key, selectors, now).await?;
                key.extend_from_slice(&node.generation.to_le_bytes());
            }
            if node.selectors.too_many() {
                return Ok(Err("vary"));
            }
            let selected = node.selectors.select(fields);
            key.extend_from_slice(&[b'v', vary::place(&selected)]);
            let removed_as = || self.removed_as(&key[..root_len], owner, &selected);
            let is_removed = || self.removals.any_since(*begun, removed_as);
            if is_removed() {
                return Ok(Err("removed"));
            }
            // A new node leads nowhere yet.
            if !is_new
                && self.may_be_outdone(&draft.terms)
                && let Some(known) = self.store.get(&key).await?.and_then(Entry::decode)
                && known.selected() == selected
                && self.outdoes(&known.terms, &draft.terms)
            {
                return Ok(Err("older"));
            }
            let ttl = draft.terms.left(now);
            let (Some(ttl), Some(bytes)) = (ttl, draft.finish(&selected, fields)) else { return Ok(Err("too-old")) };
            // A removal of nodes that comes now removes the ones that lead here. One of this variant alone may have come
            // before it was here.
            let mut unfinished = Unfinished(Some(|| {
                if is_removed() {
                    let [.., variant] = removed_as();
                    self.removals.fail(&[variant], self.clock.now());
                }
            }));
            self.store.put(&key, bytes, ttl).await?;
            let is_removed = is_removed();
            if is_removed {
                self.store.remove(&key).await?;
            }
            unfinished.0 = None;
            Ok(if is_removed { Err("removed") } else { Ok(()) })
        });
        match bounded(self.store_timeout, scope::deadline(), putting).await {
            Ok(Ok(())) => {
                self.worked();
                stored(&self.name, body_bytes);
            }
            Ok(Err(reason)) => telemetry::not_stored(&self.name, reason),
            Err(trouble) => self.failed("put", &trouble),
        }
    }

    /// What is new enough is stored without a look at what is there.
    fn may_be_outdone(&self, terms: &Terms) -> bool {
        self.clock.now().since(terms.made) > EXACT
    }

    /// Whether what is known was made later than another answer.
    pub(crate) fn is_newer(&self, known: &Terms, other: &Terms) -> bool {
        known.made.since(other.made) > EXACT
    }

    /// Whether what is known of an answer stays though another one comes: of those that may be served the one that was made
    /// last is the one to use (RFC 9111 §4).
    fn outdoes(&self, known: &Terms, other: &Terms) -> bool {
        let now = self.clock.now();
        self.is_newer(known, other) && known.left(now).is_some() && !known.are_ahead(now)
    }

    /// Removes all that is stored of these targets, whosever it is.
    pub(crate) async fn forget_targets(&self, roots: &[Root], reason: &'static str) {
        let removing = async {
            for root in roots {
                self.store.remove(&root.key).await?;
            }
            Ok(())
        };
        let targets: Vec<_> = roots.iter().map(|root| self.removals.target(&root.key)).collect();
        self.removals.count(&targets);
        self.remove(&targets, reason, removing).await;
    }

    /// Removes of what is stored for one owner what a request of these fields selects, or all.
    pub(crate) async fn forget(&self, place: &Place, request: &[u8], reason: &'static str, reach: Reach) {
        match reach {
            Reach::Variant => self.forget_variant(place, request, reason).await,
            Reach::All => self.forget_owner(place, reason).await,
        }
    }

    /// The variant that these fields select. What is gone is gone in every coding, so that those of a target that differ in
    /// nothing else go together.
    async fn forget_variant(&self, place: &Place, request: &[u8], reason: &'static str) {
        let Place { root, owner } = place;
        let owner_key = owner_key(&root.key, owner);
        let of_owner = self.removals.target(&owner_key);
        let removing = async {
            let mut key = root.key.clone();
            let mut node = self.node(&key).await?;
            if let Some(shared) = &node
                && !matches!(owner, Owner::Everyone)
            {
                key.extend_from_slice(&shared.generation.to_le_bytes());
                owner.add_to(&mut key);
                node = self.node(&key).await?;
            }
            let Some(node) = node else {
                // What is on its way is of no variant yet.
                self.removals.count(&[of_owner]);
                return Ok(());
            };
            if node.selectors.only_by_coding() {
                self.removals.count(&[of_owner]);
                return Ok(self.store.remove(&key).await?);
            }
            let selected = node.selectors.select(request);
            self.removals.count(&[self.removals.target(&variant_key(owner_key, &selected))]);
            key.extend_from_slice(&node.generation.to_le_bytes());
            key.extend_from_slice(&[b'v', vary::place(&selected)]);
            // Another variant may be in its place.
            if let Some(bytes) = self.store.get(&key).await?
                && Entry::decode(bytes).is_none_or(|entry| entry.selected() == selected)
            {
                self.store.remove(&key).await?;
            }
            Ok(())
        };
        self.remove(&[of_owner], reason, removing).await;
    }

    async fn forget_owner(&self, place: &Place, reason: &'static str) {
        let of_owner = self.removals.target(&owner_key(&place.root.key, &place.owner));
        self.removals.count(&[of_owner]);
        let mut key = place.root.key.clone();
        let removing = async {
            if !matches!(place.owner, Owner::Everyone) {
                let Some(node) = self.store.get(&key).await? else { return Ok(()) };
                // Of a node that can't be read, all goes.
                if let Some(node) = Node::decode(&node) {
                    key.extend_from_slice(&node.generation.to_le_bytes());
                    place.owner.add_to(&mut key);
                }
            }
            Ok(self.store.remove(&key).await?)
        };
        self.remove(&[of_owner], reason, removing).await;
    }

    /// What isn't known to be removed in the end isn't served all the same, where it belongs to these.
    async fn remove(
        &self,
        targets: &[TargetId],
        reason: &'static str,
        removing: impl Future<Output = Result<(), Trouble>>,
    ) {
        let mut unfinished = Unfinished(Some(|| self.removals.fail(targets, self.clock.now())));
        match bounded(self.store_timeout, scope::deadline(), pin!(removing)).await {
            Ok(()) => {
                unfinished.0 = None;
                self.worked();
                telemetry::removed(&self.name, reason);
            }
            Err(trouble) => self.failed("remove", &trouble),
        }
    }

    /// What was found turned out to be garbage further on.
    pub(crate) fn garbage(&self) -> NotStored {
        self.failed("get", &Trouble::Garbage);
        NotStored::StoreFailed
    }

    fn worked(&self) {
        if self.outage.worked() {
            telemetry::store_works(&self.name);
        }
    }

    fn failed(&self, operation: &'static str, trouble: &Trouble) {
        telemetry::store_failed(&self.name, operation, trouble, self.outage.failed());
    }

    async fn node(&self, key: &[u8]) -> Result<Option<Node>, Trouble> {
        let Some(bytes) = self.store.get(key).await? else { return Ok(None) };
        Node::decode(&bytes).map(Some).ok_or(Trouble::Garbage)
    }

    /// The node there is, if it selects by all of these and will outlive what it leads to; else a new one. And whether it
    /// is new.
    ///
    /// A node is never written twice: it might have been removed in between, and what it led to would be back.
    async fn node_for(&self, key: &[u8], selectors: &Selectors, now: Moment) -> Result<(Node, bool), Trouble> {
        let known = self.store.get(key).await?.and_then(|bytes| Node::decode(&bytes));
        let selectors = match known {
            Some(node) => {
                let lasts = now.since(node.written) + self.max_stale < self.node_life();
                if lasts && node.selectors.cover(selectors) {
                    return Ok((node, false));
                }
                node.selectors.and(selectors)
            }
            None => selectors.clone(),
        };
        let node = Node { generation: fastrand::u64(..), written: now, selectors };
        if !node.selectors.too_many() {
            self.store.put(key, node.encode(), self.node_life()).await?;
        }
        Ok((node, true))
    }

    /// When a node ends, all that it leads to is lost: rarely, then.
    fn node_life(&self) -> Duration {
        self.max_stale * 32
    }
}

/// What is done about a removal that has not succeeded when this is dropped: it failed, or nobody waits for it any more.
struct Unfinished<F: Fn()>(Option<F>);

impl<F: Fn()> Drop for Unfinished<F> {
    fn drop(&mut self) {
        if let Some(doubt) = &self.0 {
            doubt();
        }
    }
}
