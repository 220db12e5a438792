//! Settings that change while requests run.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{convert::Infallible, future::pending, time::Duration};

use axum::response::Response;
use backstop_core::{Inspect, Reason, Value, name};
use backstop_fallback::{FallbackChain, FallbackConfig, FallbackLayer, Provider, ProviderConfig};
use backstop_kit::KeepReplaced;
use backstop_test::{Scripted, Step};
use tokio::time::Instant;
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Layer, ServiceExt};

use crate::common::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn config(change: impl FnOnce(&mut FallbackConfig)) -> FallbackConfig {
    let mut config = FallbackConfig::new("chain");
    change(&mut config);
    config
}

/// A configuration with settings of the provider `hung`.
fn hung_with(change: impl FnOnce(&mut ProviderConfig)) -> FallbackConfig {
    config(|config| change(config.providers.entry("hung".to_owned()).or_default()))
}

/// A provider that never answers, before one that does, for requests and answers of any type.
fn hung_then<Q: 'static, T: Send + 'static>(
    change: impl FnOnce(Provider<Q, T>) -> Provider<Q, T>,
    last: Provider<Q, T>,
) -> FallbackChain<Q, T> {
    let hung = change(Provider::value(name!("hung"), pending::<T>));
    FallbackChain::builder("chain").total(TOTAL).provider(hung).provider(last).build().unwrap()
}

/// The same in a handler.
fn in_handler(change: impl FnOnce(Provider<(), u8>) -> Provider<(), u8>) -> FallbackChain<(), u8> {
    hung_then(change, Provider::value(name!("static"), || async { 7 }))
}

/// How long a chain takes to answer, in a handler.
async fn time_of(chain: &FallbackChain<(), u8>) -> Duration {
    let start = Instant::now();
    assert_eq!(chain.execute(()).await.unwrap().source, "static");
    start.elapsed()
}

