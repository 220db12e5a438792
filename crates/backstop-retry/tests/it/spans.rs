//! The span of each attempt.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use backstop_core::SetBy;
use backstop_kit::Progress;
use backstop_retry::{Repeat, RetryBuilder, RetryLayer};
use backstop_test::Logs;
use tokio::time::timeout;
use tower::{Layer, ServiceExt, service_fn};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::support::{BoxError, Upstream, circuit_open, elapsed, get, rejected, response};

/// Keeps spans up to a level: their fields, and what happened inside them.
#[derive(Clone)]
struct Spans {
    max_level: Level,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    spans: Vec<Kept>,
    entered: Vec<usize>,
}

#[derive(Default)]
struct Kept {
    fields: Vec<String>,
    parent: Option<usize>,
    is_open: bool,
}

impl Spans {
    fn up_to(max_level: Level) -> Self {
        // Has `tracing` ask every thread's subscriber.
        _ = Logs::new();
        Self { max_level, state: Arc::default() }
    }

    fn update<T>(&self, update: impl FnOnce(&mut State) -> T) -> T {
        update(&mut self.state.lock().unwrap())
    }

    /// The fields of each span, in their order, all of which are closed.
    fn closed(&self) -> Vec<String> {
        self.update(|state| {
            assert!(state.entered.is_empty());
            let line = |kept: &Kept| {
                assert!(!kept.is_open, "{:?}", kept.fields);
                kept.fields.join(" ")
            };
            state.spans.iter().map(line).collect()
        })
    }
}

struct Fields<'a>(&'a mut Vec<String>);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push(format!("{field}={value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push(format!("{field}={value:?}"));
    }
}

fn index(id: &span::Id) -> usize {
    usize::try_from(id.into_u64()).unwrap() - 1
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && *metadata.level() <= self.max_level
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        self.update(|state| {
            let mut kept = Kept { parent: state.entered.last().copied(), is_open: true, ..Kept::default() };
            attributes.record(&mut Fields(&mut kept.fields));
            assert!(attributes.is_contextual());
            state.spans.push(kept);
            span::Id::from_u64(state.spans.len() as u64)
        })
    }

    fn record(&self, span: &span::Id, values: &span::Record<'_>) {
        self.update(|state| values.record(&mut Fields(&mut state.spans[index(span)].fields)));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, span: &span::Id) {
        self.update(|state| state.entered.push(index(span)));
    }

    fn exit(&self, span: &span::Id) {
        self.update(|state| assert_eq!(state.entered.pop(), Some(index(span))));
    }

    fn try_close(&self, span: span::Id) -> bool {
        self.update(|state| state.spans[index(&span)].is_open = false);
        true
    }
}

fn built(knobs: impl FnOnce(RetryBuilder) -> RetryBuilder) -> RetryLayer {
    knobs(RetryLayer::builder("ml").max_attempts(3)).build().unwrap()
}

async fn spans_of<E: 'static>(upstream: Upstream<E>) -> Vec<String> {
    let spans = Spans::up_to(Level::DEBUG);
    let _guard = tracing::subscriber::set_default(spans.clone());
    _ = built(|layer| layer).layer(upstream).oneshot(get()).await;
    spans.closed()
}

const FIRST: &str = "otel.kind=client name=ml attempt=1";
const SECOND: &str = "otel.kind=client name=ml attempt=2 http.request.resend_count=1";

