//! No degraded answer leaves unlabelled, mislabelled, or cacheable as if it were fresh: over random stacks of layers, faults,
//! upstreams' own headers, and orders of layers.
//!
//! Each piece of a body is a tag, and the [`Oracle`] knows where each came from: who made it, when, and how good it was. It
//! compares that with what the headers say. It knows nothing of the layers between.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

mod draw;
mod oracle;

use std::time::Duration;

use proptest::{prelude::*, test_runner::Config};
use tokio::time::sleep;
use tower::ServiceExt;

use draw::Draw;
use oracle::Oracle;

/// Times between requests, in milliseconds.
const PAUSES: [u64; 6] = [0, 400, 5_000, 61_000, 300_000, 7_200_000];

/// A case takes half a millisecond, so there are more than of other properties.
fn cases() -> Config {
    let usual = Config::default();
    Config { cases: usual.cases.saturating_mul(10), ..usual }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_degraded_answer_is_unlabelled_mislabelled_or_wrongly_cacheable(
        depth in 0u8..6,
        bytes in prop::collection::vec(any::<u8>(), 0..96),
        pauses in prop::collection::vec(0..PAUSES.len(), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let shown = runtime.block_on(async {
            let oracle = Oracle::default();
            let mut draw = Draw::new(bytes, oracle.clone());
            let stack = draw.edge(depth);
            for pause in pauses {
                sleep(Duration::from_millis(PAUSES[pause])).await;
                oracle.begin();
                let answer = stack.service.clone().oneshot(draw::get()).await;
                if let Err(lie) = oracle.judge(answer, &stack).await {
                    return Err(format!("{lie}\nstack: {}", draw.shown));
                }
            }
            Ok(())
        });
        if let Err(lie) = shown {
            prop_assert!(false, "{lie}");
        }
    }
}