/// How long a layer takes to answer if its primary hangs.
async fn time_behind(layer: &FallbackLayer<Req, Response>) -> Duration {
    let start = Instant::now();
    let primary = Scripted::<_, _, Infallible>::steps([Step::hang()]);
    assert_eq!(text(layer.layer(primary).oneshot(get()).await.unwrap()).await, "static");
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn every_time_of_a_chain_can_be_reloaded_and_what_is_left_out_is_as_the_code_has_it() {
    let chain = in_handler(|hung| hung.timeout(ms(300)));
    let handle = chain.handle();
    assert_eq!(time_of(&chain).await, ms(300));
    handle.reload(hung_with(|hung| hung.timeout = Some(ms(100)))).unwrap();
    assert_eq!(time_of(&chain).await, ms(100));
    // A half of it.
    handle.reload(config(|config| config.total = Some(ms(400)))).unwrap();
    assert_eq!(time_of(&chain).await, ms(200));
    handle.reload(config(|_| ())).unwrap();
    assert_eq!((time_of(&chain).await, handle.total()), (ms(300), TOTAL));
}

#[tokio::test(start_paused = true)]
async fn the_primarys_timeout_can_be_reloaded_for_all_layers_of_a_chain() {
    let chain = behind();
    let own = FallbackLayer::builder("one", chain.clone()).primary_timeout(ms(50)).build().unwrap();
    let share = FallbackLayer::new(name!("two"), chain.clone());
    assert_eq!((time_behind(&own).await, time_behind(&share).await), (ms(50), TOTAL / 2));
    chain.handle().reload(config(|config| config.primary_timeout = Some(ms(70)))).unwrap();
    assert_eq!((time_behind(&own).await, time_behind(&share).await), (ms(70), ms(70)));
    own.handle().reload(config(|config| config.total = Some(ms(400)))).unwrap();
    assert_eq!((time_behind(&own).await, time_behind(&share).await), (ms(50), ms(200)));
}

#[tokio::test(start_paused = true)]
async fn a_running_request_keeps_all_settings_that_it_began_with() {
    // Each of them changes when the answers come.
    let shorter = || {
        config(|config| {
            (config.total, config.primary_timeout) = (Some(ms(8)), Some(ms(2)));
            config.providers.entry("hung".to_owned()).or_default().timeout = Some(ms(3));
        })
    };
    let handler = in_handler(|hung| hung.timeout(ms(300)));
    let mut running = task::spawn(handler.execute(()));
    assert_pending!(running.poll());
    handler.handle().reload(shorter()).unwrap();
    assert_eq!(running.await.unwrap().latency, ms(300));
    assert_eq!(time_of(&handler).await, ms(3));

    let chain = hung_then(|hung| hung.timeout(ms(300)), says(name!("static")));
    let layer = FallbackLayer::builder("primary", chain).primary_timeout(ms(100)).build().unwrap();
    let start = Instant::now();
    let primary = Scripted::<_, _, Infallible>::steps([Step::hang()]);
    let mut running = task::spawn(layer.layer(primary).oneshot(get()));
    assert_pending!(running.poll());
    layer.handle().reload(shorter()).unwrap();
    assert_eq!(text(running.await.unwrap()).await, "static");
    assert_eq!(start.elapsed(), ms(100) + ms(300));
    assert_eq!(time_behind(&layer).await, ms(2) + ms(3));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_forced_keeps_its_settings_too() {
    let chain = hung_then(|hung| hung.timeout(ms(100)), says(name!("static")));
    let layer = FallbackLayer::builder("primary", chain).primary_timeout(ms(50)).build().unwrap();
    layer.handle().force("hung", 1.0).unwrap();
    let start = Instant::now();
    let primary = Scripted::<_, _, Infallible>::steps([Step::hang()]);
    let mut running = task::spawn(layer.layer(primary).oneshot(get()));
    assert_pending!(running.poll());
    layer
        .handle()
        .reload(config(|config| (config.total, config.primary_timeout) = (Some(ms(200)), Some(ms(2)))))
        .unwrap();
    assert_eq!(text(running.await.unwrap()).await, "static");
    assert_eq!(start.elapsed(), ms(100) + ms(50) + ms(100), "forced, primary, and in its turn");
}

#[tokio::test(start_paused = true)]
async fn a_reloaded_limit_counts_the_requests_that_run_already_and_ends_none() {
    let chain = in_handler(|hung| hung);
    let mut running: Vec<_> = (0..3).map(|_| task::spawn(chain.execute(()))).collect();
    running.iter_mut().for_each(|call| assert_pending!(call.poll()));
    let reasons = |limit| {
        chain.handle().reload(hung_with(|hung| hung.concurrency = Some(limit))).unwrap();
        let mut next = task::spawn(chain.execute(()));
        match next.poll() {
            std::task::Poll::Ready(answer) => Some(answer.unwrap().failures[0].reason),
            std::task::Poll::Pending => None,
        }
    };
    assert_eq!(reasons(2), Some(Reason::BULKHEAD_FULL), "three run, although no limit was set before");
    assert_eq!(reasons(3), Some(Reason::BULKHEAD_FULL));
    assert_eq!(reasons(4), None, "there is a place for a fourth");
    drop(running.pop());
    assert_eq!(reasons(3), None, "that of the dropped one");
    for mut call in running {
        assert_pending!(call.poll());
    }
    assert_eq!(reasons(1), None, "all places are free again");
    let mut next = task::spawn(chain.execute(()));
    assert_pending!(next.poll());
    let mut full = task::spawn(chain.execute(()));
    assert_eq!(assert_ready_ok!(full.poll()).source, "static");
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_named_by_its_path_and_changes_nothing() {
    let chain = hung_then(|hung| hung.timeout(ms(300)), says(name!("static")));
    let keep = KeepReplaced::default().max_wait(ms(200)).unwrap();
    let layer = FallbackLayer::builder("primary", chain.clone()).primary_timeout(ms(100)).keep_replaced(keep);
    let layer = layer.build().unwrap();
    let handle = layer.handle();
    let wrong = [
        (FallbackConfig::new("other"), "name is other, allowed is: the chain's own, chain"),
        (config(|c| c.total = Some(ms(0))), "total is 0ns, allowed is: more than 0 s, up to 24 h"),
        (
            config(|c| c.primary_timeout = Some(ms(801))),
            "primary_timeout is 801ms, allowed is: more than 0 s, up to the chain's total, which is 800ms",
        ),
        (
            hung_with(|hung| hung.timeout = Some(ms(0))),
            "providers.hung.timeout is 0ns, allowed is: more than 0 s, up to the chain's total, which is 800ms",
        ),
        (hung_with(|hung| hung.concurrency = Some(0)), "providers.hung.concurrency is 0, allowed is: 1 or more"),
        (
            config(|c| c.providers = [("primary".to_owned(), ProviderConfig::default())].into()),
            "providers is primary, allowed is: hung, static",
        ),
        (
            config(|c| c.total = Some(ms(299))),
            "providers.hung.timeout is 300ms, allowed is: more than 0 s, up to the chain's total, which is 299ms",
        ),
    ];
    for (wrong, message) in wrong {
        assert_eq!(handle.check(&wrong).unwrap_err().to_string(), message);
        assert_eq!(handle.reload(wrong).unwrap_err().to_string(), message);
    }
    let short = |total| {
        config(|config| {
            config.total = Some(ms(total));
            config.providers.entry("hung".to_owned()).or_default().timeout = Some(ms(1));
        })
    };
    for (total, needs) in [(99, "primary_timeout is 100ms"), (199, "max_wait is 200ms")] {
        let error = handle.reload(short(total)).unwrap_err().to_string();
        assert_eq!(error, format!("total is {total}ms, allowed is: enough for a layer of the chain, whose {needs}"));
    }
    assert_eq!((handle.total(), time_behind(&layer).await), (TOTAL, ms(100) + ms(300)));
    handle.reload(short(200)).unwrap();
    drop(layer);
    handle.reload(short(99)).unwrap();
    handle.reload(short(200)).unwrap();

    let too_long = FallbackLayer::builder("late", chain).primary_timeout(ms(201)).build().unwrap_err();
    assert_eq!(too_long.field, "primary_timeout", "by the total of now");
}

#[test]
fn a_chain_begins_with_its_configuration_and_shows_it() {
    let builder = |config| FallbackChain::builder("chain").provider(says(name!("static"))).with_config(config);
    let chain = builder(config(|c| c.total = Some(ms(300)))).build().unwrap();
    assert_eq!(chain.handle().total(), ms(300));
    let of: &dyn Inspect = &chain.handle();
    assert_eq!(of.settings()[1], ("total", Value::Duration(ms(300))));
    assert_eq!(builder(FallbackConfig::new("other")).build().unwrap_err().field, "name");
    assert_eq!(builder(config(|c| c.total = Some(ms(0)))).build().unwrap_err().field, "total");
}

#[cfg(feature = "serde")]
#[test]
fn a_configuration_survives_a_file() {
    use backstop_test::assert_config_file;
    use proptest::prelude::*;

    let time = || prop::option::of((0..u64::MAX).prop_map(Duration::from_nanos));
    let provider = (time(), prop::option::of(0..1000_usize)).prop_map(|(timeout, concurrency)| {
        let mut provider = ProviderConfig::default();
        (provider.timeout, provider.concurrency) = (timeout, concurrency);
        provider
    });
    let providers = prop::collection::btree_map("[a-z]{1,9}", provider, 0..3);
    let samples = (time(), time(), providers).prop_map(|(total, primary_timeout, providers)| {
        config(|config| {
            (config.total, config.primary_timeout, config.providers) = (total, primary_timeout, providers);
        })
    });
    let build = |config| {
        let chain = FallbackChain::<Req, Response>::builder("chain").provider(says(name!("static")));
        chain.with_config(config).build()
    };
    let fields = &["total", "primary_timeout", "providers", "providers.static.timeout", "providers.static.concurrency"];
    assert_config_file("name = 'chain'", &FallbackConfig::new("chain"), fields, samples, build);
}
