//! Nanoseconds a call.

#![expect(clippy::disallowed_types, reason = "wall-clock time is what is measured")]

use std::time::Instant;

use super::Caller;

/// Many short rounds: most of them are over before the scheduler gives the core to somebody else.
const ROUNDS: u64 = 401;
const CALLS: u64 = 2_000;

/// The median nanoseconds of a call, for each contender. `lead` calls go before those of each round.
pub(super) fn medians(contenders: &mut [Caller], lead: u64) -> Vec<f64> {
    rounds(ROUNDS, contenders, |contender| {
        contender.make(lead);
        let begun = Instant::now();
        contender.make(CALLS);
        begun.elapsed().as_nanos() as f64 / CALLS as f64
    })
}

/// The median of what `measure` says of each contender, in so many rounds.
pub(crate) fn rounds<C>(number: u64, contenders: &mut [C], measure: impl Fn(&mut C) -> f64) -> Vec<f64> {
    let mut rounds = vec![Vec::new(); contenders.len()];
    for _ in 0..number {
        for (contender, figures) in contenders.iter_mut().zip(&mut rounds) {
            figures.push(measure(contender));
        }
    }
    rounds.iter_mut().map(|figures| median(figures)).collect()
}

pub(crate) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
