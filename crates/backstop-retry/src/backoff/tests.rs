use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

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
        let backoff = Backoff::exponential(Duration::from_nanos(base), Duration::from_nanos(cap));
        let ceiling = backoff.ceiling(attempts);
        // The same formula in floating point, which has the range, and room for its rounding.
        let expected = (base as f64 * 2_f64.powi(attempts as i32 - 1)).min(cap as f64);
        prop_assert!((ceiling.as_nanos() as f64 - expected).abs() <= expected * 1e-9);
        prop_assert!(ceiling <= Duration::from_nanos(cap));
        prop_assert!(backoff.delay(attempts, &Jitter::new(Some(seed))) <= ceiling);
    }
}

#[test]
fn the_ceiling_doubles_from_the_base_to_the_cap() {
    let backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(10));
    let ceilings: Vec<_> = (1..=9).map(|attempts| backoff.ceiling(attempts).as_millis()).collect();
    assert_eq!(ceilings, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
}

#[test]
fn nothing_overflows_at_any_attempt_or_length() {
    for attempts in [0, 1, 40, 64, 65, 1000, u32::MAX] {
        let longest = Backoff::exponential(Duration::MAX, Duration::MAX);
        assert!(longest.ceiling(attempts) >= Duration::from_secs(500 * 365 * 24 * 60 * 60));
        let shortest = Backoff::exponential(Duration::from_nanos(1), Duration::from_secs(1));
        assert!(shortest.ceiling(attempts) <= Duration::from_secs(1));
    }
}

#[test]
fn jitter_of_whole_seconds_is_not_truncated_to_whole_seconds() {
    let backoff = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(1));
    let jitter = Jitter::new(Some(7));
    let delays: HashSet<_> = (0..100).map(|_| backoff.delay(1, &jitter)).collect();
    assert!(delays.len() > 90, "{} different delays of 100", delays.len());
    assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(1)));
}

#[test]
fn jitter_fills_its_range_evenly() {
    let backoff = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(1));
    let jitter = Jitter::new(Some(0));
    let mut tenths = [0; 10];
    for _ in 0..10_000 {
        tenths[(backoff.delay(1, &jitter).as_millis() / 100).min(9) as usize] += 1;
    }
    assert!(tenths.iter().all(|count| (800..1200).contains(count)), "{tenths:?}");
}

#[test]
fn two_layers_do_not_draw_the_same_jitter_unless_they_are_seeded_alike() {
    let backoff = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(1));
    let draws = |seed| {
        let jitter = Jitter::new(seed);
        [1, 2, 3].map(|attempts| backoff.delay(attempts, &jitter))
    };
    assert_eq!(draws(Some(1)), draws(Some(1)));
    assert_ne!(draws(Some(1)), draws(Some(2)));
    assert_ne!(draws(None), draws(None));
}
