//! Nanoseconds a call.

#![expect(clippy::disallowed_types, reason = "wall-clock time is what is measured")]

use std::time::Instant;

use super::Call;

const ROUNDS: usize = 41;
const CALLS: u64 = 20_000;

/// The median nanoseconds of a call, for each contender.
pub(super) fn medians(contenders: &mut [Call]) -> Vec<f64> {
    rounds(contenders, |contender| {
        let begun = Instant::now();
        (0..CALLS).for_each(contender);
        begun.elapsed().as_nanos() as f64 / CALLS as f64
    })
}

/// The median of what `measure` says of each contender, in rounds.
pub(crate) fn rounds<C>(contenders: &mut [C], measure: impl Fn(&mut C) -> f64) -> Vec<f64> {
    let mut rounds = vec![Vec::with_capacity(ROUNDS); contenders.len()];
    for _ in 0..ROUNDS {
        for (contender, figures) in contenders.iter_mut().zip(&mut rounds) {
            figures.push(measure(contender));
        }
    }
    rounds.iter_mut().map(|figures| median(figures)).collect()
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
