//! The results of the last T, in 16 buckets of T/16 each, so that the costs of a call and of the sum don't grow with the number
//! of calls.
//!
//! A bucket is one word: its tick (the number of its sixteenth), and how many of its calls counted against the service and how
//! many didn't. If its tick has left the window, the next call that needs the bucket clears it, so no task has to run.
//!
//! The window is the current tick and the fifteen before it. So a result counts for at least 15/16 of T, and at most for T.
//!
//! # Threads
//!
//! Healthy calls add, too. If all threads added to the same word, they would wait for one another's cache line. So each thread
//! has its own stripe of buckets, and only a failure sums up all stripes.
//!
//! # Generations
//!
//! Every generation advances the ticks by four windows. So what an older generation counted, or adds later, is outside the
//! window, as if that much time had passed. A reset costs nothing. All of this works as long as the clocks of two threads
//! differ by less than a window.
//!
//! # No lost trip
//!
//! Two failures that end at the same time may be added to different buckets. Each first adds, then sums. At least one of them
//! must see the other, or a trip could be lost. That requires a fence between adding and summing. Their ticks may differ, too,
//! so the sum includes ticks ahead of its own.

use super::{
    Nanos,
    packed_state::Generation,
    sync::{AtomicU64, Ordering, fence, thread_number},
};

/// The number of buckets in a window, a power of two. Fewer under the model checker, which tries all orders of reading them.
pub(super) const BUCKETS: u32 = if cfg!(backstop_loom) { 2 } else { 16 };

/// How far a generation advances the ticks. Multiplied by the number of generations, it is the number of ticks, so that both
/// wrap together. It is so far that a thread whose clock is ahead doesn't reach the next generation's ticks.
const JUMP: u32 = 4 * 16;

/// The most calls of each kind that a bucket can count. At that number, both are halved, which keeps the share.
const MOST: u64 = u16::MAX as u64;

#[derive(Debug)]
pub(super) struct Buckets {
    /// Their number is a power of two.
    stripes: Box<[Stripe]>,
    /// How long a bucket lasts.
    tick: Nanos,
}

/// Aligned, so that each stripe has its own cache lines.
#[derive(Debug)]
#[repr(align(64))]
struct Stripe([AtomicU64; BUCKETS as usize]);

impl Buckets {
    /// For results of `generation` and later ones.
    pub(super) fn new(window: Nanos, stripes: usize, generation: Generation) -> Self {
        // A tick outside of every window.
        let empty = u64::from(generation.bits().wrapping_mul(JUMP)) << 32;
        let stripe = |_| Stripe(std::array::from_fn(|_| AtomicU64::new(empty)));
        Self { stripes: (0..stripes.next_power_of_two()).map(stripe).collect(), tick: tick(window) }
    }

    pub(super) fn are_of(&self, window: Nanos) -> bool {
        self.tick == tick(window)
    }

