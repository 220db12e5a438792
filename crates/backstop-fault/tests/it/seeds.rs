//! Which calls are hit.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::time::Duration;

use axum::body::Body;
use backstop_fault::{Fault, FaultRun};
use http::{HeaderName, Request};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

use crate::support::{answering, armed, get, is_hit};

fn run(fault: Fault, share: f64, seed: u64) -> FaultRun {
    FaultRun::new(fault, share, "ada", "a game day").seed(seed)
}

async fn hits(run: FaultRun, calls: usize) -> Vec<bool> {
    let layer = armed().build().unwrap();
    layer.handle().start(run).unwrap();
    let mut hits = Vec::new();
    for _ in 0..calls {
        hits.push(is_hit(&layer, get("/")).await);
    }
    hits
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_hits_the_same_calls_and_another_seed_others() {
    let first = hits(run(Fault::Error, 0.5, 7), 200).await;
    assert_eq!(first, hits(run(Fault::Error, 0.5, 7), 200).await);
    assert_ne!(first, hits(run(Fault::Error, 0.5, 8), 200).await);
    // Whatever else may be set.
    assert_eq!(first, hits(run(Fault::Error, 0.5, 7).until(Duration::from_secs(300)), 200).await);
}

#[tokio::test(start_paused = true)]
async fn a_run_without_a_seed_is_repeated_by_the_one_that_its_status_shows() {
    let layer = armed().build().unwrap();
    let handle = layer.handle();
    handle.start(FaultRun::new(Fault::Error, 0.5, "ada", "a game day")).unwrap();
    let seed = handle.status().run.unwrap().seed;
    let mut first = Vec::new();
    for _ in 0..100 {
        first.push(is_hit(&layer, get("/")).await);
    }
    assert_eq!(first, hits(run(Fault::Error, 0.5, seed), 100).await);
}

#[tokio::test(start_paused = true)]
async fn the_share_of_the_hits_is_the_share_that_was_asked_for() {
    for share in [0.001, 0.05, 0.5, 1.0] {
        let calls = 10_000;
        let hits = hits(run(Fault::Error, share, 7), calls).await.into_iter().filter(|hit| *hit).count();
        let off = hits as f64 / calls as f64 - share;
        // Five standard deviations.
        let allowed = 5.0 * (share * (1.0 - share) / calls as f64).sqrt();
        assert!(off.abs() <= allowed, "{share} is off by {off}");
    }
}

fn of(user: usize) -> Request<Body> {
    Request::get("/").header("x-user", format!("user-{user}")).body(Body::empty()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_principal_is_hit_always_or_never_by_the_seed_in_any_order() {
    let users = 2_000;
    let by_principal = |seed| run(Fault::Error, 0.2, seed).by_principal(HeaderName::from_static("x-user"));
    let mut of_seeds = Vec::new();
    for seed in [7, 7, 8] {
        let layer = armed().build().unwrap();
        layer.handle().start(by_principal(seed)).unwrap();
        let mut forwards = Vec::new();
        for user in 0..users {
            forwards.push(is_hit(&layer, of(user)).await);
        }
        for user in (0..users).rev() {
            assert_eq!(is_hit(&layer, of(user)).await, forwards[user]);
        }
        assert!(!is_hit(&layer, get("/")).await, "nobody");
        of_seeds.push(forwards);
    }
    assert!(of_seeds[0] == of_seeds[1] && of_seeds[0] != of_seeds[2]);
    let share = of_seeds[0].iter().filter(|hit| **hit).count() as f64 / users as f64;
    assert!((share - 0.2).abs() < 5.0 * (0.2 * 0.8 / users as f64).sqrt(), "{share}");
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_drawn_from_the_whole_range_and_repeated_by_the_seed() {
    let (shortest, longest) = (Duration::from_millis(100), Duration::from_millis(200));
    let mut drawn = Vec::new();
    for _ in 0..2 {
        let layer = armed().build().unwrap();
        layer.handle().start(run(Fault::Delay(shortest..=longest), 1.0, 7)).unwrap();
        let mut times = Vec::new();
        for _ in 0..200 {
            let began = Instant::now();
            layer.layer(answering()).oneshot(get("/")).await.unwrap();
            times.push(began.elapsed());
        }
        drawn.push(times);
    }
    assert_eq!(drawn[0], drawn[1]);
    // A timer fires at the next millisecond.
    let (least, most) = (*drawn[0].iter().min().unwrap(), *drawn[0].iter().max().unwrap());
    assert!((shortest..shortest + Duration::from_millis(5)).contains(&least), "{least:?}");
    assert!((longest - Duration::from_millis(5)..=longest + Duration::from_millis(1)).contains(&most), "{most:?}");
}

#[tokio::test(start_paused = true)]
async fn a_principal_of_nearly_all_calls_is_not_hit_with_more_than_the_greatest_share() {
    let mut was_hit = false;
    for seed in 0..20 {
        let layer = armed().max_share(0.2).build().unwrap();
        layer.handle().start(run(Fault::Error, 0.2, seed).by_principal(HeaderName::from_static("x-user"))).unwrap();
        let mut hits = 0_u32;
        for _ in 0..1_000 {
            hits += u32::from(is_hit(&layer, of(1)).await);
        }
        assert!(hits <= 201, "{hits}");
        was_hit |= hits > 100;
    }
    assert!(was_hit);
}
