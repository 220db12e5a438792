//! All handles are reloaded again and again, under traffic from several threads.

#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test may fail it, as the test itself may")]
#![allow(clippy::disallowed_methods, reason = "callers run at once")]

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    http::{Response, StatusCode},
};
use backstop::{
    DeadlineConfig, DeadlineHandle, DeadlineLayer, DegradationHeaderConfig, DegradationHeaderHandle,
    DegradationHeaderLayer, Details, FallbackChain, FallbackConfig, FallbackHandle, FallbackLayer, Provider, Report,
    Standard, StandardConfig, StandardHandle, name, retry::Budget, scope, timeout::time_left,
};
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const TASKS: usize = 6;
const CALLS: usize = 150;
const SECOND: Duration = Duration::from_secs(1);

/// One of two sets of settings, which have nothing in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    A,
    B,
}

impl Set {
    const fn of<T: Copy>(self, a: T, b: T) -> T {
        match self {
            Self::A => a,
            Self::B => b,
        }
    }

    fn standard(self) -> StandardConfig {
        let mut config = StandardConfig::new("stormy");
        let (retry, circuit) = (config.retry.as_mut().unwrap(), config.circuit_breaker.as_mut().unwrap());
        (retry.max_attempts, retry.total) = (self.of(2, 3), SECOND * self.of(500, 600));
        (retry.backoff_base, retry.budget) = (Some(Duration::from_millis(1)), Budget::Unlimited);
        circuit.consecutive_failures = Some(self.of(60_000, 50_000));
        circuit.probe_lease = SECOND * self.of(500, 600);
        let bulkhead = config.bulkhead.as_mut().unwrap();
        (bulkhead.max_concurrent, bulkhead.max_waiting) = (self.of(2, 3), Some(self.of(20, 30)));
        bulkhead.max_wait = Some(SECOND * self.of(50, 60));
        config.timeout.as_mut().unwrap().limit = SECOND * self.of(100, 200);
        config.propagate_deadline.as_mut().unwrap().margin = Duration::from_millis(self.of(5, 6));
        config
    }

    fn fallback(self) -> FallbackConfig {
        let mut config = FallbackConfig::new("stormy_chain");
        config.total = Some(SECOND * self.of(4000, 8000));
        config.primary_timeout = Some(SECOND * self.of(1000, 2000));
        for (provider, timeout) in [("live", self.of(1100, 2100)), ("list", self.of(1200, 2200))] {
            config.providers.entry(provider.to_owned()).or_default().timeout = Some(SECOND * timeout);
        }
        config
    }

    fn deadline(self) -> DeadlineConfig {
        let mut config = DeadlineConfig::new("stormy_edge");
        config.limit = SECOND * self.of(10_000, 20_000);
        config
    }

    fn headers(self) -> DegradationHeaderConfig {
        let mut config = DegradationHeaderConfig::default();
        (config.report, config.details) =
            (self.of(Report::Degraded, Report::Always), self.of(Details::Plain, Details::Parameters));
        config
    }

    /// The set by which a limit was made of which this is left, if it is one of `a` and `b` in seconds.
    fn by(left: Duration, a: u32, b: u32) -> Self {
        let near = |limit: u32| left <= SECOND * limit && left > SECOND * (limit - 60);
        match (near(a), near(b)) {
            (true, false) => Self::A,
            (false, true) => Self::B,
            _ => panic!("{left:?} is left of {a} or {b} s"),
        }
    }
}

struct Handles {
    standard: StandardHandle,
    chain: FallbackHandle,
    edge: DeadlineHandle,
    headers: DegradationHeaderHandle,
}

impl Handles {
    /// Whole stacks and single parts in turn.
    fn reload(&self, set: Set, parts: bool) {
        let StandardConfig { retry, circuit_breaker, bulkhead, timeout, .. } = set.standard();
        if parts {
            self.standard.bulkhead().unwrap().reload(bulkhead.unwrap()).unwrap();
            self.standard.retry().unwrap().reload(retry.unwrap()).unwrap();
            self.standard.timeout().unwrap().reload(timeout.unwrap()).unwrap();
            self.standard.circuit_breaker().unwrap().reload(circuit_breaker.unwrap()).unwrap();
        } else {
            self.standard.reload(set.standard()).unwrap();
        }
        self.chain.reload(set.fallback()).unwrap();
        self.edge.reload(set.deadline()).unwrap();
        self.headers.reload(set.headers()).unwrap();
    }
}

/// How many calls run, and how many ran at most.
#[derive(Clone, Default)]
struct Gauge(Arc<[AtomicUsize; 2]>);

struct Inside(Gauge);

impl Gauge {
    fn enter(&self) -> Inside {
        let now = self.0[0].fetch_add(1, SeqCst) + 1;
        self.0[1].fetch_max(now, SeqCst);
        Inside(self.clone())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.0[0].fetch_sub(1, SeqCst);
    }
}

/// The attempts of one request.
#[derive(Clone, Default)]
struct Attempts(Arc<AtomicU32>);

/// Answers 503, in one of the two limits.
fn upstream(
    gauge: &Gauge,
) -> impl Service<Request, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static {
    let gauge = gauge.clone();
    service_fn(move |request: Request| {
        let inside = gauge.enter();
        request.extensions().get::<Attempts>().unwrap().0.fetch_add(1, SeqCst);
        async move {
            let _inside = inside;
            // The limit of the attempt.
            Set::by(time_left().unwrap(), 100, 200);
            tokio::task::yield_now().await;
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            Ok(answer)
        }
    })
}

