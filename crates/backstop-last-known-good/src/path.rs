//! What one request reads and writes in a store, and the [keys](crate::key) of it.

use crate::{
    key::{Owner, push},
    target::TargetKey,
};

/// The part of the store that one request reads and writes.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    pub(crate) target: TargetKey,
    pub(crate) owner: Owner,
}

/// The keys of a partition: of its nodes, and of the answers below.
pub(crate) struct Path {
    key: Vec<u8>,
    target_len: usize,
}

impl Path {
    pub(crate) fn of(partition: &Partition) -> Self {
        let mut key = partition.target.key.clone();
        let target_len = key.len();
        partition.owner.add_to(&mut key);
        Self { key, target_len }
    }

    /// The key of the target's node.
    pub(crate) fn target(&self) -> &[u8] {
        &self.key[..self.target_len]
    }

    /// The key of the node above the answers: the owner's, or the target's if no principal is configured.
    pub(crate) fn owner(&self) -> &[u8] {
        &self.key
    }

    /// Whether the owner has a node of its own.
    pub(crate) fn has_owner(&self) -> bool {
        self.key.len() > self.target_len
    }

    /// The keys of the nodes, from the top.
    pub(crate) fn nodes(&self) -> Vec<Vec<u8>> {
        let mut keys = Vec::with_capacity(4);
        keys.push(self.target().to_owned());
        if self.has_owner() {
            keys.push(self.key.clone());
        }
        keys
    }

    /// The key of the answer in a slot.
    pub(crate) fn answer(&self, slot: u8) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.key.len() + 2);
        key.extend_from_slice(&self.key);
        key.extend_from_slice(&[b'v', slot]);
        key
    }

    /// Identifies a variant in [`Removals`](crate::removals::Removals).
    pub(crate) fn variant(&self, variant: &[u8]) -> Vec<u8> {
        let mut key = self.key.clone();
        push(&mut key, b'v', variant);
        key
    }
}