#[tokio::test(start_paused = true)]
async fn each_attempt_has_a_span_with_its_number_and_its_outcome() {
    let answered = spans_of(Upstream::statuses([503, 200])).await;
    let failed = "outcome=failure reason=status-503 otel.status_code=ERROR";
    assert_eq!(answered, [format!("{FIRST} {failed}"), format!("{SECOND} outcome=success")]);

    assert_eq!(spans_of(Upstream::statuses([404])).await, [format!("{FIRST} outcome=success")]);
    let exhausted = spans_of(Upstream::statuses([503])).await;
    assert_eq!(exhausted.len(), 3);
    assert_eq!(exhausted[2], format!("otel.kind=client name=ml attempt=3 http.request.resend_count=2 {failed}"));

    let not_repeated = spans_of(Upstream::statuses([500])).await;
    assert_eq!(not_repeated, [format!("{FIRST} outcome=failure reason=status-500 otel.status_code=ERROR")]);
    let refused = spans_of(Upstream::<BoxError>::new(|_, _| async { Ok(circuit_open()) })).await;
    assert_eq!(refused, [format!("{FIRST} outcome=neutral reason=circuit-open")]);
    let lost = spans_of(Upstream::<BoxError>::new(|_, _| async { Err("lost".into()) })).await;
    assert_eq!(lost[0], format!("{FIRST} outcome=failure reason=error otel.status_code=ERROR"));
    let callers_time = || rejected(elapsed(SetBy::Caller, Progress::Called));
    let ended = spans_of(Upstream::<BoxError>::new(move |_, _| async move { Ok(callers_time()) })).await;
    assert_eq!(ended, [format!("{FIRST} outcome=neutral reason=timeout")]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_the_total_ends_is_a_failure_and_one_that_is_dropped_has_no_outcome() {
    let hangs_on = |hanging| {
        Upstream::<BoxError>::new(move |n, _| async move {
            if n == hanging { std::future::pending().await } else { Ok(response(503)) }
        })
    };
    let spans = Spans::up_to(Level::DEBUG);
    let _guard = tracing::subscriber::set_default(spans.clone());
    built(|layer| layer.total(Duration::from_secs(5))).layer(hangs_on(2)).oneshot(get()).await.unwrap();
    assert_eq!(spans.closed()[1..], [format!("{SECOND} outcome=failure reason=timeout otel.status_code=ERROR")]);

    let call = built(|layer| layer).layer(hangs_on(1)).oneshot(get());
    timeout(Duration::from_secs(1), call).await.unwrap_err();
    assert_eq!(spans.closed()[2..], [format!("{FIRST} reason=dropped")]);
    let call = built(|layer| layer).layer(hangs_on(2)).oneshot(get());
    timeout(Duration::from_secs(1), call).await.unwrap_err();
    assert_eq!(spans.closed()[4..], [format!("{SECOND} reason=dropped")]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_runs_inside_its_span_and_the_span_inside_that_of_the_request() {
    let spans = Spans::up_to(Level::DEBUG);
    let _guard = tracing::subscriber::set_default(spans.clone());
    let seen = spans.clone();
    let upstream = Upstream::<BoxError>::new(move |n, _| {
        let seen = seen.clone();
        async move {
            // Once in the call, and once after a wait.
            for _ in 0..2 {
                let attempt = seen.update(|state| state.entered.last().copied()).unwrap();
                assert_eq!(attempt, n);
                tokio::task::yield_now().await;
            }
            Ok(response(if n == 2 { 200 } else { 503 }))
        }
    });
    let request = tracing::info_span!("request");
    let call = built(|layer| layer).layer(upstream).oneshot(get());
    tracing::Instrument::instrument(call, request).await.unwrap();
    let parents = spans.update(|state| state.spans.iter().map(|kept| kept.parent).collect::<Vec<_>>());
    assert_eq!(parents, [None, Some(0), Some(0)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_http_has_no_count_of_resent_requests() {
    let spans = Spans::up_to(Level::DEBUG);
    let _guard = tracing::subscriber::set_default(spans.clone());
    let lost = "outcome=failure reason=error otel.status_code=ERROR";
    let expected = [format!("{FIRST} {lost}"), format!("otel.kind=client name=ml attempt=2 {lost}")];

    let plain = RetryLayer::builder("ml").max_attempts(2).plain().build().unwrap();
    plain.layer(service_fn(async |_: u32| Err::<(), _>(BoxError::from("lost")))).oneshot(7).await.unwrap_err();
    assert_eq!(spans.closed(), expected);

    let retry = built(|layer| layer.max_attempts(2)).handle();
    let function = async || Err::<(), _>(std::io::Error::other("lost"));
    retry.call(function).transient(|_| true).await.unwrap_err();
    assert_eq!(spans.closed()[2..], expected);
    retry.call(function).await.unwrap_err();
    assert_eq!(spans.closed()[4..], [format!("{FIRST} {lost}")]);
    retry.call(async || Ok::<_, std::io::Error>(7)).await.unwrap();
    assert_eq!(spans.closed()[5..], [format!("{FIRST} outcome=success")]);
}

#[tokio::test(start_paused = true)]
async fn there_is_no_span_where_none_is_wanted_or_the_request_passes_straight_through() {
    let spans = Spans::up_to(Level::INFO);
    let guard = tracing::subscriber::set_default(spans.clone());
    built(|layer| layer).layer(Upstream::statuses([503, 200])).oneshot(get()).await.unwrap();
    drop(guard);

    let wanted = Spans::up_to(Level::DEBUG);
    let _guard = tracing::subscriber::set_default(wanted.clone());
    let once = built(|layer| layer.max_attempts(1));
    once.layer(Upstream::statuses([503])).oneshot(get()).await.unwrap();
    let mut never = get();
    never.extensions_mut().insert(Repeat::Never);
    built(|layer| layer).layer(Upstream::statuses([200])).oneshot(never).await.unwrap();
    assert_eq!([spans.closed(), wanted.closed()], [const { Vec::<String>::new() }; 2]);
}