/// What the primary and each provider had, by the deadlines of their scopes.
type Seen = Arc<std::sync::Mutex<Vec<Set>>>;

fn seen(seen: &Seen, a: u32, b: u32) {
    seen.lock().unwrap().push(Set::by(scope::deadline().unwrap().instant() - tokio::time::Instant::now(), a, b));
}

/// Fails, and notes its time.
fn provider(name: backstop::Name, a: u32, b: u32) -> Provider<Request, Response<Body>> {
    Provider::head(name, move |head: http::request::Parts| {
        seen(head.extensions.get::<Seen>().unwrap(), a, b);
        async { Err::<Response<Body>, _>(io::Error::other("no")) }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reloads_under_traffic_lose_no_permit_and_mix_no_settings() {
    let gauge = Gauge::default();
    let standard = Standard::from_config(Set::A.standard()).unwrap();
    let chain = FallbackChain::builder("stormy_chain")
        .provider(provider(name!("live"), 1100, 2100))
        .provider(provider(name!("list"), 1200, 2200))
        .provider(Provider::value(name!("last"), || async { Response::new(Body::empty()) }))
        .with_config(Set::A.fallback())
        .build()
        .unwrap();
    let edge = DeadlineLayer::from_config(Set::A.deadline()).unwrap();
    let headers = DegradationHeaderLayer::from_config(Set::A.headers()).unwrap();
    let handles = Arc::new(Handles {
        standard: standard.handle(),
        chain: chain.handle(),
        edge: edge.handle(),
        headers: headers.handle(),
    });
    let note = |request: Request| {
        seen(request.extensions().get::<Seen>().unwrap(), 1000, 2000);
        request
    };
    let fallback = FallbackLayer::new(name!("primary"), chain);
    let stack =
        ServiceBuilder::new().layer(headers).layer(edge).layer(fallback).map_request(note).layer(standard.clone());
    let stack = stack.service(upstream(&gauge));

    let mut callers = JoinSet::new();
    for _ in 0..TASKS {
        let stack = stack.clone();
        callers.spawn(async move {
            for _ in 0..CALLS {
                let (attempts, seen) = (Attempts::default(), Seen::default());
                let mut request = Request::new(Body::empty());
                request.extensions_mut().insert(attempts.clone());
                request.extensions_mut().insert(Arc::clone(&seen));
                let answer = stack.clone().oneshot(request).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK, "the last provider's");
                // One set of settings for a request's whole life, in each layer.
                let attempts = attempts.0.load(SeqCst);
                assert!(matches!(attempts, 2 | 3), "{attempts} attempts");
                let seen = seen.lock().unwrap().clone();
                assert_eq!(seen.len(), 3);
                assert!(seen.iter().all(|set| *set == seen[0]), "a mix: {seen:?}");
                let source = answer.headers()["x-fallback-source"].to_str().unwrap();
                assert!(matches!(source, "last" | "last;index=3;reason=status-503"), "{source}");
                let freshness = &answer.headers()["x-data-freshness"];
                assert_eq!(freshness, "degraded");
            }
        });
    }
    let done = Arc::new(AtomicUsize::new(0));
    let reloaders: Vec<_> = [Set::A, Set::B]
        .map(|set| {
            let (handles, done) = (Arc::clone(&handles), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut reloads = 0;
                while done.load(SeqCst) == 0 {
                    handles.reload(set, reloads % 2 == 1);
                    reloads += 1;
                }
                reloads
            })
        })
        .into();
    while let Some(caller) = callers.join_next().await {
        if let Err(error) = caller {
            done.store(1, SeqCst);
            panic!("{error}");
        }
    }
    done.store(1, SeqCst);
    for reloader in reloaders {
        assert!(reloader.join().unwrap() > 0);
    }

    let bulkhead = handles.standard.bulkhead().unwrap();
    assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (0, 0), "no permit is lost");
    assert_eq!(gauge.0[0].load(SeqCst), 0);
    assert!((1..=3).contains(&gauge.0[1].load(SeqCst)), "never more than the larger limit");
    for set in [Set::B, Set::A] {
        handles.reload(set, false);
        assert_eq!(handles.standard.config(), set.standard());
        assert_eq!((bulkhead.max_concurrent(), bulkhead.max_waiting()), (set.of(2, 3), set.of(20, 30)));
        assert_eq!(bulkhead.max_wait(), SECOND * set.of(50, 60));
        assert_eq!(handles.chain.total(), SECOND * set.of(4000, 8000));
        assert_eq!(handles.edge.limit(), SECOND * set.of(10_000, 20_000));
        assert_eq!(handles.headers.config(), set.headers());
    }
    // Exactly as many run as may: every permit is there.
    let hung = standard.layer(service_fn(|_: Request| std::future::pending::<Result<Response<Body>, Infallible>>()));
    let mut running: Vec<_> =
        (0..3).map(|_| tokio_test::task::spawn(hung.clone().oneshot(Request::new(Body::empty())))).collect();
    running.iter_mut().for_each(|call| assert!(call.poll().is_pending()));
    assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (2, 1));
    drop(running);
    assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (0, 0));
}