    /// Adds a result. `counts` is whether it counts against the service.
    pub(super) fn add(&self, generation: Generation, now: Nanos, counts: bool) {
        let tick = self.tick_at(generation, now);
        let stripe = self.stripes.get(thread_number() & (self.stripes.len() - 1));
        let Some(bucket) = stripe.and_then(|stripe| stripe.0.get((tick % BUCKETS) as usize)) else {
            return;
        };
        let mut seen = bucket.load(Ordering::Relaxed);
        loop {
            let ahead = tick_of(seen).wrapping_sub(tick);
            let counted = match ahead {
                0 => seen,
                // The bucket is of a later window: this result is of an older generation, or its thread was delayed.
                1..=0x7FFF_FFFF => return,
                _ => u64::from(tick) << 32,
            };
            match bucket.compare_exchange_weak(seen, plus(counted, counts), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
    }

    /// How many results count against the service, and how many there are in all. If two threads each add a result and then
    /// call this, at least one sees the other's result.
    pub(super) fn sum(&self, generation: Generation, now: Nanos) -> (u32, u32) {
        fence(Ordering::SeqCst);
        let tick = self.tick_at(generation, now);
        let buckets = self.stripes.iter().flat_map(|stripe| &stripe.0);
        let words = buckets.map(|bucket| bucket.load(Ordering::Acquire));
        // Ticks less than a window before or ahead.
        let near = words.filter(|word| tick_of(*word).wrapping_sub(tick).wrapping_add(BUCKETS - 1) < 2 * BUCKETS - 1);
        near.fold((0, 0), |(counting, all), word| (counting + part(word, 16), all + part(word, 16) + part(word, 0)))
    }

    fn tick_at(&self, generation: Generation, now: Nanos) -> u32 {
        // Wraps after 2³² ticks, which is 8 years for the shortest window.
        let ticks = (now / self.tick) as u32;
        ticks.wrapping_add(generation.bits().wrapping_add(1).wrapping_mul(JUMP))
    }
}

/// The length of a bucket, rounded up.
fn tick(window: Nanos) -> Nanos {
    window.div_ceil(BUCKETS.into()).max(1)
}

const fn tick_of(word: u64) -> u32 {
    (word >> 32) as u32
}

const fn part(word: u64, shift: u32) -> u32 {
    (word >> shift & MOST) as u32
}

const fn plus(word: u64, counts: bool) -> u64 {
    let shift = if counts { 16 } else { 0 };
    let word = if part(word, shift) as u64 == MOST {
        let (counting, others) = (part(word, 16) as u64 / 2, part(word, 0) as u64 / 2);
        word >> 32 << 32 | counting << 16 | others
    } else {
        word
    };
    word + (1 << shift)
}

#[cfg(all(test, not(backstop_loom)))]
mod tests {
    use super::*;

    const WINDOW: Nanos = 16_000;
    const SECOND: Generation = Generation::FIRST.next();

    #[test]
    fn a_result_leaves_after_the_window() {
        let buckets = Buckets::new(WINDOW, 1, Generation::FIRST);
        buckets.add(Generation::FIRST, 500, true);
        buckets.add(Generation::FIRST, 1_500, false);
        assert_eq!(buckets.sum(Generation::FIRST, 15_999), (1, 2));
        assert_eq!(buckets.sum(Generation::FIRST, 16_000), (0, 1));
        assert_eq!(buckets.sum(Generation::FIRST, 17_000), (0, 0));
        buckets.add(Generation::FIRST, 16_500, false);
        assert_eq!(buckets.sum(Generation::FIRST, 16_500), (0, 2));
    }

    #[test]
    fn every_threads_results_are_in_the_sum() {
        let buckets = Buckets::new(WINDOW, 3, Generation::FIRST);
        assert_eq!(buckets.stripes.len(), 4);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let buckets = &buckets;
                scope.spawn(move || (0..100).for_each(|_| buckets.add(Generation::FIRST, 0, thread % 2 == 0)));
            }
        });
        assert_eq!(buckets.sum(Generation::FIRST, 0), (400, 800));
    }

    #[test]
    fn generations_do_not_see_one_another() {
        let buckets = Buckets::new(WINDOW, 1, Generation::FIRST);
        buckets.add(Generation::FIRST, 0, true);
        assert_eq!(buckets.sum(SECOND, 0), (0, 0));
        buckets.add(SECOND, 0, true);
        // A late one of the first, whose clock even runs ahead.
        for now in 0..32 {
            buckets.add(Generation::FIRST, now * 500, true);
            assert_eq!(buckets.sum(SECOND, 0), (1, 1));
        }
        let last = Generation::from_bits(u32::MAX);
        let buckets = Buckets::new(WINDOW, 1, last);
        buckets.add(last, 0, true);
        assert_eq!(buckets.sum(last.next(), 0), (0, 0));
    }

    #[test]
    fn a_full_bucket_keeps_its_share() {
        let buckets = Buckets::new(WINDOW, 1, Generation::FIRST);
        for call in 0..1_000_000 {
            buckets.add(Generation::FIRST, 0, call % 4 == 0);
        }
        let (failed, calls) = buckets.sum(Generation::FIRST, 0);
        let share = f64::from(failed) / f64::from(calls);
        assert!((0.249..0.251).contains(&share), "{share}");
    }
}
