//! A dependency that fails for a minute under 1,000 clients: what the table in the docs of `RetryBudget` shows.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{get, ms, response};
use backstop_retry::{RetryBuilder, RetryLayer};
use tokio::{task::JoinSet, time::Instant};
use tower::{Layer, ServiceExt, service_fn};

const CLIENTS: u64 = 1000;
const FAILS: Range<usize> = 10..70;
const ENDS: usize = 80;

/// The calls of the dependency in each second. Each client sends a request a second, whatever became of the one before,
/// through one of the layers, which have equally many of them.
async fn calls_a_second(layers: &[RetryLayer]) -> Vec<u32> {
    let begun = Instant::now();
    let calls = Arc::new(Mutex::new(vec![0_u32; ENDS + 2]));
    let mut clients = JoinSet::new();
    for (client, layer) in (0..CLIENTS).zip(layers.iter().cycle()) {
        let counted = Arc::clone(&calls);
        let service = layer.layer(service_fn(move |_| {
            let second = begun.elapsed().as_secs() as usize;
            counted.lock().unwrap()[second] += 1;
            async move { Ok::<_, Infallible>(response(if FAILS.contains(&second) { 503 } else { 200 })) }
        }));
        clients.spawn(async move {
            for second in 0..ENDS {
                tokio::time::sleep_until(begun + Duration::from_secs(second as u64) + ms(client)).await;
                service.clone().oneshot(get()).await.unwrap();
            }
        });
    }
    clients.join_all().await;
    calls.lock().unwrap().clone()
}

fn builder() -> RetryBuilder {
    RetryLayer::builder("ml").seed(4)
}

fn sum(calls: &[u32]) -> u32 {
    calls.iter().sum()
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_no_storm_where_there_is_a_budget() {
    let demand = CLIENTS as u32;
    let layer = builder().build().unwrap();
    let calls = calls_a_second(std::slice::from_ref(&layer)).await;
    assert!(calls[..FAILS.start].iter().chain(&calls[FAILS.end + 1..ENDS]).all(|n| *n == demand), "{calls:?}");

    let failing = &calls[FAILS];
    let minutes_bound = 60 * (demand + demand / 5 + 10) + 200;
    assert!(sum(failing) <= minutes_bound, "{} of {minutes_bound}: {calls:?}", sum(failing));
    assert!(sum(failing).abs_diff(72_786) <= 20, "{}: as the table says: {calls:?}", sum(failing));
    // What was saved is gone by then. A retry is made up to 0.1 s after it was paid for, or 0.2 s.
    assert!(failing[10..].iter().all(|n| n.abs_diff(1210) <= 30), "{calls:?}");
    assert!(failing.iter().all(|n| *n <= 1410) && failing.iter().any(|n| *n >= 1390), "{calls:?}");
    assert_eq!(layer.handle().budget().unwrap().available(), 200);
}

#[tokio::test(start_paused = true)]
async fn each_budget_adds_its_reserve_and_its_burst_however_the_waits_are_drawn() {
    let demand = CLIENTS as u32;
    for seed in 0..3 {
        for budgets in [1, 10] {
            let own = |nth: u32| builder().seed(seed * 100 + u64::from(nth)).build().unwrap();
            let layers: Vec<_> = (0..budgets).map(own).collect();
            let calls = calls_a_second(&layers).await;
            let failing = &calls[FAILS];
            let bound = 60 * (demand + demand / 5 + budgets * 10) + budgets * 200;
            assert!(sum(failing) <= bound, "{} of {bound}: {calls:?}", sum(failing));
            assert!(sum(failing) > bound - bound / 100, "{}: nothing is withheld of {bound}", sum(failing));
            if budgets > 1 {
                assert!(sum(failing).abs_diff(79_990) <= 20, "{}: as the table says: {calls:?}", sum(failing));
                assert!(failing.iter().all(|n| *n <= 2880) && failing.iter().any(|n| *n >= 2720), "{calls:?}");
            }
            // What was saved is gone by then.
            assert!(failing[10..].iter().all(|n| n.abs_diff(1200 + budgets * 10) <= 40), "{calls:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_an_outage_is_a_storm() {
    let calls = calls_a_second(&[builder().no_budget().build().unwrap()]).await;
    let failing = &calls[FAILS];
    assert!(sum(failing).abs_diff(179_800) <= 20, "{}: as the table says: {calls:?}", sum(failing));
    assert!(failing[1..].iter().all(|n| n.abs_diff(3000) <= 60), "{calls:?}");
}
