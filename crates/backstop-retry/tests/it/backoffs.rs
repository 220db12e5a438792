//! The waits between attempts, by each formula.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use crate::support::{Upstream, get, ms};
use backstop_retry::{Backoff, RetryBuilder, RetryLayer};
use tower::{Layer, ServiceExt};

fn builder() -> RetryBuilder {
    RetryLayer::builder("ml")
}

#[tokio::test(start_paused = true)]
async fn every_backoff_waits_as_its_formula_says() {
    let gaps = async |builder: RetryBuilder| {
        let upstream = Upstream::statuses([503]);
        let builder = builder.max_attempts(5).backoff_base(ms(100)).backoff_cap(ms(400));
        _ = builder.build().unwrap().layer(upstream.clone()).oneshot(get()).await;
        upstream.gaps().into_iter().map(|gap| gap.as_millis()).collect::<Vec<_>>()
    };
    assert_eq!(gaps(builder().backoff(Backoff::Constant)).await, [100; 4]);
    assert_eq!(gaps(builder().backoff_fn(|attempts, _| ms(1000) * attempts)).await, [1000, 2000, 3000, 4000]);
    for seed in 0..20 {
        // A timer fires at the next whole millisecond.
        let equal = gaps(builder().seed(seed).backoff(Backoff::EqualJitter)).await;
        assert!(equal.iter().zip([100, 200, 400, 400]).all(|(gap, c)| (c / 2..=c + 1).contains(gap)), "{equal:?}");
        let decorrelated = gaps(builder().seed(seed).backoff(Backoff::Decorrelated)).await;
        assert!((100..=301).contains(&decorrelated[0]), "{decorrelated:?}");
        let thrice = decorrelated.windows(2).all(|pair| (100..=401.min(3 * pair[0] + 1)).contains(&pair[1]));
        assert!(thrice, "{decorrelated:?}");
    }
}
