//! Nanoseconds a call.

#![expect(clippy::disallowed_types, reason = "wall-clock time is what is measured")]

use std::time::Instant;

use super::Call;

/// Many short rounds: most of them are over before the scheduler gives the core to somebody else.
const ROUNDS: usize = 401;
const CALLS: u64 = 2_000;

/// The median nanoseconds of a call, for each contender.
pub(super) fn medians(contenders: &mut [Call]) -> Vec<f64> {
    rounds(ROUNDS, contenders, |contender| {
        let begun = Instant::now();
        (0..CALLS).for_each(contender);
        begun.elapsed().as_nanos() as f64 / CALLS as f64
    })
}

/// The median of what `measure` says of each contender, in so many rounds.
pub(crate) fn rounds<C>(rounds: usize, contenders: &mut [C], measure: impl Fn(&mut C) -> f64) -> Vec<f64> {
    let mut all = vec![Vec::with_capacity(rounds); contenders.len()];
    for _ in 0..rounds {
        for (contender, figures) in contenders.iter_mut().zip(&mut all) {
            figures.push(measure(contender));
        }
    }
    all.iter_mut().map(|figures| median(figures)).collect()
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
