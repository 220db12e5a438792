//! How many retries all requests together may have.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use crate::support::{BoxError, Chunks, Then, Upstream, get, ml, ms, response, text, with_method};
use axum::body::Body;
use backstop_retry::{Budget, Repeat, Retried, RetryBudget, RetryConfig, RetryLayer, StopReason};
use http::{Method, Request};
use tower::{Layer, ServiceExt};

/// A budget of so many retries, which nothing but time fills up.
fn of(retries: u32) -> RetryBudget {
    RetryBudget::builder().ratio(0.0).reserve_per_second(1).burst(retries).build().unwrap()
}

fn drawing_on(budget: &RetryBudget) -> RetryLayer {
    RetryLayer::builder("ml").backoff_base(ms(1)).backoff_cap(ms(1)).budget(budget.clone()).build().unwrap()
}

async fn status(layer: &RetryLayer, upstream: &Upstream) -> u16 {
    layer.layer(upstream.clone()).oneshot(get()).await.unwrap().status().as_u16()
}

#[tokio::test(start_paused = true)]
async fn an_empty_budget_stops_all_retries_and_the_first_request_after_time_filled_it_is_retried() {
    let (budget, upstream) = (of(3), Upstream::statuses([503]));
    let layer = drawing_on(&budget);
    for calls in [3, 5, 6] {
        assert_eq!(status(&layer, &upstream).await, 503);
        assert_eq!(upstream.calls(), calls);
    }
    tokio::time::advance(ms(1000)).await;
    for calls in [8, 9, 10] {
        status(&layer, &upstream).await;
        assert_eq!(upstream.calls(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_pay_their_share_and_retries_do_not() {
    let budget = RetryBudget::builder().ratio(0.5).reserve_per_second(0).burst(10).build().unwrap();
    let (layer, failing) = (drawing_on(&budget), Upstream::statuses([503]));
    while budget.available() > 0 {
        status(&layer, &failing).await;
    }
    let (before, well) = (failing.calls(), Upstream::statuses([200]));
    for _ in 0..8 {
        status(&layer, &well).await;
    }
    assert_eq!(budget.available(), 4);
    status(&layer, &failing).await;
    status(&layer, &failing).await;
    // 0.5 were left over, the 8 requests paid 4, and these two 1 more.
    assert_eq!((failing.calls() - before, budget.available()), (6, 1));
}

#[tokio::test(start_paused = true)]
async fn layers_share_a_budget_that_is_given_to_both_and_services_share_their_layers() {
    let (budget, upstream) = (of(4), Upstream::statuses([503]));
    let (reads, writes) = (drawing_on(&budget), drawing_on(&budget));
    status(&reads, &upstream).await;
    status(&writes, &upstream).await;
    assert_eq!((upstream.calls(), budget.available()), (6, 0));
    status(&reads.clone(), &upstream).await;
    assert_eq!(upstream.calls(), 7);
    assert_eq!(reads.handle().budget(), writes.handle().budget());
}

#[tokio::test(start_paused = true)]
async fn each_layer_has_a_budget_of_its_own_unless_told_otherwise() {
    let config = RetryConfig::new("ml");
    let [one, other] = [config.clone(), config.clone()].map(|config| RetryLayer::from_config(config).unwrap().handle());
    assert_ne!(one.budget(), other.budget());
    assert_eq!((one.name(), one.budget().unwrap().available()), (&ml(), 200));
    let mut unlimited = config;
    unlimited.budget = Budget::Unlimited;
    assert_eq!(RetryLayer::from_config(unlimited).unwrap().handle().budget(), None);
    let layer = RetryLayer::builder("ml").no_budget().backoff_base(ms(1)).backoff_cap(ms(1)).build().unwrap();
    let upstream = Upstream::statuses([503]);
    for _ in 0..200 {
        status(&layer, &upstream).await;
    }
    assert_eq!(upstream.calls(), 600);
}

#[tokio::test(start_paused = true)]
async fn only_a_retry_that_is_really_made_takes_something_out() {
    let budget = of(2);
    let layer = RetryLayer::builder("ml").max_body(10).budget(budget.clone()).build().unwrap();
    let reading = Upstream::<BoxError>::new(|_, request: Request<Body>| async {
        text(request.into_body()).await;
        Ok(response(503))
    });
    let long = Request::put("/").body(Chunks::body(["hello ", "wide ", "world"], Then::End)).unwrap();
    for request in [long, with_method(Method::POST)] {
        _ = layer.layer(reading.clone()).oneshot(request).await;
    }
    assert_eq!((reading.calls(), budget.available()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_passes_straight_through_pays_nothing() {
    let budget = RetryBudget::builder().ratio(1.0).reserve_per_second(0).burst(2).build().unwrap();
    let (layer, upstream) = (drawing_on(&budget), Upstream::statuses([503]));
    status(&layer, &upstream).await;
    let saved = budget.available();
    for _ in 0..10 {
        let mut once = get();
        once.extensions_mut().insert(Repeat::Never);
        for request in [once, with_method(Method::CONNECT)] {
            _ = layer.layer(upstream.clone()).oneshot(request).await;
        }
    }
    assert_eq!((upstream.calls(), budget.available()), (3 + 20, saved));
    _ = layer.layer(upstream).oneshot(with_method(Method::POST)).await;
    assert_eq!(budget.available(), saved + 1, "a POST could have been repeated, had it not been processed");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_a_request_that_could_not_pay_and_why_it_is_not_repeated_is_still_told() {
    let (budget, upstream) =
        (RetryBudget::builder().reserve_per_second(0).burst(1).build().unwrap(), Upstream::statuses([503]));
    let layer = drawing_on(&budget);
    let stop = async |request| {
        let response = layer.layer(upstream.clone()).oneshot(request).await.unwrap();
        response.extensions().get::<Retried>().and_then(Retried::stop)
    };
    assert_eq!(stop(get()).await, Some(StopReason::Budget), "after the one retry");
    assert_eq!(stop(get()).await, Some(StopReason::Budget));
    let post = Request::post("/").body(Body::empty()).unwrap();
    assert_eq!(stop(post).await, Some(StopReason::NotIdempotent));
    // The last one is the fifth to pay in, and draws on it.
    for calls in [5, 6, 8] {
        stop(get()).await;
        assert_eq!(upstream.calls(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_safe_by_its_key_is_retried_once_the_reserve_has_grown_too() {
    let (budget, upstream) = (of(2), Upstream::statuses([503]));
    let layer = RetryLayer::builder("ml").budget(budget).trust_idempotency_key().build().unwrap();
    let send = async || {
        let post = Request::post("/").header("idempotency-key", "\"7\"").body(Body::empty()).unwrap();
        let response = layer.layer(upstream.clone()).oneshot(post).await.unwrap();
        response.extensions().get::<Retried>().map(|retried| (retried.attempts(), retried.stop()))
    };
    assert_eq!(send().await, Some((3, Some(StopReason::MaxAttempts))));
    let budget_is_empty = Some((1, Some(StopReason::Budget)));
    // Two, since none had been refused before.
    assert_eq!([send().await, send().await], [budget_is_empty; 2]);
    tokio::time::advance(ms(10_000)).await;
    assert_eq!(send().await, Some((3, Some(StopReason::MaxAttempts))));
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_and_early_data_are_what_they_are_while_the_budget_is_empty() {
    let (budget, upstream) =
        (RetryBudget::builder().reserve_per_second(0).burst(1).build().unwrap(), Upstream::statuses([503]));
    let layer = drawing_on(&budget);
    while budget.available() > 0 {
        status(&layer, &upstream).await;
    }
    status(&layer, &upstream).await;
    let retried = async |headers: &[(&'static str, &'static str)], upstream: Upstream<_>| {
        let request = headers.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
        let request = request.body(Body::empty()).unwrap();
        let response = layer.layer(upstream).oneshot(request).await.unwrap();
        response.extensions().get::<Retried>().copied()
    };
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
    assert_eq!(retried(&upgrade, upstream.clone()).await.unwrap().stop(), Some(StopReason::Upgrade));
    let early = retried(&[("early-data", "1")], Upstream::statuses([425])).await.unwrap();
    assert_eq!(early.stop(), Some(StopReason::EarlyData));
}
