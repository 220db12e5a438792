//! In random stacks of layers, handlers, buffers, retries, fallbacks, tasks and two-step services, each `POST` is charged at
//! most once.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{body::Body, response::Response};
use backstop::{
    BulkheadLayer, CircuitBreakerLayer, DeadlineLayer, DegradationHeaderLayer, FallbackChain, FallbackLayer,
    LastKnownGoodLayer, Provider, RetryLayer, TimeoutLayer, client, name,
};
use http::Request;
use proptest::prelude::*;
use tokio::task::JoinSet;
use tower::{
    BoxError, Service, ServiceBuilder, ServiceExt, buffer::BufferLayer, service_fn, util::BoxCloneSyncService,
};

type Req = Request<Body>;
type Boxed = BoxCloneSyncService<Req, Response, BoxError>;

fn post() -> Req {
    Request::post("/").body(Body::from("999")).unwrap()
}

fn answer(status: u16) -> Result<Response, BoxError> {
    Ok(Response::builder().status(status).body(Body::empty()).unwrap())
}

fn error(kind: io::ErrorKind) -> Result<Response, BoxError> {
    Err(io::Error::from(kind).into())
}

/// Draws a stack, and what each of its services does.
struct Draw {
    bytes: std::vec::IntoIter<u8>,
    charges: Arc<AtomicU32>,
    /// What was drawn.
    shown: String,
}

impl Draw {
    /// A number below `n`. 0 if no more random bytes are left.
    fn one_of(&mut self, n: u8) -> u8 {
        self.bytes.next().unwrap_or(0) % n
    }

    fn show(&mut self, what: &str) {
        self.shown.push_str(what);
        self.shown.push(' ');
    }

    /// A client each of whose requests charges, or fails before it is sent.
    fn charging_client(&mut self) -> Boxed {
        let script: Vec<u8> = (0..3).map(|_| self.one_of(5)).collect();
        self.show(&format!("client{script:?}"));
        let (charges, calls) = (Arc::clone(&self.charges), Arc::new(AtomicUsize::new(0)));
        BoxCloneSyncService::new(client(service_fn(move |_: Req| {
            let (charges, does) = (Arc::clone(&charges), script[calls.fetch_add(1, SeqCst) % script.len()]);
            async move {
                if does == 0 {
                    return error(io::ErrorKind::ConnectionRefused);
                }
                if does == 4 {
                    tokio::time::sleep(Duration::from_secs(3)).await;
                }
                charges.fetch_add(1, SeqCst);
                match does {
                    1 => answer(503),
                    2 => error(io::ErrorKind::ConnectionReset),
                    _ => answer(200),
                }
            }
        })))
    }

    /// A stack that charges nothing, and mostly refuses.
    fn harmless(&mut self, depth: u8) -> Boxed {
        let kind = self.one_of(4);
        self.show(["unreachable", "open", "not-found", "down"][kind as usize]);
        let inner = service_fn(move |_: Req| async move {
            match kind {
                0 => error(io::ErrorKind::ConnectionRefused),
                2 => answer(404),
                _ => answer(503),
            }
        });
        let inner = BoxCloneSyncService::new(client(inner));
        let inner = if kind == 1 { open(inner) } else { inner };
        if depth == 0 { inner } else { self.around(inner) }
    }

    /// A stack that charges once, unless something in it sends the request twice.
    fn charging(&mut self, depth: u8) -> Boxed {
        if depth == 0 {
            return self.charging_client();
        }
        match self.one_of(10) {
            0 => {
                self.show("handler(charge,");
                let (inner, charges) = (self.harmless(depth - 1), Arc::clone(&self.charges));
                self.show(")");
                BoxCloneSyncService::new(service_fn(move |request: Req| {
                    let (inner, charges) = (inner.clone(), Arc::clone(&charges));
                    async move {
                        charges.fetch_add(1, SeqCst);
                        inner.oneshot(request).await
                    }
                }))
            }
            1 => {
                self.show("steps(");
                let (first, second) = (self.charging(depth - 1), self.harmless(depth - 1));
                self.show(")");
                BoxCloneSyncService::new(service_fn(move |request: Req| {
                    let (first, second) = (first.clone(), second.clone());
                    async move {
                        first.oneshot(post()).await?;
                        second.oneshot(request).await
                    }
                }))
            }
            2 => {
                self.show("steps-at-once(");
                let (first, second) = (self.charging(depth - 1), self.harmless(depth - 1));
                self.show(")");
                // One of our layers must be entered for the first step, because other services aren't seen.
                let first = ServiceBuilder::new().layer(TimeoutLayer::new(name!("first"))).service(first);
                let first = BoxCloneSyncService::new(first);
                BoxCloneSyncService::new(service_fn(move |request: Req| {
                    let (first, second) = (call_now(&first, post()), call_now(&second, request));
                    async {
                        first.await?;
                        second.await
                    }
                }))
            }
            3 => {
                self.show("steps-one-at-once(");
                let (first, second) = (self.charging(depth - 1), self.harmless(depth - 1));
                let waits = self.one_of(2) == 1;
                self.show(if waits { ", waits)" } else { ")" });
                BoxCloneSyncService::new(service_fn(move |request: Req| {
                    let (first, second) = (first.clone(), call_now(&second, request));
                    async move {
                        if waits {
                            tokio::task::yield_now().await;
                        }
                        first.oneshot(post()).await?;
                        second.await
                    }
                }))
            }
            4 => {
                self.show("fallback(");
                let primary = self.charging(depth - 1);
                let provider = self.charging(depth - 1);
                let provider = match self.one_of(2) {
                    0 => Provider::service(name!("service"), provider),
                    _ => {
                        self.show("(function)");
                        Provider::from_fn(name!("function"), move |request| provider.clone().oneshot(request))
                    }
                };
                self.show(")");
                let chain = FallbackChain::builder("chain").provider(provider).build().unwrap();
                let layer = FallbackLayer::new(name!("primary"), chain);
                BoxCloneSyncService::new(ServiceBuilder::new().layer(layer).service(primary))
            }
            _ => {
                let inner = self.charging(depth - 1);
                self.around(inner)
            }
        }
    }

