//! Reading bytes from outside takes linear time, in every layer.
//!
//! The test counts instructions, see [`backstop_tests::instructions`]. `.ci/run` installs the valgrind that it needs. The
//! reference app has a test of its own for what it parses itself.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    mem,
    pin::Pin,
    sync::{Arc, Mutex},
};

use axum::body::Body;
use backstop::{
    DeadlineHeader, DeadlineLayer, DegradationHeaderLayer, FallbackChain, FallbackLayer, LastKnownGoodLayer,
    PropagateDeadlineLayer, Provider, StaleWhileRevalidateLayer, Standard, name,
};
use backstop_tests::instructions::{Case, superlinear};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use tokio::runtime::{Builder, Runtime};
use tower::{ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};

/// Bytes that are bad to read for somebody.
const PATTERNS: [fn(usize) -> Vec<u8>; 9] = [
    |size| vec![b'9'; size],
    |size| vec![b','; size],
    |size| b"a=\",".repeat(size / 4),
    |size| [b"\"", &b"\\\"".repeat(size / 2)[..]].concat(),
    |size| [b"1", &vec![b' '; size][..], b"1"].concat(),
    |size| list(size, |i| format!("x-{i:04},")),
    |size| [b"fresh", &b";age=1"[..].repeat(size / 6)[..]].concat(),
    |size| b"a@:".repeat(size / 3),
    |size| b"en;q=0.1,".repeat(size / 9),
];

fn list(size: usize, member: impl Fn(usize) -> String) -> Vec<u8> {
    (0..size / 7).map(member).collect::<String>().into_bytes()
}

/// What is asked, and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchange {
    Read,
    /// The service fails, and what is stored is served.
    Failed,
    Written,
    Grpc,
}

use Exchange::{Failed, Grpc, Read, Written};

/// Every field that something in the workspace reads.
const ASKED: [(Exchange, &str); 17] = [
    (Read, "cache-control"),
    (Read, "connection"),
    (Read, "content-length"),
    (Read, "early-data"),
    (Read, "host"),
    (Read, "idempotency-key"),
    (Read, "pragma"),
    (Read, "transfer-encoding"),
    (Read, "upgrade"),
    (Read, "x-api-key"),
    (Read, "x-envoy-expected-rq-timeout-ms"),
    (Read, "x-other"),
    (Failed, "accept-encoding"),
    (Failed, "accept-language"),
    (Failed, "host"),
    (Written, "host"),
    (Grpc, "grpc-timeout"),
];

const ANSWERED: [(Exchange, &str); 23] = [
    (Read, "age"),
    (Read, "cache-control"),
    (Read, "connection"),
    (Read, "content-encoding"),
    (Read, "content-language"),
    (Read, "content-length"),
    (Read, "content-type"),
    (Read, "date"),
    (Read, "expires"),
    (Read, "pragma"),
    (Read, "set-cookie"),
    (Read, "vary"),
    (Read, "x-data-freshness"),
    (Read, "x-fallback-source"),
    (Read, "x-other"),
    (Failed, "date"),
    (Failed, "retry-after"),
    (Failed, "x-data-freshness"),
    (Failed, "x-fallback-source"),
    (Written, "content-location"),
    (Written, "location"),
    (Grpc, "grpc-retry-pushback-ms"),
    (Grpc, "grpc-status"),
];

/// Requests and their answers.
struct Calls {
    name: String,
    of_size: Box<dyn Fn(usize) -> Vec<Call>>,
}

type Call = (Request<Body>, Answer);
type Answer = (StatusCode, Vec<Field>);
type Field = (HeaderName, HeaderValue);

fn exchange(exchange: Exchange, asked: Vec<Field>, answered: Vec<Field>) -> Call {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = "/a/b/c".parse().unwrap();
    let status = match exchange {
        Read => StatusCode::OK,
        Failed => StatusCode::SERVICE_UNAVAILABLE,
        Written => {
            *request.method_mut() = Method::POST;
            StatusCode::CREATED
        }
        Grpc => {
            *request.method_mut() = Method::POST;
            *request.version_mut() = Version::HTTP_2;
            request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            StatusCode::OK
        }
    };
    let mut answer = vec![];
    if exchange == Grpc {
        answer.push(field("content-type", b"application/grpc"));
    }
    asked.into_iter().for_each(|(name, value)| _ = request.headers_mut().append(name, value));
    answer.extend(answered);
    (request, (status, answer))
}

fn field(name: &str, value: &[u8]) -> Field {
    (name.parse().unwrap(), HeaderValue::from_bytes(value).unwrap())
}

