//! Whatever the service does, and whenever callers leave: the whole stack answers in time, labels its answers, doesn't repeat
//! what must not be repeated, and recovers when the service does.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use backstop::{
    CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, Degradation, DegradationHeaderLayer, FallbackChain,
    FallbackLayer, Provider, RetryLayer, TimeoutLayer, name,
};
use backstop_tests::http::{header, read};
use proptest::prelude::*;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tower::{Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimit, service_fn};

const TOTAL: Duration = Duration::from_millis(800);
const LIMIT: Duration = Duration::from_millis(250);
const WAIT: Duration = Duration::from_secs(1);
const PERMITS: usize = 2;

const PERSONAL: &str = "just for you";
const USUAL: &str = "the usual";

/// What the service does with a call.
#[derive(Clone, Copy, Debug)]
enum Does {
    Well,
    Fail(u16),
    Break,
    Hang,
    /// Succeeds after this many milliseconds.
    Late(u64),
    /// Fails after this many milliseconds.
    LateFail(u64),
}

/// The callers. All times are in milliseconds from the start.
#[derive(Clone, Debug)]
struct Caller {
    at: u64,
    leaves_after: Option<u64>,
    method: Method,
}

#[derive(Debug, Default)]
struct Told {
    script: VecDeque<Does>,
    /// How often each caller's request was processed.
    processed: HashMap<usize, u32>,
}

type Shared = Arc<Mutex<Told>>;

fn does() -> impl Strategy<Value = Does> {
    prop_oneof![
        3 => Just(Does::Well),
        3 => prop::sample::select(vec![429, 500, 502, 503, 504]).prop_map(Does::Fail),
        1 => Just(Does::Break),
        2 => Just(Does::Hang),
        2 => (1u64..400).prop_map(Does::Late),
        1 => (1u64..400).prop_map(Does::LateFail),
    ]
}

fn caller() -> impl Strategy<Value = Caller> {
    let method = prop_oneof![3 => Just(Method::GET), 1 => Just(Method::POST)];
    (0u64..4_000, prop::option::weighted(0.4, 0u64..900), method).prop_map(|(at, leaves_after, method)| Caller {
        at,
        leaves_after,
        method,
    })
}

async fn primary(told: Shared, request: Request) -> Result<Response, io::Error> {
    let caller = *request.extensions().get::<usize>().unwrap();
    let does = {
        let mut told = told.lock().unwrap();
        *told.processed.entry(caller).or_default() += 1;
        told.script.pop_front().unwrap_or(Does::Well)
    };
    match does {
        Does::Well => Ok(PERSONAL.into_response()),
        Does::Fail(status) => Ok((StatusCode::from_u16(status).unwrap(), "failed").into_response()),
        Does::Break => Err(io::ErrorKind::ConnectionReset.into()),
        Does::Hang => std::future::pending().await,
        Does::Late(ms) => {
            sleep(Duration::from_millis(ms)).await;
            Ok(PERSONAL.into_response())
        }
        Does::LateFail(ms) => {
            sleep(Duration::from_millis(ms)).await;
            Ok((StatusCode::BAD_GATEWAY, "failed").into_response())
        }
    }
}

/// The whole stack around `primary`, which may have [`PERMITS`] calls at once.
fn stack(
    told: &Shared,
    permits: &Arc<Semaphore>,
) -> (
    impl Service<Request, Response = Response, Error = io::Error, Future: Send> + Clone + Send + 'static,
    CircuitBreakerHandle,
) {
    let instead = FallbackChain::builder("recommendations")
        .total(TOTAL)
        .provider(Provider::handler(name!("bestsellers"), || async { USUAL }))
        .build()
        .unwrap();
    let retry = RetryLayer::builder("ml_service").backoff_base(Duration::from_millis(20)).build().unwrap();
    let breaker = CircuitBreakerLayer::builder("ml_service").consecutive_failures(3).wait(WAIT).build().unwrap();
    let circuit = breaker.handle();
    let told = Arc::clone(told);
    let service = service_fn(move |request| primary(Arc::clone(&told), request));
    let service = ConcurrencyLimit::with_semaphore(service, Arc::clone(permits));
    let stack = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("ml_service"), instead))
        .layer(retry)
        .layer(breaker)
        .layer(TimeoutLayer::builder("ml_service").limit(LIMIT).build().unwrap())
        .service(service);
    (stack, circuit)
}

fn request(caller: usize, method: Method) -> Request {
    let request = http::Request::builder().method(method).uri("/").extension(caller);
    request.body(Body::from("who I am")).unwrap()
}

/// Checks what one caller got.
async fn check(method: &Method, started: Instant, answer: Result<Response, io::Error>) {
    // A timer rounds up to the next millisecond.
    assert!(started.elapsed() <= TOTAL + Duration::from_millis(1), "{:?}", started.elapsed());
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            assert_eq!(method, Method::POST, "{error}");
            return;
        }
    };
    let (head, body) = read(answer).await;
    let is_labelled = head.headers.contains_key("x-fallback-source") || head.headers.contains_key("x-data-freshness");
    match &*body {
        PERSONAL => assert!(!is_labelled && !head.headers.contains_key("cache-control"), "{head:?}"),
        USUAL => {
            assert_eq!(header(&head, "x-fallback-source"), Some("bestsellers"));
            assert_eq!(header(&head, "x-data-freshness"), Some("degraded"));
            assert_eq!(header(&head, "cache-control"), Some("no-store"));
            assert_eq!(head.extensions.get::<Degradation>().unwrap().source(), "bestsellers");
        }
        // No other provider may answer a request that may have been processed.
        other => assert!(method == Method::POST && !is_labelled, "{method} got {other:?}: {head:?}"),
    }
    if method == Method::GET {
        assert_eq!(head.status, StatusCode::OK);
    }
}

async fn run(script: Vec<Does>, callers: Vec<Caller>) {
    let told = Arc::new(Mutex::new(Told { script: script.into(), ..Told::default() }));
    let permits = Arc::new(Semaphore::new(PERMITS));
    let (stack, circuit) = stack(&told, &permits);

    let mut running = JoinSet::new();
    for (i, Caller { at, leaves_after, method }) in callers.iter().cloned().enumerate() {
        let stack = stack.clone();
        running.spawn(async move {
            sleep(Duration::from_millis(at)).await;
            let started = Instant::now();
            let patience = leaves_after.map_or(Duration::MAX, Duration::from_millis);
            if let Ok(answer) = timeout(patience, stack.oneshot(request(i, method.clone()))).await {
                check(&method, started, answer).await;
            }
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
    for (i, Caller { method, .. }) in callers.iter().enumerate() {
        let processed = told.lock().unwrap().processed.get(&i).copied().unwrap_or(0);
        assert!(processed <= if method == Method::POST { 1 } else { 3 }, "{method} was processed {processed} times");
    }
    assert_eq!(permits.available_permits(), PERMITS, "what callers held, they gave back");

    told.lock().unwrap().script.clear();
    sleep(WAIT).await;
    for _ in 0..2 {
        let answer = stack.clone().oneshot(request(callers.len(), Method::GET)).await.unwrap();
        assert_eq!(read(answer).await.1, PERSONAL, "{circuit:?}");
    }
    assert_eq!(circuit.state(), CircuitState::Closed);
    assert_eq!(permits.available_permits(), PERMITS);
}

proptest! {
    #[test]
    fn every_answer_is_in_time_and_honest_and_all_is_well_again_when_the_service_is(
        script in prop::collection::vec(does(), 0..60),
        callers in prop::collection::vec(caller(), 1..40),
    ) {
        let paused = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        paused.block_on(run(script, callers));
    }
}
