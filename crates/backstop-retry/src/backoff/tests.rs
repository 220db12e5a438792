use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const FAILED: Outcome = Outcome::failure();

fn full(base: Duration, cap: Duration) -> Waits {
    Waits::new(Backoff::FullJitter, base, cap)
}

/// As far as the backoff has grown after `attempts` attempts.
const fn after(attempts: u32, before: Option<Duration>) -> Grown {
    Grown { waits: attempts.saturating_sub(1), before }
}

/// The waits of one request, one after the other.
fn in_a_row(waits: &Waits, attempts: u32, seed: u64) -> Vec<Duration> {
    let jitter = Jitter::new(Some(seed));
    let mut row: Vec<Duration> = Vec::new();
    for n in 1..=attempts {
        row.push(waits.wait(n, after(n, row.last().copied()), &FAILED, &jitter));
    }
    row
}

const DAY: u64 = 24 * 60 * 60 * 1_000_000_000;

proptest! {
    #[test]
    fn a_delay_is_within_the_formulas_bounds_for_every_attempt(
        base in 1..=DAY,
        longer in 0..=DAY,
        attempts in 1..=1000_u32,
        seed: u64,
    ) {
        let cap = base.saturating_add(longer).min(DAY);
        let backoff = full(Duration::from_nanos(base), Duration::from_nanos(cap));
        let ceiling = backoff.ceiling(attempts);
        // The same formula in floating point, which has the range, and room for its rounding.
        let expected = (base as f64 * 2_f64.powi(attempts as i32 - 1)).min(cap as f64);
        prop_assert!((ceiling.as_nanos() as f64 - expected).abs() <= expected * 1e-9);
        prop_assert!(ceiling <= Duration::from_nanos(cap));
        prop_assert!(backoff.wait(attempts, after(attempts, None), &FAILED, &Jitter::new(Some(seed))) <= ceiling);
    }

    #[test]
    fn equal_jitter_is_between_half_of_the_ceiling_and_all_of_it(
        base in 1..=DAY,
        cap in 1..=DAY,
        attempts in 1..=1000_u32,
        seed: u64,
    ) {
        let [base, cap] = [base.min(cap), cap].map(Duration::from_nanos);
        let waits = Waits::new(Backoff::EqualJitter, base, cap);
        let wait = waits.wait(attempts, after(attempts, None), &FAILED, &Jitter::new(Some(seed)));
        prop_assert!(wait <= waits.ceiling(attempts) && wait * 2 >= waits.ceiling(attempts), "{wait:?}");
    }

    #[test]
    fn decorrelated_waits_are_between_the_base_and_thrice_the_one_before_up_to_the_cap(
        base in 1..=DAY,
        cap in 1..=DAY,
        seed: u64,
    ) {
        let [base, cap] = [base.min(cap), cap].map(Duration::from_nanos);
        let row = in_a_row(&Waits::new(Backoff::Decorrelated, base, cap), 1000, seed);
        let mut before = base;
        for wait in row {
            prop_assert!(base <= wait && wait <= cap.min(before * 3), "{wait:?} after {before:?}");
            before = wait;
        }
    }

    #[test]
    fn a_constant_wait_is_always_the_base(base in 1..=DAY, attempts in 1..=1000_u32, seed: u64) {
        let base = Duration::from_nanos(base);
        let waits = Waits::new(Backoff::Constant, base, Duration::from_nanos(DAY));
        prop_assert_eq!(waits.wait(attempts, after(attempts, None), &FAILED, &Jitter::new(Some(seed))), base);
    }
}

#[test]
fn decorrelated_waits_grow_and_differ_from_request_to_request() {
    let waits = Waits::new(Backoff::Decorrelated, Duration::from_millis(100), Duration::from_secs(10));
    let longest = (0..500).flat_map(|seed| in_a_row(&waits, 10, seed)).max();
    assert_eq!(longest, Some(Duration::from_secs(10)));
    let firsts: HashSet<_> = (0..100).map(|seed| in_a_row(&waits, 1, seed)).collect();
    assert!(firsts.len() > 90);
    assert!(firsts.iter().flatten().all(|wait| (100..=300).contains(&wait.as_millis())));
}

