//! The retry, where the first try succeeds, and its peers.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    sync::Barrier,
    task::{Context, Waker},
    thread,
    time::Duration,
};

use axum::body::Body;
use backstop::{Repeat, RetryBudget, RetryBuilder, RetryLayer, name};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, Service, layer::util::Identity};

use crate::{
    http::{Upstream, calls, calls_of, calls_through, cloned, ok, request, unavailable},
    measure::{Contender, Section, Table, print_table},
};

pub(crate) const SECTION: Section = Section {
    name: "retry",
    tables: &[Table::new("First try succeeds, GET with 10 headers", contenders)],
    others: &[print_exactness],
};

fn contenders() -> Vec<Contender> {
    let passing = "20 ns, 0 allocations";
    vec![
        Contender::new("bare", || calls_through(Identity::new())),
        Contender::new("ours", || calls_through(RetryLayer::new(name!("bench")))).target("120 ns, 2 allocations"),
        Contender::new("ours, without a budget", || calls_through(built(RetryBuilder::no_budget)))
            .target("ours − 15 ns"),
        Contender::new("ours, Repeat::Never", || {
            let mut request = request();
            request.extensions_mut().insert(Repeat::Never);
            let upstream = Upstream::<Body>::new(request);
            calls(upstream, RetryLayer::new(name!("bench")).layer(upstream))
        })
        .target(passing),
        Contender::new("ours, one attempt", || calls_through(built(|layer| layer.max_attempts(1)))).target(passing),
        Contender::new("ours, the budget is empty", broke).target(passing),
        Contender::new("tower::retry", || calls_through(tower::retry::RetryLayer::new(CloneRequests)))
            .target("at least 2.2 × ours"),
        Contender::new("tower-resilience", || calls_of(tower_resilience)).target("at least 2.9 × ours"),
        Contender::new("seatbelt", || calls_of(seatbelt)),
    ]
}

fn built(knobs: impl FnOnce(RetryBuilder) -> RetryBuilder) -> RetryLayer {
    knobs(RetryLayer::builder("bench")).build().expect("a configuration")
}

/// Ours, with a budget that never has a retry: each thousandth call fails and takes it out.
fn broke() -> impl FnMut(u64) + Send + 'static {
    let budget = RetryBudget::builder().ratio(0.0).reserve_per_second(1).burst(1).build().expect("a budget");
    let upstream = Upstream::<Body>::new(request());
    let mut service = built(|layer| layer.budget(budget)).layer(upstream);
    move |n| {
        if n % 1_000 == 0 {
            upstream.answer_with(unavailable);
        }
        if let Some(request) = upstream.take() {
            // Pending, and dropped, where it would be retried.
            let answer = pin!(service.call(black_box(request))).poll(&mut Context::from_waker(Waker::noop()));
            _ = black_box(answer.is_ready());
        }
        if n % 1_000 == 0 {
            upstream.answer_with(ok);
        }
    }
}

/// What tower's retry asks its users for.
#[derive(Clone)]
struct CloneRequests;

impl tower::retry::Policy<Request<Body>, Response<Body>, Infallible> for CloneRequests {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Body>,
        result: &mut Result<Response<Body>, Infallible>,
    ) -> Option<Self::Future> {
        result.as_ref().is_ok_and(|response| response.status().is_server_error()).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        Some(cloned(request))
    }
}

/// Its requests must be cloneable, so that it can't have axum's body.
fn tower_resilience(
    upstream: Upstream<Full<Bytes>>,
) -> impl Service<Request<Full<Bytes>>, Response = Response<Full<Bytes>>> + Send {
    tower_resilience_retry::RetryLayer::builder()
        .retry_on_response(|response: &Response<Full<Bytes>>| response.status().is_server_error())
        .build()
        .layer(upstream)
}

fn seatbelt(upstream: Upstream<Body>) -> impl Service<Request<Body>, Response = Response<Body>> + Send {
    type Answer = Result<Response<Body>, Infallible>;

    let context = seatbelt::ResilienceContext::<Request<Body>, Answer>::new(tick::Clock::new_tokio());
    seatbelt::retry::Retry::layer("bench", &context)
        .clone_input_with(|request, _| Some(cloned(request)))
        .recovery_with(|answer: &Answer, _| match answer {
            Ok(response) if response.status().is_server_error() => seatbelt::RecoveryInfo::retry(),
            _ => seatbelt::RecoveryInfo::never(),
        })
        .layer(upstream)
}

const FAILURES: u64 = 100_000;

/// How many retries a budget pays for, where two threads race for them.
fn print_exactness() {
    let budget = RetryBudget::builder().ratio(0.1).reserve_per_second(0).burst(10).build().expect("a budget");
    // One retry less, so that there is room, and no share is paid in for nothing.
    let first = retries(&budget, 1);
    let (barrier, runtime) = (&Barrier::new(2), &tokio::runtime::Handle::current());
    let retried: u64 = thread::scope(|scope| {
        let threads = [(); 2].map(|()| {
            scope.spawn(|| {
                let _in_runtime = runtime.enter();
                barrier.wait();
                retries(&budget, FAILURES)
            })
        });
        threads.map(|thread| thread.join().expect("a number")).iter().sum()
    });
    let paid = 10 + 2 * FAILURES / 10;
    let row = vec![format!("{} failures", 1 + 2 * FAILURES), (first + retried).to_string(), paid.to_string()];
    print_table("Two threads on a budget of 10 %, and 10 in advance", &["", "retries", "paid for"], &[row]);
}

/// How many of so many failures would be retried.
fn retries(budget: &RetryBudget, failures: u64) -> u64 {
    // The retry is decided on, and its wait is dropped.
    let upstream = Upstream::<Body>::answering(request(), unavailable);
    let mut service =
        built(|layer| layer.budget(budget.clone()).backoff_fn(|_, _| Duration::from_secs(1))).layer(upstream);
    let waits = (0..failures).filter_map(|_| {
        let call = service.call(upstream.take()?);
        Some(pin!(call).poll(&mut Context::from_waker(Waker::noop())).is_pending())
    });
    waits.filter(|waits| *waits).count() as u64
}