    /// Something around `inner` that calls it.
    fn around(&mut self, inner: Boxed) -> Boxed {
        let stack = ServiceBuilder::new();
        let kind = self.one_of(14);
        self.show(
            [
                "<-retry",
                "<-breaker",
                "<-bulkhead",
                "<-timeout",
                "<-deadline",
                "<-header",
                "<-keyed",
                "<-known",
                "<-buffer",
                "<-task",
                "<-handler",
                "<-map",
                "<-open",
                "<-standard",
            ][kind as usize],
        );
        match kind {
            0 => {
                let retry = RetryLayer::builder("retry").backoff_base(Duration::from_millis(1)).build().unwrap();
                BoxCloneSyncService::new(stack.layer(retry).service(inner))
            }
            1 => {
                let breaker = CircuitBreakerLayer::builder("breaker").consecutive_failures(2).build().unwrap();
                BoxCloneSyncService::new(stack.layer(breaker).service(inner))
            }
            2 => BoxCloneSyncService::new(stack.layer(BulkheadLayer::new(name!("bulkhead"))).service(inner)),
            3 => BoxCloneSyncService::new(stack.layer(TimeoutLayer::new(name!("timeout"))).service(inner)),
            4 => BoxCloneSyncService::new(stack.layer(DeadlineLayer::new(name!("deadline"))).service(inner)),
            5 => BoxCloneSyncService::new(stack.layer(DegradationHeaderLayer::new()).service(inner)),
            6 => {
                let keyed = CircuitBreakerLayer::builder("keyed").consecutive_failures(1);
                let keyed = keyed.build_keyed(10, |request: &Req| request.uri().clone()).unwrap();
                BoxCloneSyncService::new(stack.layer(keyed).service(inner))
            }
            7 => BoxCloneSyncService::new(stack.layer(LastKnownGoodLayer::new(name!("known"))).service(inner)),
            8 => BoxCloneSyncService::new(stack.layer(BufferLayer::new(4)).service(inner)),
            9 => BoxCloneSyncService::new(service_fn(move |request: Req| {
                let call = call_now(&inner, request);
                async {
                    let mut tasks = JoinSet::new();
                    tasks.spawn(call);
                    tasks.join_next().await.unwrap().unwrap()
                }
            })),
            10 => BoxCloneSyncService::new(service_fn(move |request: Req| inner.clone().oneshot(request))),
            11 => BoxCloneSyncService::new(inner.map_response(|response| response).map_request(|request| request)),
            12 => open(inner),
            _ => BoxCloneSyncService::new(
                stack.layer(DegradationHeaderLayer::new()).service(
                    // The layers of `standard`, without `client(…)`.
                    ServiceBuilder::new()
                        .layer(RetryLayer::new(name!("standard")))
                        .layer(CircuitBreakerLayer::new(name!("standard")))
                        .layer(BulkheadLayer::new(name!("standard")))
                        .layer(TimeoutLayer::new(name!("standard")))
                        .service(inner),
                ),
            ),
        }
    }
}

/// Calls `service` at once if it is ready, otherwise when it becomes ready.
fn call_now(service: &Boxed, request: Req) -> Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>> {
    let mut service = service.clone();
    match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(())) => Box::pin(service.call(request)),
        _ => Box::pin(service.oneshot(request)),
    }
}

/// Refuses every request.
fn open(inner: Boxed) -> Boxed {
    let layer = CircuitBreakerLayer::new(name!("open"));
    layer.handle().isolate();
    BoxCloneSyncService::new(ServiceBuilder::new().layer(layer).service(inner))
}

proptest! {
    #[test]
    fn a_post_is_charged_at_most_once_in_any_stack(depth in 1u8..6, bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _in_runtime = runtime.enter();
        let charges = Arc::new(AtomicU32::new(0));
        let mut draw = Draw { bytes: bytes.into_iter(), charges: Arc::clone(&charges), shown: String::new() };
        let stack = draw.charging(depth);
        // A layer around all of it that could send the request again.
        let stack = draw.around(stack);
        let again = draw.charging(0);
        let chain = FallbackChain::builder("outermost").provider(Provider::service(name!("again"), again)).build().unwrap();
        let stack = ServiceBuilder::new().layer(FallbackLayer::new(name!("stack"), chain)).service(stack);
        for n in 1..=3 {
            let before = charges.load(SeqCst);
            _ = runtime.block_on(stack.clone().oneshot(post()));
            // Abandoned calls may still run.
            runtime.block_on(tokio::time::sleep(Duration::from_secs(10)));
            let charged = charges.load(SeqCst) - before;
            prop_assert!(charged <= 1, "request {n} was charged {charged} times: {}", draw.shown);
        }
    }
}
