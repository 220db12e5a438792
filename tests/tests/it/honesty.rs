//! No degraded answer leaves unlabelled, mislabelled, or cacheable as if it were fresh: over random stacks of layers, faults,
//! upstreams' own headers, and orders of layers.
//!
//! Each piece of a body is a tag, and the [`Oracle`] knows where each came from: who made it, when, and how good it was. It
//! compares that with what the headers say. It knows nothing of the layers between.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a helper of a test may fail it")]

mod draw;
mod oracle;

use std::{cell::Cell, time::Duration};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tokio::time::sleep;
use tower::ServiceExt;

use draw::Draw;
use oracle::Oracle;

/// Times between requests, in milliseconds.
const PAUSES: [u64; 6] = [0, 400, 5_000, 61_000, 300_000, 7_200_000];

/// The requests to a stack that is drawn from `bytes`, after these pauses: what is wrong with an answer.
fn judge(depth: u8, bytes: Vec<u8>, pauses: &[usize]) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let oracle = Oracle::default();
        let mut draw = Draw::new(bytes, oracle.clone());
        let stack = draw.edge(depth);
        for pause in pauses {
            sleep(Duration::from_millis(PAUSES[*pause])).await;
            oracle.begin();
            let answer = stack.service.clone().oneshot(draw::get()).await;
            if let Err(lie) = oracle.judge(answer, &stack).await {
                return Err(format!("{lie}\nstack: {}", draw.shown));
            }
        }
        Ok(())
    })
}

/// A case takes half a millisecond, so there are ten times as many as of other properties.
///
/// Not by the macro `proptest!`: the variable `PROPTEST_CASES` would replace the number.
#[test]
fn no_degraded_answer_is_unlabelled_mislabelled_or_wrongly_cacheable() {
    let usual = Config::default();
    let cases = usual.cases.saturating_mul(10);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..usual });
    let bytes = prop::collection::vec(any::<u8>(), 0..96);
    let pauses = prop::collection::vec(0..PAUSES.len(), 1..6);
    let ran = Cell::new(0);
    let failed = runner.run(&(0u8..6, bytes, pauses), |(depth, bytes, pauses)| {
        ran.set(ran.get() + 1);
        judge(depth, bytes, &pauses).map_err(TestCaseError::fail)
    });
    if let Err(error) = failed {
        panic!("{error}");
    }
    assert_eq!(ran.get(), cases);
}
