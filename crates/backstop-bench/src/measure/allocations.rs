//! Allocations a call, and bytes that are held.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};

use super::Caller;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CALLS: u64 = 10_000;

/// How many allocations a call makes. Nothing else may run meanwhile.
pub(super) fn a_call(contender: &mut Caller) -> f64 {
    let before = count(&ALLOCATOR.stats());
    contender.make(CALLS);
    (count(&ALLOCATOR.stats()) - before) as f64 / CALLS as f64
}

fn count(stats: &Stats) -> usize {
    stats.allocations + stats.reallocations
}

/// How many bytes more are allocated after `work`.
pub(crate) fn held_bytes(work: impl FnOnce()) -> usize {
    let before = live_bytes();
    work();
    live_bytes() - before
}

/// How many bytes are allocated now.
pub(crate) fn live_bytes() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}
