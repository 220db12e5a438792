//! Providers that are asked in the shadow of the primary.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]
#![allow(clippy::disallowed_methods, reason = "the executor that a user passes")]

use std::{
    future::{pending, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use axum::{body::Body, response::Response};
use backstop_core::{Degradation, Freshness, Level, Reason, Scope, name, scope};
use backstop_fallback::{
    Drill, DrillRun, FallbackChain, FallbackConfig, FallbackHandle, FallbackLayer, LastProven, ProvenBy, Provider,
    Repeat,
};
use backstop_test::{Logs, Scripted};
use http::{Method, Request};
use tokio::{
    runtime::Builder,
    task::yield_now,
    time::{Instant, advance, sleep},
};
use tokio_test::{assert_pending, task};
use tower::{Layer, ServiceExt, limit::ConcurrencyLimitLayer};

use crate::{common::*, storms::Gauge};

pub(crate) const EVERY: Duration = Duration::from_secs(10);

pub(crate) fn spawn(run: DrillRun) {
    drop(tokio::spawn(run));
}

pub(crate) fn drill() -> Drill<Req> {
    Drill::new(spawn, || Level::Healthy)
}

/// Answers after 20 ms.
fn primary() -> Scripted<Req, Response> {
    let answer = |_, _: Req| async {
        sleep(Duration::from_millis(20)).await;
        infallible(Response::builder().header("x-from", "primary").body(Body::from("well")).unwrap())
    };
    Scripted::new(answer)
}

fn around(provider: Provider<Req, Response>, drill: Drill<Req>) -> FallbackLayer<Req, Response> {
    let chain = FallbackChain::builder("chain").total(TOTAL).provider(provider).build().unwrap();
    FallbackLayer::new(name!("primary"), chain).with_drill(drill).unwrap()
}

/// What a caller gets, and after how long.
async fn answer(layer: &FallbackLayer<Req, Response>, request: Req) -> (String, Duration) {
    let began = Instant::now();
    let response = layer.layer(primary()).oneshot(request).await.unwrap();
    let took = began.elapsed();
    let head = format!("{} {:?}", response.status(), response.headers());
    (format!("{head} {}", text(response).await), took)
}

pub(crate) async fn settle() {
    for _ in 0..10 {
        yield_now().await;
    }
}

pub(crate) fn proven(handle: &FallbackHandle) -> Vec<Option<ProvenBy>> {
    handle.status().last_proven.into_iter().map(|(_, last)| last.map(|LastProven { by, .. }| by)).collect()
}

fn scripted(answer: u16) -> Scripted<Req, Response> {
    Scripted::statuses([answer])
}

#[tokio::test(start_paused = true)]
async fn whatever_a_drill_does_the_caller_gets_the_same_bytes_at_the_same_time() {
    let plain = FallbackLayer::new(name!("primary"), behind());
    let expected = answer(&plain, get()).await;
    let full = ConcurrencyLimitLayer::new(1);
    let providers: Vec<Provider<Req, Response>> = vec![
        Provider::service(name!("answers"), scripted(200)),
        Provider::service(name!("fails"), scripted(500)),
        Provider::from_fn(name!("hangs"), |_| pending::<Response>()),
        Provider::from_fn(name!("panics"), |_| async { if true { panic!("on purpose") } else { status(200) } }),
        Provider::from_fn(name!("panics_when_called"), |_| -> std::future::Ready<Response> { panic!("on purpose") }),
        Provider::service(name!("fills_its_bulkhead"), full.layer(Scripted::<Req, Response>::hanging())),
        Provider::from_fn(name!("reports"), |_| async {
            scope::report(Degradation::new(name!("inner"), name!("cache"), 1, Reason::ERROR, Freshness::Degraded));
            status(200)
        }),
    ];
    for provider in providers {
        let name = provider.name().clone();
        let layer = around(provider, drill());
        for _ in 0..3 {
            let (mut caller, mut call) = (Scope::new(), pin!(answer(&layer, get())));
            assert_eq!(poll_fn(|cx| caller.enter(|| call.as_mut().poll(cx))).await, expected, "{name}");
            assert!(caller.take_reports().is_empty() && !caller.has_injected_fault(), "{name}");
            advance(EVERY).await;
        }
        let status = layer.handle().status();
        assert_eq!(status.episode, None, "{name}");
        let answers = ["answers", "reports"].contains(&name.as_str());
        assert_eq!(status.last_proven[0].1.map(|last| last.by), answers.then_some(ProvenBy::Drill), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_executor_that_panics_drops_or_forgets_runs_harms_no_request() {
    type Spawn = fn(DrillRun);
    let executors: [Spawn; 3] = [|_| panic!("no runtime"), drop, |run| _ = Box::leak(Box::new(run))];
    for executor in executors {
        let replica = scripted(200);
        let drill = Drill::new(executor, || Level::Healthy);
        let layer = around(Provider::service(name!("replica"), replica.clone()), drill);
        for _ in 0..3 {
            assert!(answer(&layer, get()).await.0.ends_with("well"));
            advance(EVERY).await;
        }
        assert_eq!(replica.calls(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn only_safe_requests_are_drilled_and_the_provider_gets_a_copy() {
    let replica = scripted(200).recording(|request: &Req| request.method().to_string());
    let layer = around(Provider::service(name!("replica"), replica.clone()), drill());
    let request = |method: Method| Request::builder().method(method).uri("/").body(Body::empty()).unwrap();
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        answer(&layer, request(method)).await;
    }
    let mut once = get();
    once.extensions_mut().insert(Repeat::Never);
    answer(&layer, once).await;
    settle().await;
    assert_eq!(replica.calls(), 0, "once");
    // Its copy might take the body away from the primary.
    let chunks = tokio_test::stream_mock::StreamMockBuilder::new().next(infallible("part"));
    let streamed = Body::from_stream(chunks.build());
    answer(&layer, Request::get("/").body(streamed).unwrap()).await;
    settle().await;
    assert_eq!(replica.requests(), [""; 0]);
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
        answer(&layer, request(method)).await;
        advance(EVERY).await;
        settle().await;
    }
    assert_eq!(replica.requests(), ["GET", "HEAD", "OPTIONS", "TRACE"]);
}

#[tokio::test(start_paused = true)]
async fn drills_are_at_least_their_time_apart_and_never_more_than_one_a_second() {
    for (every, expected) in [(None, 6), (Some(1), 59), (Some(7), 9)] {
        let replica = scripted(200);
        let every = every.map_or(EVERY, Duration::from_secs);
        let layer = around(Provider::service(name!("replica"), replica.clone()), drill().every(every));
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(60) {
            answer(&layer, get()).await;
        }
        assert!(replica.gaps().iter().all(|gap| *gap >= every), "{:?}", replica.gaps());
        assert_eq!(replica.calls(), expected, "{every:?}");
    }
    for every in [Duration::from_millis(999), Duration::from_secs(24 * 60 * 60 + 1)] {
        let refused = FallbackLayer::new(name!("primary"), behind()).with_drill(drill().every(every));
        assert_eq!((refused.unwrap_err().field.as_ref()), "every");
    }
}

#[test]
fn many_threads_never_drill_twice_at_a_time() {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (gauge, begun) = (Gauge::default(), Arc::new(Mutex::new(Vec::new())));
    let (inside, counted) = (gauge.clone(), Arc::clone(&begun));
    let replica = Provider::from_fn(name!("replica"), move |_: Req| {
        let inside = inside.enter();
        counted.lock().unwrap().push(Instant::now());
        async move {
            let _inside = inside;
            yield_now().await;
            status(200)
        }
    });
    let runs = Arc::new(Mutex::new(Vec::<DrillRun>::new()));
    let queue = Arc::clone(&runs);
    let spawn = move |run| queue.lock().unwrap().push(run);
    let layer = {
        let _in_runtime = runtime.enter();
        around(replica, Drill::new(spawn, || Level::Healthy).every(Duration::from_secs(1)))
    };
    let (is_done, service) = (AtomicBool::new(false), layer.layer(scripted(200)));
    // The clock stands still while a run is polled.
    let clock = RwLock::new(());
    thread::scope(|scope| {
        for i in 0..4 {
            let service = service.clone();
            let (is_done, runtime, runs, clock) = (&is_done, &runtime, &runs, &clock);
            scope.spawn(move || {
                let _in_runtime = runtime.enter();
                while !is_done.load(SeqCst) {
                    assert!(task::spawn(service.clone().oneshot(get())).poll().is_ready());
                    let run = runs.lock().unwrap().pop();
                    if let Some(run) = run {
                        let mut run = task::spawn(run);
                        let _still = clock.read().unwrap();
                        // An executor may poll a run now and then, and may drop it.
                        for _ in 0..=i {
                            if run.poll().is_ready() {
                                break;
                            }
                        }
                    }
                }
            });
        }
        // Until some were drilled, and no further if the threads have failed.
        for _ in 0..100_000 {
            if begun.lock().unwrap().len() >= 200 {
                break;
            }
            let moves = clock.write().unwrap();
            runtime.block_on(advance(Duration::from_millis(100)));
            drop(moves);
            thread::yield_now();
        }
        is_done.store(true, SeqCst);
    });
    let begun = begun.lock().unwrap();
    assert!(begun.len() >= 200);
    assert_eq!(gauge.most(), 1);
    assert!(begun.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_drilled_while_answers_are_degraded_or_the_service_or_the_circuit_is_not_well() {
    let (level, is_closed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let (levels, closed) = (Arc::clone(&level), Arc::clone(&is_closed));
    let replica = scripted(200);
    let drill = Drill::new(spawn, move || match levels.load(SeqCst) {
        0 => Level::Healthy,
        1 => Level::Degraded,
        _ => panic!("on purpose"),
    });
    let drill = drill.circuit("replica", move || closed.load(SeqCst));
    let layer = around(Provider::service(name!("replica"), replica.clone()), drill);
    let drilled = async || {
        let before = replica.calls();
        answer(&layer, get()).await;
        settle().await;
        let drilled = replica.calls() > before;
        advance(EVERY).await;
        settle().await;
        drilled
    };
    assert!(drilled().await);
    for worse in [1, 2] {
        level.store(worse, SeqCst);
        assert!(!drilled().await);
    }
    level.store(0, SeqCst);
    assert!(drilled().await);
    is_closed.store(false, SeqCst);
    assert!(!drilled().await);
    is_closed.store(true, SeqCst);
    assert!(drilled().await);

    ask(&layer, Some(503)).await;
    for _ in 0..5 {
        assert!(!drilled().await);
    }
    advance(Duration::from_secs(60)).await;
    // This answer ends the episode, before its drill begins or after it.
    drilled().await;
    assert!(drilled().await);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_the_drill_that_runs_and_all_others() {
    for runs in [true, false] {
        let replica = Scripted::<Req, Response>::hanging();
        let (drain, drains) = tokio::sync::watch::channel(false);
        let until = move || {
            let mut drains = drains.clone();
            async move { drains.wait_for(|drains| *drains).await.map(|_| ()) }
        };
        let layer = around(Provider::service(name!("replica"), replica.clone()), drill().until(until));
        if runs {
            answer(&layer, get()).await;
            settle().await;
            assert_eq!((replica.calls(), replica.dropped()), (1, 0));
        }
        drain.send(true).unwrap();
        settle().await;
        assert_eq!(replica.dropped(), usize::from(runs));
        for _ in 0..3 {
            advance(EVERY).await;
            answer(&layer, get()).await;
            settle().await;
        }
        assert_eq!(replica.calls(), usize::from(runs));
    }
}

#[tokio::test(start_paused = true)]
async fn a_live_request_takes_the_place_of_a_drill() {
    // The first call hangs, and is the drill's.
    let replica = || {
        Scripted::<Req, Response>::new(
            |n, _| async move { if n == 1 { pending().await } else { infallible(status(200)) } },
        )
    };
    let limited = replica();
    let bulkhead = ConcurrencyLimitLayer::new(1).layer(limited.clone());
    let counted = replica();
    for (provider, replica) in [
        (Provider::service(name!("replica"), bulkhead), limited),
        (Provider::service(name!("replica"), counted.clone()).concurrency(1), counted),
    ] {
        let layer = around(provider, drill());
        let live = || layer.layer(Scripted::<Req, Response>::statuses([503])).oneshot(get());
        answer(&layer, get()).await;
        assert_eq!((replica.calls(), replica.dropped()), (1, 0));
        let began = Instant::now();
        assert_eq!(text(live().await.unwrap()).await, "status 200");
        assert_eq!((began.elapsed(), replica.dropped()), (Duration::ZERO, 1));
        assert_eq!(proven(&layer.handle()), [Some(ProvenBy::Activation)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_full_of_live_requests_is_not_drilled() {
    let replica = Scripted::<Req, Response>::hanging();
    let layer = around(Provider::service(name!("replica"), replica.clone()).concurrency(1), drill());
    let mut live = task::spawn(layer.layer(Scripted::<Req, Response>::statuses([503])).oneshot(get()));
    assert_pending!(live.poll());
    answer(&layer, get()).await;
    settle().await;
    assert_eq!(replica.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_does_not_end_a_drill() {
    let answering = |_| async {
        sleep(Duration::from_millis(50)).await;
        status(200)
    };
    let layer = around(Provider::from_fn(name!("replica"), answering), drill());
    let service = layer.layer(Scripted::<Req, Response>::hanging());
    let mut call = task::spawn(service.oneshot(get()));
    assert_pending!(call.poll());
    drop(call);
    sleep(Duration::from_millis(60)).await;
    assert_eq!(proven(&layer.handle()), [Some(ProvenBy::Drill)]);
}

#[tokio::test(start_paused = true)]
async fn a_drill_whose_chain_is_gone_leaves_nothing_behind() {
    let runs = Arc::new(Mutex::new(Vec::<DrillRun>::new()));
    let queue = Arc::clone(&runs);
    let replica = Scripted::<Req, Response>::hanging();
    let provider = Provider::service(name!("replica"), replica.clone());
    let layer = around(provider, Drill::new(move |run| queue.lock().unwrap().push(run), || Level::Healthy));
    answer(&layer, get()).await;
    let mut run = task::spawn(runs.lock().unwrap().pop().unwrap());
    assert_pending!(run.poll());
    assert_eq!((replica.calls(), replica.dropped()), (1, 0));
    drop(layer);
    drop(run);
    assert_eq!(replica.dropped(), 1);
}

#[tokio::test(start_paused = true)]
async fn each_provider_has_its_turn_but_those_that_may_write() {
    let [one, two, queue] = [(); 3].map(|()| scripted(200));
    let chain = FallbackChain::builder("chain")
        .provider(Provider::service(name!("one"), one.clone()))
        .provider(Provider::service(name!("queue"), queue.clone()).even_if_processed())
        .provider(Provider::service(name!("two"), two.clone()))
        .build()
        .unwrap();
    let layer: FallbackLayer<_, _> = FallbackLayer::new(name!("primary"), chain.clone()).with_drill(drill()).unwrap();
    for _ in 0..6 {
        answer(&layer, get()).await;
        advance(EVERY).await;
        settle().await;
    }
    assert_eq!([one.calls(), queue.calls(), two.calls()], [3, 0, 3]);

    let second: Result<FallbackLayer<_, _>, _> = FallbackLayer::new(name!("primary"), chain).with_drill(drill());
    assert_eq!(second.unwrap_err().to_string(), "drill is \"a second one\", allowed is: one drill in a chain");
    let writes = FallbackChain::builder("chain")
        .provider(Provider::service(name!("queue"), queue).even_if_processed())
        .build()
        .unwrap();
    let nobody: Result<FallbackLayer<_, _>, _> = FallbackLayer::new(name!("primary"), writes).with_drill(drill());
    assert_eq!(nobody.unwrap_err().field, "drill");
    let unknown = FallbackLayer::new(name!("primary"), behind()).with_drill(drill().circuit("statik", || true));
    assert_eq!(unknown.unwrap_err().to_string(), "circuit is statik, allowed is: static");
}

#[tokio::test(start_paused = true)]
async fn in_a_handler_all_providers_but_the_first_are_drilled_with_the_requests_that_are_safe() {
    let (live, replica) = (Scripted::<u32, u32>::answering(7), Scripted::<u32, u32>::answering(8));
    let replica = replica.recording(|item: &u32| *item);
    let chain = FallbackChain::builder("prices")
        .provider(Provider::service(name!("live"), live.clone()))
        .provider(Provider::service(name!("replica"), replica.clone()))
        .fail_safe(0)
        .build()
        .unwrap()
        .with_drill(Drill::for_requests(|item| item % 2 == 0, spawn, || Level::Healthy))
        .unwrap();
    for item in [1, 2, 3, 4] {
        let answer = chain.execute(item).await;
        assert_eq!((answer.value, answer.is_fallback), (7, false));
        settle().await;
        advance(EVERY).await;
        settle().await;
    }
    assert_eq!((live.calls(), replica.requests()), (4, vec![2, 4]));
    assert_eq!(proven(&chain.handle()), [None, Some(ProvenBy::Drill)]);
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_the_time_between_drills_also_of_one_that_waits() {
    let replica = scripted(200);
    let provider = Provider::service(name!("replica"), replica.clone());
    let layer = around(provider, drill().every(Duration::from_secs(24 * 60 * 60)));
    let handle = layer.handle();
    answer(&layer, get()).await;
    settle().await;
    let mut config = FallbackConfig::new("chain");
    config.drill_every = Some(Duration::from_secs(5));
    handle.reload(config.clone()).unwrap();
    assert_eq!(handle.drill_every(), Some(Duration::from_secs(5)));
    sleep(Duration::from_secs(6)).await;
    answer(&layer, get()).await;
    assert_eq!(replica.calls(), 2);
    config.drill_every = Some(Duration::from_millis(500));
    let refused = handle.reload(config).unwrap_err();
    assert_eq!(refused.to_string(), "drill_every is 500ms, allowed is: 1 s to 24 h");
    assert_eq!(FallbackLayer::new(name!("primary"), behind()).handle().drill_every(), None);
}

#[tokio::test(start_paused = true)]
async fn the_first_failed_drill_of_a_provider_is_a_warning_and_its_next_answer_is_told() {
    let (logs, replica) =
        (Logs::up_to(tracing::Level::INFO), Scripted::<Req, Response>::statuses([500, 500, 200, 200, 500]));
    let _guard = logs.listen();
    let layer = around(Provider::service(name!("replica"), replica), drill());
    let mut lines = Vec::new();
    for _ in 0..5 {
        answer(&layer, get()).await;
        settle().await;
        lines.push(logs.take().lines());
        advance(EVERY).await;
        settle().await;
    }
    let failed =
        "WARN backstop::fallback: a provider did not answer a drill chain=chain provider=replica reason=status-500";
    let again = "INFO backstop::fallback: a provider answers drills again chain=chain provider=replica";
    assert_eq!(lines, [vec![failed], vec![], vec![again], vec![], vec![failed]]);
}
