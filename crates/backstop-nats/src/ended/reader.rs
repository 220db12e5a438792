//! Reads the stream of a list.

use backstop_deferred::{StoreError, store::List};
use futures_util::future::try_join_all;

use super::Copy;
use crate::{jetstream::StreamMessage, streams::Streams};

/// How many messages are read at once.
const AT_ONCE: u64 = 64;
/// How many messages behind one that isn't due are looked at.
const PROBES: u64 = 32;

pub(super) struct Reader<'a> {
    pub(super) streams: &'a Streams,
    pub(super) list: List,
}

impl Reader<'_> {
    /// The first message from this sequence number on.
    pub(super) async fn next(&self, sequence: u64) -> Result<Option<StreamMessage>, StoreError> {
        let Self { streams, list } = self;
        streams.jetstream.next(&streams.ended(*list), sequence, &streams.ended_subjects(*list)).await
    }

    async fn at(&self, sequence: u64) -> Result<Option<StreamMessage>, StoreError> {
        self.streams.jetstream.at(&self.streams.ended(self.list), sequence).await
    }

    /// The records from this sequence number on that are due, until one isn't or `limit` are found.
    pub(super) async fn read(
        &self,
        mut from: u64,
        limit: usize,
        is_due: impl Fn(u64) -> bool,
    ) -> Result<Vec<Copy>, StoreError> {
        let mut copies = Vec::new();
        while copies.len() < limit
            // Leaps over what was removed.
            && let Some(first) = self.next(from).await?
        {
            let next = first.sequence + 1;
            from = next + AT_ONCE.min(limit as u64);
            let others = try_join_all((next..from).map(|sequence| self.at(sequence))).await?;
            // What this version can't read is left alone.
            for copy in [Some(first)].into_iter().chain(others).flatten().filter_map(Copy::read) {
                if !is_due(copy.due) {
                    copies.truncate(limit);
                    return Ok(copies);
                }
                copies.push(copy);
            }
        }
        copies.truncate(limit);
        Ok(copies)
    }

    /// The sequence number from which on records are due behind some that aren't, as far as some that are looked at show it. The more
    /// there are, the surer they are found: all that are left are fewer than a 32nd.
    pub(super) async fn first_due_behind(&self, is_due: impl Fn(u64) -> bool) -> Result<Option<u64>, StoreError> {
        let Some((first, last)) = self.streams.range(&self.streams.ended(self.list)).await? else { return Ok(None) };
        let is_due = async |sequence| {
            let copy = self.next(sequence).await?.and_then(Copy::read);
            Ok::<_, StoreError>(copy.is_some_and(|copy| is_due(copy.due)))
        };
        let step = ((last - first) / PROBES).max(1);
        let probes: Vec<_> = (first..=last).step_by(usize::try_from(step)?).collect();
        let found = try_join_all(probes.iter().map(|sequence| is_due(*sequence))).await?;
        let Some(index) = found.iter().position(|is_due| *is_due) else { return Ok(None) };
        // Between the last one that isn't due and the first that is.
        let (mut before, mut from) = (index.checked_sub(1).map_or(first, |before| probes[before]), probes[index]);
        while before + 1 < from {
            let middle = before + (from - before) / 2;
            if is_due(middle).await? { from = middle } else { before = middle }
        }
        Ok(Some(from))
    }
}