/// Values for a field: one long line each, and many short lines. Not too many: with debug assertions, `HeaderMap` looks at all
/// lines of a field for each line that it removes.
fn values(name: &'static str, size: usize) -> impl Iterator<Item = Vec<Field>> {
    let lines = PATTERNS.into_iter().map(move |bytes| vec![field(name, &bytes(size))]);
    lines.chain([vec![field(name, &b"a, ".repeat(42)); size / 128]])
}

/// Calls for the stack of all layers.
fn calls() -> Vec<Calls> {
    let mut all = Vec::new();
    let mut case = |name: String, of_size: Box<dyn Fn(usize) -> Vec<Call>>| all.push(Calls { name, of_size });
    for (kind, name) in ASKED {
        let make = move |size| values(name, size).map(|fields| exchange(kind, fields, vec![])).collect();
        case(format!("{name} of a request, {kind:?}"), Box::new(make));
    }
    for (kind, name) in ANSWERED {
        let make = move |size| values(name, size).map(|fields| exchange(kind, vec![], fields)).collect();
        case(format!("{name} of an answer, {kind:?}"), Box::new(make));
    }
    // What is read of one field for each of the others.
    let many = |size: usize| (0..size / 16).map(|i| field(&format!("x-{i:04}"), b"a"));
    for name in ["connection", "vary"] {
        let names = move |size| field(name, &list(size, |i| format!("x-{i:04},")));
        let make = move |size| {
            let answered = many(size).chain([names(size)]).collect();
            vec![exchange(Read, many(size).collect(), answered)]
        };
        case(format!("many fields, and {name} that names them"), Box::new(make));
    }
    for kind in [Read, Written] {
        let make = move |size| {
            let paths = ["a".repeat(size), "a/".repeat(size / 2), "/".repeat(size), "../".repeat(size / 3)];
            let queries = ["?a=b".repeat(size / 4)];
            let of_path = |path: String| {
                let locations = [("location", &b"../".repeat(size / 3)[..]), ("content-location", b"?x")];
                let (mut request, answer) =
                    exchange(kind, vec![], locations.map(|(name, text)| field(name, text)).into());
                *request.uri_mut() = format!("/{path}").parse().unwrap();
                (request, answer)
            };
            paths.into_iter().chain(queries).map(of_path).collect()
        };
        case(format!("a long path, {kind:?}"), Box::new(make));
    }
    all
}

/// Calls for the stack that revalidates.
fn revalidated_calls() -> Vec<Calls> {
    let mut all = Vec::new();
    let mut case = |name: String, of_size: Box<dyn Fn(usize) -> Vec<Call>>| all.push(Calls { name, of_size });
    for (_, name) in ASKED.into_iter().filter(|(kind, _)| matches!(kind, Read | Failed)) {
        let make = move |size| values(name, size).map(|fields| exchange(Read, fields, vec![])).collect();
        case(format!("{name} of a request that a stored answer may serve"), Box::new(make));
    }
    for name in ["if-none-match", "if-range", "range"] {
        let make = move |size| values(name, size).map(|fields| exchange(Read, fields, vec![])).collect();
        case(format!("{name} of a request"), Box::new(make));
    }
    for (_, name) in ANSWERED.into_iter().filter(|(kind, _)| *kind == Read) {
        let make = move |size| values(name, size).map(|fields| exchange(Read, vec![], fields)).collect();
        case(format!("{name} of the answer to a refresh"), Box::new(make));
    }
    all
}

/// Prepares these calls of the stack of all layers.
fn through_all_layers(runtime: &Runtime, calls: Vec<Call>) -> impl FnOnce() {
    let mut stack = runtime.block_on(Stack::start());
    let mut ready = Vec::new();
    for (request, answer) in calls {
        // An open circuit would read nothing more.
        if answer.0.is_server_error() {
            stack = runtime.block_on(Stack::start());
        }
        ready.push((stack.clone(), request, answer));
    }
    move || {
        for (Stack { service, answer }, request, next) in ready {
            *answer.lock().unwrap() = next;
            runtime.block_on(send(service, request));
        }
    }
}

/// Prepares these calls of the stack that revalidates.
fn revalidated(runtime: &Runtime, calls: Vec<Call>) -> impl FnOnce() {
    let stack = runtime.block_on(Revalidating::start());
    move || {
        for (request, mut next) in calls {
            next.1.push(stale_at_once());
            stack.answer.lock().unwrap().clone_from(&next);
            // The second call reads what the refresh stored, if it did.
            runtime.block_on(stack.call_and_refresh(request));
            runtime.block_on(stack.call_and_refresh(exchange(Read, vec![], vec![]).0));
        }
    }
}

