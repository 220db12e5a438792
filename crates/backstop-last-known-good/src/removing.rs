//! Removes answers from all tiers of a layer.
//!
//! The caller waits until the shared store has confirmed, at most `store_timeout`. A removal that isn't confirmed:
//!
//! | where | what happens |
//! |---|---|
//! | this process | serves nothing that was made before, see [`removals`](crate::removals) |
//! | the shared store, with an executor | the removal is repeated until the store confirms it |

use std::{
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use backstop_core::scope;

use crate::{
    Store,
    layer_state::LayerState,
    path::{Partition, Path},
    removals::KeyHash,
    rules::Extent,
    store_failure::{StoreFailure, bounded},
    target::TargetKey,
    telemetry,
    tier::RunOnDrop,
};

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl<St: Store> LayerState<St> {
    /// Removes everything stored for these targets, for all owners.
    pub(crate) async fn remove_targets(self: &Arc<Self>, targets: Vec<TargetKey>, reason: &'static str) {
        let keys: Vec<_> = targets.into_iter().map(|target| target.key).collect();
        let removals = &self.entries.context.removals;
        let hashes: Vec<_> = keys.iter().map(|key| removals.hash(key)).collect();
        removals.record(&hashes);
        self.remove_keys(keys, &hashes, reason).await;
    }

    /// Removes one owner's answers: the variant that a request with these fields selects, or all.
    pub(crate) async fn remove(
        self: &Arc<Self>,
        partition: &Partition,
        request: &[u8],
        reason: &'static str,
        extent: Extent,
    ) {
        let (path, entries) = (Path::of(partition), &self.entries);
        let removals = &entries.context.removals;
        let hashes = [removals.hash(path.owner())];
        let owner = vec![path.owner().to_owned()];
        match extent {
            Extent::Variant => {
                let removing = async {
                    if let Some(local) = entries.local() {
                        local.remove_variant(&path, request).await?;
                    }
                    entries.last().remove_variant(&path, request).await
                };
                self.finish_removal(&owner, &hashes, reason, removing).await;
            }
            Extent::All => {
                removals.record(&hashes);
                self.remove_keys(owner, &hashes, reason).await;
            }
        }
    }

    async fn remove_keys(self: &Arc<Self>, keys: Vec<Vec<u8>>, hashes: &[KeyHash], reason: &'static str) {
        let removing = async {
            if let Some(local) = self.entries.local() {
                remove_all(local.store, &keys).await?;
            }
            remove_all(self.entries.store(), &keys).await
        };
        self.finish_removal(&keys, hashes, reason, removing).await;
    }

    /// Carries out a removal. If it isn't known to have succeeded, answers with these hashes aren't served any more, and everything
    /// under `keys` is removed from the shared store later.
    async fn finish_removal(
        self: &Arc<Self>,
        keys: &[Vec<u8>],
        hashes: &[KeyHash],
        reason: &'static str,
        removing: impl Future<Output = Result<(), StoreFailure>>,
    ) {
        let entries = &self.entries;
        let mut on_drop = RunOnDrop(Some(|| {
            entries.context.removals.record_failure(hashes, entries.context.clock.now());
            self.repeat_removal(keys);
        }));
        match bounded(entries.store_timeout.get(), scope::deadline(), pin!(removing)).await {
            Ok(()) => {
                on_drop.0 = None;
                entries.record_success();
                telemetry::removed(&entries.name, reason);
            }
            Err(failure) => entries.record_failure("remove", &failure),
        }
    }

    /// Repeats a removal from the shared store in the background, until it is confirmed.
    fn repeat_removal(self: &Arc<Self>, keys: &[Vec<u8>]) {
        if let Some(background) = &self.background
            && background.add_unfinished(keys)
        {
            background.execute(Box::pin(repeat(Arc::downgrade(self))));
        }
    }
}

async fn remove_all<T: Store>(store: &T, keys: &[Vec<u8>]) -> Result<(), StoreFailure> {
    for key in keys {
        store.remove(key).await?;
    }
    Ok(())
}

/// Ends once all removals are confirmed, or the layer is dropped.
async fn repeat<St: Store>(layer: Weak<LayerState<St>>) {
    let dropped = layer.clone();
    let mut on_drop = RunOnDrop(Some(|| {
        if let Some(background) = dropped.upgrade().as_ref().and_then(|layer| layer.background.as_ref()) {
            background.stopped_repeating();
        }
    }));
    let mut wait = FIRST_WAIT;
    loop {
        tokio::time::sleep(wait).await;
        let Some(layer) = layer.upgrade() else { break };
        let Some(background) = &layer.background else { break };
        let removals = background.unfinished_removals();
        if removals.is_empty() {
            break;
        }
        wait = LONGEST_WAIT.min(wait * 2);
        for (key, number) in removals {
            let removing = async { Ok(layer.entries.store().remove(&key).await?) };
            if bounded(layer.entries.store_timeout.get(), None, pin!(removing)).await.is_err() {
                break;
            }
            background.finished(&key, number);
            wait = FIRST_WAIT;
        }
    }
    on_drop.0 = None;
}
