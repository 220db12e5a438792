//! Interleaved rounds, and what is printed of them.

#![expect(clippy::disallowed_types, reason = "wall-clock time is what is measured")]

use std::{process::ExitCode, time::Instant};

/// Something that makes calls.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) call: Box<dyn FnMut(u64)>,
}

const ROUNDS: usize = 41;
const CALLS: u64 = 20_000;

/// Runs all contenders and prints the median nanoseconds of a call, what that is over the first one (the bare service), and
/// the ratio of that to the second one's (ours).
pub(crate) fn table(title: &str, contenders: &mut [Contender]) {
    let mut rounds: Vec<Vec<f64>> = contenders.iter().map(|_| Vec::with_capacity(ROUNDS)).collect();
    for round in 0..=ROUNDS {
        for (contender, times) in contenders.iter_mut().zip(&mut rounds) {
            let begun = Instant::now();
            (0..CALLS).for_each(&mut contender.call);
            // The first round warms up.
            if round > 0 {
                times.push(begun.elapsed().as_nanos() as f64 / CALLS as f64);
            }
        }
    }
    let medians: Vec<f64> = rounds.iter_mut().map(|times| median(times)).collect();
    let bare = medians.first().copied().unwrap_or_default();
    let ours = medians.get(1).copied().unwrap_or_default() - bare;
    println!("\n{title}\n{:<28} {:>9} {:>9} {:>9}", "", "ns a call", "over bare", "× ours");
    for (contender, median) in contenders.iter().zip(&medians) {
        let over = median - bare;
        println!("{:<28} {median:>9.1} {over:>9.1} {:>9.2}", contender.name, over / ours);
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Makes `calls` calls of one contender and nothing else, for a profiler that counts.
pub(crate) fn once(contenders: &mut [Contender], name: &str, calls: &str) -> ExitCode {
    let names: Vec<_> = contenders.iter().map(|contender| contender.name).collect();
    let Some(contender) = contenders.iter_mut().find(|contender| contender.name == name) else {
        eprintln!("error: NAME is {name}, allowed is: {}", names.join(", "));
        return ExitCode::from(2);
    };
    let Ok(calls) = calls.parse() else {
        eprintln!("error: CALLS is {calls}, allowed is: a whole number");
        return ExitCode::from(2);
    };
    (0..calls).for_each(&mut contender.call);
    ExitCode::SUCCESS
}