type Service = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

async fn send(service: Service, request: Request<Body>) {
    service.oneshot(request).await.unwrap().into_body().collect().await.unwrap();
}

/// Answers as it is told.
fn told(answer: &Arc<Mutex<Answer>>) -> Service {
    let answer = Arc::clone(answer);
    BoxCloneSyncService::new(service_fn(move |_: Request<Body>| {
        let (status, fields) = &*answer.lock().unwrap();
        let mut response = Response::new(Body::from("hello"));
        *response.status_mut() = *status;
        for (name, value) in fields {
            response.headers_mut().append(name, value.clone());
        }
        async move { Ok(response) }
    }))
}

/// All layers around a service that answers as it is told, with an answer that is stored.
#[derive(Clone)]
struct Stack {
    service: Service,
    answer: Arc<Mutex<Answer>>,
}

impl Stack {
    async fn start() -> Self {
        let known = LastKnownGoodLayer::new(name!("known"));
        let handle = known.handle();
        let chain = FallbackChain::builder("chain")
            .provider(Provider::head(name!("cached"), move |head| handle.answer(head)).only_reads())
            .provider(Provider::handler(name!("usual"), || async { "the usual" }))
            .build()
            .unwrap();
        let stored = [("content-encoding", &b"gzip"[..]), ("content-language", b"en"), ("vary", b"x-other")];
        let stored = stored.map(|(name, value)| field(name, value)).to_vec();
        let answer = Arc::new(Mutex::new((StatusCode::OK, stored)));
        let trusted = DeadlineHeader::EnvoyExpectedRqTimeoutMs;
        let stack = ServiceBuilder::new()
            .layer(DegradationHeaderLayer::new())
            .layer(DeadlineLayer::builder("edge").trust(trusted.clone()).build().unwrap())
            .layer(FallbackLayer::new(name!("primary"), chain))
            .layer(known)
            .layer(Standard::new(name!("primary")))
            .layer(PropagateDeadlineLayer::builder("next").send(trusted).build().unwrap())
            .service(told(&answer));
        let service = BoxCloneSyncService::new(stack);
        send(service.clone(), exchange(Read, vec![], vec![]).0).await;
        Self { service, answer }
    }
}

/// A stack that serves a stored answer, and refreshes it.
struct Revalidating {
    service: Service,
    answer: Arc<Mutex<Answer>>,
    refreshes: Arc<Mutex<Vec<Refresh>>>,
}

type Refresh = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An answer with this field may be served at once, but only with a refresh.
fn stale_at_once() -> Field {
    field("cache-control", b"max-age=0, stale-while-revalidate=600")
}

impl Revalidating {
    async fn start() -> Self {
        let answer = Arc::new(Mutex::new((StatusCode::OK, vec![stale_at_once(), field("vary", b"x-other")])));
        let refreshes = Arc::new(Mutex::new(Vec::new()));
        let known = LastKnownGoodLayer::new(name!("known"));
        let queue = Arc::clone(&refreshes);
        let revalidate =
            StaleWhileRevalidateLayer::new(known.handle(), move |refresh| queue.lock().unwrap().push(refresh));
        let stack = ServiceBuilder::new().layer(revalidate).layer(known).service(told(&answer));
        let this = Self { service: BoxCloneSyncService::new(stack), answer, refreshes };
        let plain = || exchange(Read, vec![], vec![]).0;
        assert_eq!(this.call_and_refresh(plain()).await, 0, "nothing is stored yet");
        assert_eq!(this.call_and_refresh(plain()).await, 1, "the stored answer is served, and refreshed");
        this
    }

    /// Returns how many refreshes the call started.
    async fn call_and_refresh(&self, request: Request<Body>) -> usize {
        send(self.service.clone(), request).await;
        let refreshes = mem::take(&mut *self.refreshes.lock().unwrap());
        let started = refreshes.len();
        for refresh in refreshes {
            refresh.await;
        }
        started
    }
}

#[test]
fn reading_what_comes_from_outside_takes_linear_time() {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let runtime = &runtime;
    let all_layers = calls()
        .into_iter()
        .map(|Calls { name, of_size }| Case::new(name, move |size| through_all_layers(runtime, of_size(size))));
    let revalidating = revalidated_calls()
        .into_iter()
        .map(|Calls { name, of_size }| Case::new(name, move |size| revalidated(runtime, of_size(size))));
    let cases: Vec<_> = all_layers.chain(revalidating).collect();
    if let Some(slow) = superlinear("reading_what_comes_from_outside_takes_linear_time", &cases) {
        assert!(slow.is_empty(), "{}", slow.join("\n"));
    }
}
