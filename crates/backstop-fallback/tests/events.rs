//! What a log tells.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

mod common;

use std::{
    fmt,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::response::Response;
use backstop_core::name;
use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
use common::*;
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Each event of the layer as one line.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "backstop::fallback"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // The message is prose.
        if field.name() != "message" {
            self.0 += &format!(" {}={value:?}", field.name());
        }
    }
}

impl Lines {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// What a primary gives after 50 ms: this status, or nothing at all.
async fn ask(layer: &FallbackLayer<Req, Response>, code: Option<u16>) {
    let primary = service_fn(move |_: Req| async move {
        sleep(Duration::from_millis(50)).await;
        match code {
            Some(code) => infallible(status(code)),
            None => pending().await,
        }
    });
    layer.layer(primary).oneshot(get()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_answers_says_nothing() {
    let lines = Lines::default();
    let _here = tracing::subscriber::set_default(lines.clone());
    for code in [200, 404] {
        ask(&FallbackLayer::new(name!("primary"), behind()), Some(code)).await;
    }
    assert_eq!(lines.take(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_hides_an_outage_shows_in_the_log_each_time() {
    let lines = Lines::default();
    let _here = tracing::subscriber::set_default(lines.clone());
    let layer = FallbackLayer::new(name!("primary"), behind());
    for (code, reason, latency) in [(Some(503), "status-503", "50ms"), (None, "timeout", "400ms")] {
        ask(&layer, code).await;
        let line =
            format!("WARN chain=chain provider=static position=1 reason={reason} freshness=degraded latency={latency}");
        assert_eq!(lines.take(), [line]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_chain_tells_of_everyone() {
    let lines = Lines::default();
    let _here = tracing::subscriber::set_default(lines.clone());
    let broken = Provider::value(name!("broken"), || async { Err::<Response, _>("a secret") });
    let chain = FallbackChain::builder("chain").provider(broken).build().unwrap();
    ask(&FallbackLayer::new(name!("primary"), chain), Some(503)).await;
    let line = "WARN chain=chain failed=all providers of chain failed: primary (status-503), broken (error)".to_owned();
    assert_eq!(lines.take(), [line]);
}

#[tokio::test(start_paused = true)]
async fn a_forced_provider_tells_that_it_works_and_that_it_does_not() {
    let lines = Lines::default();
    let _here = tracing::subscriber::set_default(lines.clone());
    let chain = FallbackChain::builder("chain")
        .provider(says(name!("static")))
        .provider(Provider::value(name!("broken"), || async { Err::<Response, _>("a secret") }))
        .build()
        .unwrap();
    let layer = FallbackLayer::new(name!("primary"), chain);
    layer.handle().forced("static", 1.0).unwrap();
    ask(&layer, Some(200)).await;
    layer.handle().forced("broken", 1.0).unwrap();
    ask(&layer, Some(200)).await;
    layer.handle().unforced();
    assert_eq!(
        lines.take(),
        [
            "INFO chain=chain provider=static share=1.0",
            "WARN chain=chain provider=static position=1 reason=forced freshness=degraded latency=0ns",
            "INFO chain=chain provider=broken share=1.0",
            "WARN chain=chain provider=broken reason=error",
            "INFO chain=chain",
        ]
    );
}
