//! A fleet of 1,000 instances that share a store, in simulated time.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use backstop_features::{Cause, DegradeOnErrors, FeatureState, Features, MemoryStore};
use tokio::time::sleep;

use crate::common::{SEARCH, fail, secs, succeed};

const INSTANCES: usize = 1_000;
/// Of each instance, in a second.
const CALLS: u32 = 40;
const ALL: u32 = CALLS * INSTANCES as u32;
const HALF_A_MINUTE: std::time::Duration = secs(30);

struct Fleet(Vec<Features>);

impl Fleet {
    /// All drivers run.
    #[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
    fn start() -> Self {
        let store = MemoryStore::new();
        let start = |_| {
            // Half a minute, so that the simulation doesn't take long.
            let declaration = SEARCH.standard().degrade_on_errors(DegradeOnErrors::new().time(HALF_A_MINUTE));
            let features = Features::builder().declare(declaration).counts(store.clone()).build().unwrap();
            tokio::spawn(features.run());
            features
        };
        Self((0..INSTANCES).map(start).collect())
    }

    /// Each instance gets `calls`, and makes those that its feature admits; `fails` says which of them fail. Returns how many
    /// were made, and how many failed.
    async fn second(&self, calls: u32, mut fails: impl FnMut(usize) -> bool) -> (u32, u32) {
        let (mut made, mut failed) = (0, 0);
        for (i, features) in self.0.iter().enumerate() {
            for _ in 0..calls {
                if features.is_enabled(&SEARCH) {
                    made += 1;
                    if fails(i) {
                        failed += 1;
                        fail(features, &SEARCH, 1);
                    } else {
                        succeed(features, &SEARCH, 1);
                    }
                }
            }
        }
        sleep(secs(1)).await;
        (made, failed)
    }

    fn degraded(&self) -> usize {
        let by_errors =
            |features: &&Features| features.handle().get(&SEARCH).is_some_and(|it| it.cause == Cause::Errors);
        self.0.iter().filter(by_errors).count()
    }
}

#[tokio::test(start_paused = true)]
async fn one_bad_instance_degrades_alone() {
    let fleet = Fleet::start();
    for _ in 0..20 {
        fleet.second(2, |i| i == 7).await;
    }
    assert_eq!(fleet.degraded(), 1);
    assert_eq!(fleet.0[7].handle().get(&SEARCH).unwrap().state, FeatureState::Degraded);
}

#[tokio::test(start_paused = true)]
async fn five_errors_in_all_of_many_calls_degrade_nobody() {
    let fleet = Fleet::start();
    let mut left = 5;
    for _ in 0..20 {
        fleet
            .second(1, |i| {
                let fails = i % 100 == 0 && left > 0;
                left -= i32::from(fails);
                fails
            })
            .await;
    }
    assert_eq!(left, 0);
    assert_eq!(fleet.degraded(), 0);
}

#[tokio::test(start_paused = true)]
async fn six_percent_degrade_all_and_they_return_in_steps() {
    let fleet = Fleet::start();
    let random = backstop_kit::Jitter::new(Some(7));
    let mut six_percent = |_| random.number(0..100) < 6;
    let mut seconds = 0;
    while fleet.degraded() < INSTANCES {
        fleet.second(CALLS, &mut six_percent).await;
        seconds += 1;
        assert!(seconds < 20, "{} of {INSTANCES} are degraded", fleet.degraded());
    }

    // The dependency recovers slowly: it can take little more than it was just given.
    let (mut capacity, mut made_each_second) = (0.03 * f64::from(ALL), Vec::new());
    for _ in 0..120 {
        let mut this_second = 0.0;
        let is_overloaded = |_| {
            this_second += 1.0;
            this_second > capacity
        };
        let (made, failed) = fleet.second(CALLS, is_overloaded).await;
        assert_eq!(failed, 0, "a second outage, at {made} calls a second");
        capacity = capacity.max(6.0 * f64::from(made));
        made_each_second.push(made);
    }
    assert_eq!(fleet.degraded(), 0);
    let most = made_each_second[..20].iter().max().unwrap();
    assert!(*most < 200, "only probes, but {most} in a second");
    assert_eq!(made_each_second.last(), Some(&ALL), "all is on again");
}
