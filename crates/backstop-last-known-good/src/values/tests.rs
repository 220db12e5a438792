use std::time::Duration;

use backstop_core::{Freshness, name};
use tokio::time::advance;

use super::*;
use crate::age::machine;

/// The age of the value of `a`.
fn age(values: &LastKnownValues<&'static str, u32>) -> Option<u64> {
    let known = values.get("a")?;
    known.freshness().and_then(Freshness::age).map(|age| age.as_secs())
}

#[tokio::test(start_paused = true)]
async fn the_time_that_the_machine_sleeps_counts_into_the_age() {
    let values = LastKnownValues::new(name!("values"));
    values.remember("a", 1);
    machine::sleep(Duration::from_secs(3600));
    assert_eq!(age(&values), Some(3600));
    advance(Duration::from_secs(60)).await;
    assert_eq!(age(&values), Some(3660));
    values.remember("a", 2);
    assert_eq!(age(&values), Some(0), "what is remembered after it has the age from then on");
    machine::sleep(Duration::from_secs(25 * 60 * 60));
    assert_eq!(age(&values), None, "older than `max_stale`");
}

#[tokio::test(start_paused = true)]
async fn a_call_during_which_the_machine_sleeps_gives_an_old_value() {
    let values = LastKnownValues::new(name!("values"));
    let call = values.remember_result("a", async { Ok::<_, ()>(1) });
    machine::sleep(Duration::from_secs(3600));
    assert_eq!(call.await, Ok(1));
    assert_eq!(age(&values), Some(3600));
}
