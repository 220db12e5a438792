//! What a log tells.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::time::Duration;

use axum::response::Response;
use backstop_core::{SetBy, name};
use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
use backstop_kit::{Elapsed, Progress};
use backstop_test::{LogEvent, Logs};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tracing::Level;

use crate::common::*;

/// The level and the fields of each event of the layer since the last look. The message is prose.
fn take(logs: &Logs) -> Vec<String> {
    let shown = |event: LogEvent| {
        let fields = event.fields().map(|(name, value)| format!(" {name}={value}"));
        format!("{}{}", event.level(), fields.collect::<String>())
    };
    logs.take().with_target("backstop::fallback").into_iter().map(shown).collect()
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_answers_says_nothing() {
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    for code in [200, 404] {
        ask(&FallbackLayer::new(name!("primary"), behind()), Some(code)).await;
    }
    assert_eq!(take(&logs), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_one_warning_however_many_are_answered_and_its_end_one_line() {
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let layer = FallbackLayer::new(name!("primary"), behind());
    for _ in 0..100 {
        ask(&layer, Some(503)).await;
    }
    let began =
        "WARN chain=chain provider=static position=1 reason=status-503 freshness=degraded latency_ms=50.0".to_owned();
    assert_eq!(take(&logs), [began]);
    sleep(Duration::from_secs(60)).await;
    ask(&layer, None).await;
    let goes_on = "INFO chain=chain calls=100 degraded=100 exhausted=0 last_minute=1.0 duration_ms=65350.0".to_owned();
    assert_eq!(take(&logs), [goes_on]);
    let episode = layer.handle().status().episode.unwrap();
    assert_eq!((episode.calls, episode.degraded, episode.exhausted), (101, 101, 0));
    assert_eq!((episode.last_reason.as_str(), episode.last_primary_answer), ("timeout", None));
    assert_eq!((episode.recent.calls, episode.recent.primary, episode.recent.share("static")), (101, 0, 1.0));
    sleep(Duration::from_secs(30)).await;
    ask(&layer, Some(200)).await;
    let episode = layer.handle().status().episode.unwrap();
    assert_eq!((episode.last_primary_answer, episode.recent.primary), (Some(Duration::ZERO), 1));
    sleep(Duration::from_secs(30)).await;
    ask(&layer, Some(200)).await;
    let ended =
        "INFO chain=chain calls=103 degraded=101 exhausted=0 last_minute=1.0 duration_ms=65350.0 since_ms=60100.0";
    assert_eq!(take(&logs), [ended]);
    assert_eq!(layer.handle().status().episode, None);
}

#[tokio::test(start_paused = true)]
async fn each_degraded_answer_is_told_to_who_asks_for_that() {
    let logs = Logs::up_to(Level::DEBUG);
    let _guard = logs.listen();
    let layer = FallbackLayer::new(name!("primary"), behind());
    ask(&layer, Some(503)).await;
    take(&logs);
    ask(&layer, None).await;
    let line = "DEBUG chain=chain provider=static position=1 reason=timeout freshness=degraded latency_ms=400.0 \
                error=its share of the chain's time passed";
    assert_eq!(take(&logs), [line]);
}

#[tokio::test(start_paused = true)]
async fn the_text_of_the_error_that_caused_it_is_in_the_event_and_in_the_failures() {
    let failing = |_: u32| async { Err::<u32, _>(std::io::Error::other("no route to http://u:p@db/?q\nforged")) };
    let chain = |name: &'static str| {
        FallbackChain::builder(name)
            .provider(Provider::from_fn(name!("db"), failing))
            .provider(Provider::value(name!("static"), || async { 7 }))
    };
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let result = chain("shown").build().unwrap().execute(1).await.unwrap();
    let text = r"no route to http://db/\nforged";
    assert_eq!(result.failures[0].error.as_deref(), Some(text));
    let line = "WARN chain=shown provider=static position=1 reason=error freshness=degraded latency_ms=0.0";
    assert_eq!(take(&logs), [format!("{line} error={text}")]);

    let hidden = chain("hidden").error_text(|_| None).build().unwrap();
    assert_eq!(hidden.execute(1).await.unwrap().failures[0].error, None);
    assert_eq!(take(&logs), [line.replace("shown", "hidden")]);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_says_which_limit_passed() {
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    ask(&FallbackLayer::new(name!("primary"), behind()), None).await;
    let ended = FallbackLayer::new(name!("primary"), behind()).layer(service_fn(|_: Req| async {
        let mut late = status(504);
        late.extensions_mut().insert(Elapsed::new(SetBy::Us, Progress::Called).rejection(name!("ml")));
        infallible(late)
    }));
    ended.oneshot(get()).await.unwrap();
    let lines = take(&logs);
    assert!(lines[0].ends_with("error=its share of the chain's time passed"), "{lines:?}");
    assert!(lines[1].ends_with("error=ml took too long"), "{lines:?}");
}

/// A chain whose only provider isn't for what may have been processed.
fn never_eligible(name: &'static str) -> FallbackLayer<Req, Response> {
    let chain = FallbackChain::builder(name).provider(Provider::from_fn(name!("replica"), |_| async { status(200) }));
    FallbackLayer::new(name!("primary"), chain.build().unwrap())
}

async fn post_to(layer: &FallbackLayer<Req, Response>) -> Response {
    layer.layer(service_fn(|_: Req| async { infallible(status(500)) })).oneshot(post("pay")).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_not_eligible_says_what_would_make_it_so() {
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    assert_eq!(post_to(&never_eligible("chain")).await.status(), 500);
    let told = take(&logs);
    let [line] = &*told else { panic!("{told:?}") };
    assert!(line.starts_with(
        "WARN chain=chain failed=all providers of chain failed: primary (status-500), replica (not-eligible)"
    ));
    for cure in ["even_if_processed", "only_reads", "repeat_only_if", "a client inside `client(…)`"] {
        assert!(line.contains(cure), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_chain_whose_providers_are_never_eligible_says_so_once() {
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let layer = never_eligible("chain");
    let mut told = Vec::new();
    for _ in 0..30 {
        post_to(&layer).await;
        told.append(&mut take(&logs));
    }
    assert_eq!(told.iter().filter(|line| *line == "WARN chain=chain").count(), 1, "{told:?}");

    // One that once had somebody to ask isn't told off.
    let layer = never_eligible("helpful");
    ask(&layer, Some(503)).await;
    for _ in 0..30 {
        post_to(&layer).await;
    }
    assert!(!take(&logs).contains(&"WARN chain=helpful".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_passes_by_the_chain_is_an_event() {
    let logs = Logs::up_to(Level::DEBUG);
    let _guard = logs.listen();
    let layer = FallbackLayer::new(name!("primary"), behind());
    let primary = service_fn(|_: Req| async { infallible(status(101)) });
    let mut upgrade = get();
    upgrade.headers_mut().insert("connection", "upgrade".parse().unwrap());
    upgrade.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    layer.layer(primary).oneshot(upgrade).await.unwrap();
    assert_eq!(take(&logs), ["DEBUG chain=chain reason=upgrade"]);
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_chain_tells_of_everyone() {
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let broken = Provider::value(name!("broken"), || async { Err::<Response, _>("a secret") });
    let chain = FallbackChain::builder("chain").provider(broken).build().unwrap();
    ask(&FallbackLayer::new(name!("primary"), chain), Some(503)).await;
    let line = "WARN chain=chain failed=all providers of chain failed: primary (status-503), broken (error)".to_owned();
    assert_eq!(take(&logs), [line]);
}

#[tokio::test(start_paused = true)]
async fn a_forced_provider_begins_no_episode_and_tells_once_that_it_does_not_answer() {
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let chain = FallbackChain::builder("chain")
        .provider(says(name!("static")))
        .provider(Provider::value(name!("broken"), || async { Err::<Response, _>("a secret") }))
        .build()
        .unwrap();
    let layer = FallbackLayer::new(name!("primary"), chain);
    layer.handle().force("static", 1.0).unwrap();
    ask(&layer, Some(200)).await;
    layer.handle().force("broken", 1.0).unwrap();
    for _ in 0..3 {
        ask(&layer, Some(200)).await;
    }
    layer.handle().stop_forcing();
    assert_eq!(
        take(&logs),
        [
            "INFO chain=chain provider=static share=1.0",
            "INFO chain=chain provider=broken share=1.0",
            "WARN chain=chain provider=broken reason=error error=a secret",
            "INFO chain=chain",
        ]
    );
}