#[test]
fn a_closure_gets_the_attempt_and_the_outcome_and_is_taken_at_its_word() {
    let closure = BackoffFn::new(
        |attempts, outcome: &Outcome| {
            if outcome.unprocessed { Duration::ZERO } else { Duration::from_secs(60) * attempts }
        },
    );
    let waits = Waits::new(Backoff::Custom(closure), Duration::from_secs(1), Duration::from_secs(2));
    let wait = |outcome| waits.wait(3, after(3, None), &outcome, &Jitter::new(None));
    assert_eq!(wait(FAILED.unprocessed()), Duration::ZERO);
    assert_eq!(wait(FAILED), Duration::from_secs(180));
}

#[test]
fn no_backoff_overflows_at_any_attempt_or_length() {
    for backoff in [Backoff::FullJitter, Backoff::EqualJitter, Backoff::Decorrelated, Backoff::Constant] {
        let waits = Waits::new(backoff, Duration::MAX, Duration::MAX);
        for attempts in [0, 1, 40, 64, 65, 1000, u32::MAX] {
            _ = waits.wait(attempts, after(attempts, Some(Duration::MAX)), &FAILED, &Jitter::new(None));
        }
    }
}

#[test]
fn the_ceiling_doubles_from_the_base_to_the_cap() {
    let backoff = full(Duration::from_millis(100), Duration::from_secs(10));
    let ceilings: Vec<_> = (1..=9).map(|attempts| backoff.ceiling(attempts).as_millis()).collect();
    assert_eq!(ceilings, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
}

#[test]
fn nothing_overflows_at_any_attempt_or_length() {
    for attempts in [0, 1, 40, 64, 65, 1000, u32::MAX] {
        let longest = full(Duration::MAX, Duration::MAX);
        assert!(longest.ceiling(attempts) >= Duration::from_secs(500 * 365 * 24 * 60 * 60));
        let shortest = full(Duration::from_nanos(1), Duration::from_secs(1));
        assert!(shortest.ceiling(attempts) <= Duration::from_secs(1));
    }
}

#[test]
fn jitter_of_whole_seconds_is_not_truncated_to_whole_seconds() {
    let backoff = full(Duration::from_secs(1), Duration::from_secs(1));
    let jitter = Jitter::new(Some(7));
    let delays: HashSet<_> = (0..100).map(|_| backoff.wait(1, after(1, None), &FAILED, &jitter)).collect();
    assert!(delays.len() > 90, "{} different delays of 100", delays.len());
    assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(1)));
}

#[test]
fn jitter_fills_its_range_evenly() {
    let backoff = full(Duration::from_secs(1), Duration::from_secs(1));
    let jitter = Jitter::new(Some(0));
    let mut tenths = [0; 10];
    for _ in 0..10_000 {
        tenths[(backoff.wait(1, after(1, None), &FAILED, &jitter).as_millis() / 100).min(9) as usize] += 1;
    }
    assert!(tenths.iter().all(|count| (800..1200).contains(count)), "{tenths:?}");
}

#[test]
fn two_layers_do_not_draw_the_same_jitter_unless_they_are_seeded_alike() {
    let backoff = full(Duration::from_secs(1), Duration::from_secs(1));
    let draws = |seed| {
        let jitter = Jitter::new(seed);
        [1, 2, 3].map(|attempts| backoff.wait(attempts, after(attempts, None), &FAILED, &jitter))
    };
    assert_eq!(draws(Some(1)), draws(Some(1)));
    assert_ne!(draws(Some(1)), draws(Some(2)));
    assert_ne!(draws(None), draws(None));
}
