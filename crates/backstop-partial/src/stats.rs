//! What is known of each part of an aggregate.

use std::{fmt, ptr, sync::OnceLock};

use backstop_core::{Name, name};
use backstop_kit::episode::{Current, Episodes};

use crate::metrics::PartSeries;

/// The most parts that are told apart. A program may make up names without end, and labels of metrics must not.
const MOST: usize = 64;

/// The parts of an aggregate, in the order in which they were first gathered. They are never removed, so that a page finds
/// its parts without a lock.
pub(crate) struct Stats {
    aggregate: Name,
    parts: Box<[OnceLock<PartStats>; MOST]>,
    /// All parts after the first 64.
    others: PartStats,
}

pub(crate) struct PartStats {
    pub(crate) part: Name,
    pub(crate) episodes: Episodes,
    pub(crate) series: PartSeries,
}

impl Stats {
    pub(crate) fn new(aggregate: Name) -> Self {
        let others = PartStats::new(&aggregate, name!("others"));
        Self { parts: Box::new([const { OnceLock::new() }; MOST]), others, aggregate }
    }

    /// The part `name`, which is mostly found at `index`: pages have the same parts in the same order.
    #[inline]
    pub(crate) fn of(&self, index: usize, name: &Name) -> &PartStats {
        match self.parts.get(index).and_then(OnceLock::get) {
            // Mostly one literal, which is told by its address.
            Some(stats) if ptr::eq(stats.part.as_str(), name.as_str()) || stats.part == *name => stats,
            _ => self.find(name),
        }
    }

    #[cold]
    fn find(&self, name: &Name) -> &PartStats {
        let of = |part: &'_ OnceLock<PartStats>| {
            part.get_or_init(|| PartStats::new(&self.aggregate, name.clone())).part == *name
        };
        self.parts.iter().find(|part| of(part)).and_then(OnceLock::get).unwrap_or(&self.others)
    }

    /// The running episodes, with the names of their parts.
    pub(crate) fn episodes(&self) -> impl Iterator<Item = (&Name, Current)> {
        let parts = self.parts.iter().filter_map(OnceLock::get).chain([&self.others]);
        parts.filter_map(|stats| Some((&stats.part, stats.episodes.current()?)))
    }
}

impl PartStats {
    fn new(aggregate: &Name, part: Name) -> Self {
        Self { episodes: Episodes::new(), series: PartSeries::new(aggregate, &part), part }
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.parts.iter().filter_map(OnceLock::get).map(|stats| &stats.part)).finish()
    }
}
